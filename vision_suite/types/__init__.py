"""Contracts between data modules and Lightning modules: batches in, reports out.

``datasets`` and ``lit_modules`` never import each other; they meet here. Nothing here needs torch at run time,
and the names of a task are loaded on first use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lazy_loader

Progress = Callable[[str, int, int], None]
"""Function called with the name of a step, the number done and the number in all."""


@dataclass(frozen=True)
class Report:
    """Result of any evaluation, for tables and pictures.

    Attributes:
        metrics: Scalars by name.
        protocol: Everything needed to read the numbers. ``warnings``, if there, has lines that are printed once.
    """

    metrics: dict[str, float]
    protocol: dict[str, Any]


if TYPE_CHECKING:
    from vision_suite.types.pictures import ClassificationReport as ClassificationReport
    from vision_suite.types.pictures import FGVCBatch as FGVCBatch
    from vision_suite.types.pictures import ImageBatch as ImageBatch
    from vision_suite.types.pictures import ReIDBatch as ReIDBatch
    from vision_suite.types.pictures import RetrievalReport as RetrievalReport
    from vision_suite.types.pictures import Role as Role
    from vision_suite.types.scanpath import BACKGROUND as BACKGROUND
    from vision_suite.types.scanpath import PADDING as PADDING
    from vision_suite.types.scanpath import Condition as Condition
    from vision_suite.types.scanpath import ScanpathBatch as ScanpathBatch
    from vision_suite.types.scanpath import ScanpathReport as ScanpathReport
    from vision_suite.types.scanpath import Scene as Scene
    from vision_suite.types.scanpath import Trial as Trial
    from vision_suite.types.tad import DetectionReport as DetectionReport
    from vision_suite.types.tad import TADBatch as TADBatch
else:
    __getattr__, __dir__, _names = lazy_loader.attach(
        __name__,
        submod_attrs={
            "pictures": ["Role", "ImageBatch", "ReIDBatch", "FGVCBatch", "RetrievalReport", "ClassificationReport"],
            "tad": ["TADBatch", "DetectionReport"],
            "scanpath": ["BACKGROUND", "PADDING", "Condition", "ScanpathBatch", "ScanpathReport", "Scene", "Trial"],
        },
    )
    __all__ = ["Progress", "Report", *_names]
