"""Scanpaths over objects: the datamodules, scenes, trials and readers. Names are loaded on first use."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from vision_suite.datasets.scanpath.data import ScanpathData as ScanpathData
    from vision_suite.datasets.scanpath.grid import GridScanpathData as GridScanpathData
    from vision_suite.datasets.scanpath.predict.data import ScanpathPictureData as ScanpathPictureData
else:
    __getattr__, __dir__, __all__ = lazy_loader.attach(
        __name__,
        submod_attrs={
            "data": ["ScanpathData"],
            "grid": ["GridScanpathData"],
            "predict.data": ["ScanpathPictureData"],
        },
    )
