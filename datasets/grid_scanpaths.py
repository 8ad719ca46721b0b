"""Former name of `vision_suite.datasets.scanpath.grid`, which saved configurations give."""

from vision_suite.datasets.scanpath.grid import GridScanpathData

__all__ = ["GridScanpathData"]
