"""Nearest names for a word that is not known, see `vision_suite.hints`."""

from vision_suite.hints import did_you_mean, nearest

__all__ = ["did_you_mean", "nearest"]
