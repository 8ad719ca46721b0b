"""Scores that compare two scanpaths."""
