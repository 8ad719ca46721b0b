"""Entries of the hub made of checkpoints of runs, and checkpoints of runs made of entries."""
