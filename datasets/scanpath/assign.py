"""From fixations in pixels to objects: the rules, and how often each of them decided."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from vision_suite.datasets.scanpath.geometry import centres, object_pitch
from vision_suite.errors import ConfigError, check_choice
from vision_suite.types import BACKGROUND
from vision_suite.types.arrays import Ints

Rule = Literal["first_box", "smallest_box"]
Unassigned = Literal["background", "drop"]

INSIDE, NEAREST, OUTSIDE = "inside_a_box", "nearest", "unassigned"


@dataclass(frozen=True)
class AssignRule:
    """Which object a fixation belongs to.

    ``first_box`` is OAT's rule for grids (its fixation_to_patch): the first box in order that holds the point, edges
    included, else the box with the nearest centre; no fixation is ever without object. ``smallest_box`` is for natural
    pictures, where boxes lie inside one another: the smallest box that holds the point, else the one with the nearest
    edge within ``max_offset``, else none.

    Attributes:
        kind: Which of the two.
        max_offset: Pixels from the nearest edge within which a fixation still counts; unset is half the object pitch.
        unassigned: What becomes of fixations without object: the background's number, or nothing.
    """

    kind: Rule = "first_box"
    max_offset: float | None = None
    unassigned: Unassigned = "background"

    def __post_init__(self) -> None:
        """Refuse settings that are unknown or do nothing."""
        check_choice("assign", self.kind, get_args(Rule))
        check_choice("unassigned", self.unassigned, get_args(Unassigned))
        if self.max_offset is not None and (self.kind == "first_box" or not self.max_offset >= 0):
            raise ConfigError(
                f"max_offset={self.max_offset} with assign={self.kind}: first_box takes the nearest centre at any "
                "distance, smallest_box an offset of 0 or more pixels"
            )

    def __call__(self, xy: npt.NDArray[np.floating], boxes: npt.NDArray[np.floating]) -> tuple[Ints, Counter[str]]:
        """Objects of some fixations.

        Args:
            xy: (L, 2) finite pixels.
            boxes: (N, 4) x1, y1, x2, y2 in the same pixels.

        Returns:
            (L,) objects or ``BACKGROUND``, also for those to be dropped; and the number of fixations by rule.
        """
        points, frames = np.asarray(xy, dtype=np.float64).reshape(-1, 2), np.asarray(boxes, dtype=np.float64)
        low, high = frames[None, :, :2], frames[None, :, 2:]
        holds = np.asarray(((points[:, None] >= low) & (points[:, None] <= high)).all(axis=-1))
        inside = np.asarray(holds.any(axis=1))
        if self.kind == "first_box":
            distance = np.linalg.norm(points[:, None] - centres(frames)[None], axis=-1)
            objects = np.where(inside, holds.argmax(axis=1), distance.argmin(axis=1))
            near = ~inside
        else:
            area = np.prod(frames[:, 2:] - frames[:, :2], axis=1)
            smallest = np.where(holds, area[None], np.inf).argmin(axis=1)
            gap = np.maximum(np.maximum(low - points[:, None], points[:, None] - high), 0)
            distance = np.linalg.norm(gap, axis=-1)
            limit = object_pitch(frames) / 2 if self.max_offset is None else self.max_offset
            near = ~inside & (distance.min(axis=1) <= limit)
            objects = np.where(inside, smallest, np.where(near, distance.argmin(axis=1), BACKGROUND))
        used = Counter({INSIDE: int(inside.sum()), NEAREST: int(near.sum()), OUTSIDE: int((~inside & ~near).sum())})
        return objects.astype(np.int64), used


def fractions(rules: Counter[str]) -> dict[str, float]:
    """Share of the fixations that each rule decided."""
    total = sum(rules.values())
    return {name: rules[name] / total for name in sorted(rules)} if total else {}
