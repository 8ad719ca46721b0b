"""Recordings of eye trackers, converted to the plain table of `vision_suite.datasets.scanpath.readers.table`."""
