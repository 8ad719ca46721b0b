"""Readers of scanpath data sets, one per layout on disk."""
