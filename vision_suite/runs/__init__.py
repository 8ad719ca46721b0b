"""Folders of runs: their names, their records, and the search for earlier ones."""
