"""From the fixations of a file to a path over objects, with every trap handled, counted and none hidden."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from vision_suite.datasets.scanpath.assign import AssignRule
from vision_suite.datasets.scanpath.records import Scene, Trial, seconds
from vision_suite.types import BACKGROUND
from vision_suite.types.arrays import Floats32, Ints

GIVEN = "given_by_the_file"


class GazePath(NamedTuple):
    """Fixations as arrays of length L: objects, pixels, seconds (NaN where unknown), and their places in the file."""

    sequence: Ints
    xy: Floats32
    duration: Floats32
    places: Ints

    def given(self, count: int) -> int:
        """How many of the first ``count`` fixations of the file are left; they are given, what follows is not."""
        return int((self.places < count).sum())


@dataclass
class PathBuilder:
    """Makes paths, and keeps the books.

    Attributes:
        rule: From pixels to objects.
        drop_outside: Leave out fixations outside the screen; else they go to an object like all others.
        first_to_middle: Where the first fixation lies outside, move it to the middle instead: people were made to look
            there (COCO-Search18).
        problems: What was mended or left out. rules: Fixations by the rule that gave them their object.
    """

    rule: AssignRule
    drop_outside: bool = False
    first_to_middle: bool = False
    problems: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)

    def from_pixels(
        self,
        scene: Scene,
        x: Sequence[float],
        y: Sequence[float],
        durations: Sequence[float] | None = None,
        *,
        unit: str = "auto",
    ) -> GazePath | None:
        """The path of one recording; None if nothing usable is left, which is counted.

        Coordinates of unequal number make a recording unusable; durations of another number are forgotten, for nobody
        can tell which belong together (an early public file of COCO-Search18 has fixations cut away but not their
        times). Fixations without a finite place are left out.

        Args:
            scene: Where the person looked.
            x: Pixels.
            y: Pixels.
            durations: Of the fixations.
            unit: Of the durations, s, ms or auto.
        """
        if len(x) != len(y):
            self.problems["trials_with_unequal_x_and_y"] += 1
            return None
        if durations is not None and len(durations) != len(x):
            self.problems["trials_with_durations_of_other_number"] += 1
            durations = None
        xy = np.stack([np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)], axis=1).reshape(-1, 2)
        time = np.full(len(xy), np.nan, dtype=np.float32)
        if durations is not None:
            time = seconds(durations, self.problems, unit=unit)
        finite = np.asarray(np.isfinite(xy).all(axis=1))
        self.problems["fixations_without_place"] += int((~finite).sum())
        xy, time, places = xy[finite], time[finite], np.flatnonzero(finite)
        outside = np.asarray(((xy < 0) | (xy > np.array(scene.size))).any(axis=1))
        self.problems["fixations_outside"] += int(outside.sum())
        if self.first_to_middle and len(xy) and outside[0]:
            self.problems["first_fixations_moved_to_the_middle"] += 1
            xy[0], outside[0] = np.array(scene.size) / 2, False
        if self.drop_outside:
            xy, time, places = xy[~outside], time[~outside], places[~outside]
        if not len(xy):
            self.problems["trials_without_fixation"] += 1
            return None
        sequence, used = self.rule(xy, scene.boxes)
        self.rules += used
        if self.rule.unassigned == "drop":
            kept = sequence != BACKGROUND
            sequence, xy, time, places = sequence[kept], xy[kept], time[kept], places[kept]
            if not len(sequence):
                self.problems["trials_without_fixation_on_an_object"] += 1
                return None
        return GazePath(sequence, xy.astype(np.float32), time, places)

    def from_objects(
        self,
        scene: Scene,
        objects: Sequence[int],
        x: Sequence[float] | None = None,
        y: Sequence[float] | None = None,
        durations: Sequence[float] | None = None,
        *,
        unit: str = "auto",
    ) -> GazePath | None:
        """The path of a recording whose objects stand in the file, 0-based or ``BACKGROUND``.

        Objects that the scene does not have are left out and counted. Places and durations may be missing.
        """
        sequence = np.asarray(objects, dtype=np.int64)
        xy = np.full((len(sequence), 2), np.nan, dtype=np.float32)
        time = np.full(len(sequence), np.nan, dtype=np.float32)
        if x is not None and y is not None:
            if len(x) == len(y) == len(sequence):
                xy = np.stack([np.asarray(x), np.asarray(y)], axis=1).astype(np.float32).reshape(-1, 2)
            else:
                self.problems["trials_with_places_of_other_number"] += 1
        if durations is not None:
            if len(durations) == len(sequence):
                time = seconds(durations, self.problems, unit=unit)
            else:
                self.problems["trials_with_durations_of_other_number"] += 1
        there = ((sequence >= 0) & (sequence < len(scene.boxes))) | (sequence == BACKGROUND)
        self.problems["fixations_on_no_such_object"] += int((~there).sum())
        if self.rule.unassigned == "drop":
            there &= sequence != BACKGROUND
        self.rules[GIVEN] += int(there.sum())
        if not there.any():
            self.problems["trials_without_fixation"] += 1
            return None
        return GazePath(sequence[there], xy[there], time[there], np.flatnonzero(there))


def begin_in_the_middle(trial: Trial, scene: Scene, *, background: bool) -> Trial:
    """The trial with one given fixation, the middle of the scene, for networks that never predicted a first one.

    Args:
        trial: Without a path.
        scene: Its scene.
        background: Whether a middle far from every object is the background; else it is the nearest object.
    """
    middle = np.array([[side / 2 for side in scene.size]], dtype=np.float32)
    sequence, _ = AssignRule("smallest_box", None if background else np.inf)(middle, scene.boxes)
    return replace(trial, sequence=sequence, xy=middle, duration=np.full(1, np.nan, dtype=np.float32), given=1)
