"""Files and pictures that ``predict`` writes, one writer per kind of data. Names are loaded on first use."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from vision_suite.callbacks.predict.base import AutoWriter as AutoWriter
    from vision_suite.callbacks.predict.base import BaseWriter as BaseWriter
    from vision_suite.callbacks.predict.pictures import PredictionWriter as PredictionWriter
    from vision_suite.callbacks.predict.scanpath import ScanpathWriter as ScanpathWriter
    from vision_suite.callbacks.predict.tad import DetectionWriter as DetectionWriter
else:
    __getattr__, __dir__, __all__ = lazy_loader.attach(
        __name__,
        submod_attrs={
            "base": ["AutoWriter", "BaseWriter"],
            "pictures": ["PredictionWriter"],
            "tad": ["DetectionWriter"],
            "scanpath": ["ScanpathWriter"],
        },
    )
