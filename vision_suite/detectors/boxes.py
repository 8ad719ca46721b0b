"""Boxes of the objects in a picture, given by a file or found by a detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vision_suite.errors import ConfigError, DataError
from vision_suite.types.arrays import Floats32


@dataclass(frozen=True, eq=False)
class ObjectBoxes:
    """Objects of one picture.

    Attributes:
        corners: (N, 4) float32 x1, y1, x2, y2 in pixels.
        labels: N names, empty where unknown.
        scores: (N,) float32 of a detector, 1 where a file gives the boxes.
        notes: Number of boxes left out or changed, by kind.
    """

    corners: Floats32
    labels: tuple[str, ...]
    scores: Floats32
    notes: Mapping[str, int] = field(default_factory=dict)

    def labelled(self, word: str) -> tuple[int, ...]:
        """Objects with a label, best score first and then in order; case and outer blanks do not count."""
        wanted = _plain(word)
        found = [number for number, label in enumerate(self.labels) if _plain(label) == wanted]
        return tuple(sorted(found, key=lambda number: -float(self.scores[number])))

    def inside(self, size: tuple[int, int], name: str) -> ObjectBoxes:
        """The boxes cut off at the picture's border, which is counted as ``boxes_cut_at_the_border``.

        Args:
            size: Width and height of the picture.
            name: Name of the picture, for messages.

        Raises:
            DataError: There is none, or one has no area, or lies outside the picture.
        """
        if not len(self.corners):
            raise DataError(f"picture {name!r} has no box: a scanpath needs one object or more")
        low, high = np.zeros(4, dtype=np.float32), np.array([*size, *size], dtype=np.float32)
        for number, box in enumerate(self.corners):
            where = f"box {number} {[round(float(side), 2) for side in box]} of {name!r}"
            if not np.isfinite(box).all() or (box[2:] <= box[:2]).any():
                raise DataError(f"{where} is no x1, y1, x2, y2 with x1 < x2 and y1 < y2 (not x, y, width, height)")
            if (box[2:] <= 0).any() or (box[:2] >= high[:2]).any():
                raise DataError(f"{where} lies outside the picture of {size[0]} x {size[1]} pixels: remove or fix it")
        cut = np.clip(self.corners, low, high)
        changed = int((np.abs(cut - self.corners) > 0.5).any(axis=1).sum())  # rounding is nothing to report
        return ObjectBoxes(cut, self.labels, self.scores, {**self.notes, "boxes_cut_at_the_border": changed})


def check_min_score(min_score: float) -> None:
    """Refuse a score that every detection has, or none.

    Raises:
        ConfigError: It is not from 0 to below 1.
    """
    if not 0 <= min_score < 1:
        raise ConfigError(f"min_score={min_score} must be from 0 to below 1: scores of detectors are shares of 1")


def _plain(label: str) -> str:
    return " ".join(label.split()).casefold()
