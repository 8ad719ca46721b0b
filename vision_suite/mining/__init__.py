"""Preference pairs that a model makes itself: candidate sentences, two detectors' verdicts, pairs, one SQLite file."""
