"""Objects of the pictures given to predict: boxes of a file, of a detector, or the cells of a grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from pytorch_lightning.utilities import rank_zero_warn

from vision_suite.datasets.scanpath.geometry import grid_boxes
from vision_suite.datasets.scanpath.predict.boxes import match_names, read_boxes
from vision_suite.datasets.scanpath.predict.settings import PictureSettings
from vision_suite.detectors.boxes import ObjectBoxes
from vision_suite.detectors.zero_shot import Detector
from vision_suite.errors import DataError
from vision_suite.types.scanpath import box_centres


class NothingDetectedError(DataError):
    """A detector finds no object in a picture."""


class ObjectFinder:
    """Gives the boxes of a picture, from the one source that the settings name.

    Args:
        settings: Source of the objects.
        names: Names of the pictures.

    Attributes:
        strangers: Number of pictures that the file names and that are not given.

    Raises:
        DataError: The file of boxes is missing or malformed, or the detector cannot be loaded.
        ConfigError: The detector cannot be set up.
    """

    def __init__(self, settings: PictureSettings, names: Sequence[str]) -> None:
        self._settings = settings
        self._boxes: dict[str, ObjectBoxes] = {}
        self._detector: Detector | None = None
        self.strangers = 0
        if settings.detector:
            # The target is looked for, too.
            words = [*settings.queries, *([settings.target] if settings.target and settings.queries else [])]
            self._detector = Detector(settings.detector, words, settings.min_score, settings.device)
        elif settings.boxes is not None:
            given = read_boxes(settings.boxes)
            entries, others = match_names(names, list(given))
            self._boxes = {name: given[entry] for name, entry in entries.items()}
            self.strangers = len(others)
            if others:
                rank_zero_warn(f"{settings.boxes!r} has boxes of {len(others)} other pictures (first: {others[0]!r})")

    def __call__(self, name: str, picture: Image.Image) -> ObjectBoxes:
        """The boxes of a picture, cut off at its border.

        Raises:
            DataError: There is none, one is unusable, or they are not on the grid that is asked for.
        """
        boxes = self._found(name, picture).inside(picture.size, name)
        if self._settings.grid is not None:
            check_grid(boxes, self._settings.grid, name)
        return boxes

    def _found(self, name: str, picture: Image.Image) -> ObjectBoxes:
        settings = self._settings
        if self._detector is not None:
            boxes = self._detector(picture)
            if not len(boxes.corners):
                raise NothingDetectedError(
                    f"picture {name!r}: {settings.detector!r} finds nothing of {', '.join(self._detector.queries)} "
                    f"above min_score={settings.min_score}: give other words or a lower --data.min_score"
                )
            return boxes
        if settings.boxes is not None:
            if name not in self._boxes:
                raise DataError(f"picture {name!r} has no boxes in {settings.boxes!r}: add them under its name")
            return self._boxes[name]
        assert settings.grid is not None
        rows, columns = settings.grid
        corners = grid_boxes(rows, columns, cell=(picture.width / columns, picture.height / rows))
        return ObjectBoxes(corners, ("",) * len(corners), np.ones(len(corners), dtype=np.float32))


def check_grid(boxes: ObjectBoxes, grid: tuple[int, int], name: str) -> None:
    """Refuse boxes that do not stand row by row on a grid.

    Args:
        boxes: Boxes of a picture.
        grid: Rows and columns.
        name: Name of the picture, for messages.

    Raises:
        DataError: Their number is another, or a box is not right of the one before, or a row not below the one before.
    """
    rows, columns = grid
    if len(boxes.corners) != rows * columns:
        raise DataError(f"picture {name!r} has {len(boxes.corners)} boxes, which are no {rows} x {columns} grid")
    middle = box_centres(boxes.corners).reshape(rows, columns, 2)
    if (np.diff(middle[..., 0], axis=1) <= 0).any() or (np.diff(middle[..., 1], axis=0) <= 0).any():
        raise DataError(f"boxes of {name!r} are not in the order of a grid: list them row by row, from left to right")
