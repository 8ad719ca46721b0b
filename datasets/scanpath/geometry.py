"""Geometry of scenes: centres, object pitch, grids, overlap of boxes, and the letterbox of a picture on a screen."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vision_suite.errors import DataError
from vision_suite.types.arrays import Floats, Floats32


def centres(boxes: npt.NDArray[np.floating]) -> Floats:
    """(N, 2) x, y of the boxes' centres."""
    values = np.asarray(boxes, dtype=np.float64)
    return np.asarray((values[:, :2] + values[:, 2:]) / 2)


def object_pitch(boxes: npt.NDArray[np.floating]) -> float:
    """Median over the objects of the distance to the nearest other centre, in pixels.

    A single object, or objects on one spot, have no such distance; there the mean side of the boxes takes its place.
    """
    middle = centres(boxes)
    if len(middle) > 1:
        distances = np.linalg.norm(middle[:, None] - middle[None], axis=-1)
        np.fill_diagonal(distances, np.inf)
        pitch = float(np.median(distances.min(axis=1)))
        if pitch > 0:
            return pitch
    side = float(np.mean(np.asarray(boxes)[:, 2:] - np.asarray(boxes)[:, :2]))
    return side if side > 0 else 1.0


def grid_boxes(rows: int, columns: int, *, cell: tuple[float, float], top: float = 0.0) -> Floats32:
    """Cells of a grid in row-major order.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        cell: Width and height of a cell in pixels.
        top: Height of the strip above the first row, in pixels.

    Returns:
        (rows * columns, 4) float32 x1, y1, x2, y2.
    """
    row, column = (part.reshape(-1) for part in np.indices((rows, columns)))
    left, upper = column * cell[0], top + row * cell[1]
    # The right edge is computed like the next cell's left one, so that neighbours share it to the last bit.
    return np.stack([left, upper, (column + 1) * cell[0], top + (row + 1) * cell[1]], axis=1).astype(np.float32)


def grid_positions(rows: int, columns: int) -> Floats32:
    """(rows * columns, 2) float32 row and column numbers in row-major order."""
    return np.stack([part.reshape(-1) for part in np.indices((rows, columns))], axis=1).astype(np.float32)


def overlap(boxes: npt.NDArray[np.floating], box: npt.ArrayLike) -> Floats:
    """(N,) intersection over union of each box with one box; 0 where both are empty."""
    one, other = np.asarray(boxes, dtype=np.float64), np.asarray(box, dtype=np.float64)
    sides = np.minimum(one[:, 2:], other[2:]) - np.maximum(one[:, :2], other[:2])
    shared = np.prod(np.maximum(sides, 0), axis=1)
    union = np.prod(one[:, 2:] - one[:, :2], axis=1) + float(np.prod(other[2:] - other[:2])) - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


class Letterbox(NamedTuple):
    """A picture scaled and centred on a screen: ``screen = scale * picture + (dx, dy)``."""

    scale: float
    dx: int
    dy: int

    def boxes(self, boxes: npt.NDArray[np.floating]) -> Floats:
        """(N, 4) boxes of the picture on the screen."""
        shift = np.array([self.dx, self.dy, self.dx, self.dy], dtype=np.float64)
        return np.asarray(np.asarray(boxes, dtype=np.float64) * self.scale + shift)


def letterbox(width: int, height: int, screen: tuple[int, int] = (1680, 1050)) -> Letterbox:
    """How COCO-Search18 shows a picture: as large as fits, in the middle, sizes cut to whole pixels.

    Args:
        width: Of the picture.
        height: Of the picture.
        screen: Width and height of the screen.

    Raises:
        DataError: The picture has no size.
    """
    if width < 1 or height < 1:
        raise DataError(f"a picture of {width} x {height} pixels cannot be shown")
    aspect = width / height
    wide = aspect > screen[0] / screen[1]
    shown = (screen[0], int(screen[0] / aspect)) if wide else (int(screen[1] * aspect), screen[1])
    return Letterbox(shown[0] / width, (screen[0] - shown[0]) // 2, (screen[1] - shown[1]) // 2)
