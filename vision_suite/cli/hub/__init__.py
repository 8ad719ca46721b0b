"""Entries of the hub made of checkpoints of runs, and copied from other hubs."""
