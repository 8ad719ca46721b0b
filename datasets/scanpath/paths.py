"""Paths over objects from the fixations of a file, with every trap handled and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vision_suite.datasets.scanpath.assign import INSIDE, AssignRule
from vision_suite.datasets.scanpath.records import ScanpathSet
from vision_suite.datasets.scanpath.times import Unit, seconds
from vision_suite.errors import DataError
from vision_suite.types import BACKGROUND, Condition, Scene, Trial
from vision_suite.types.arrays import Floats32, Ints

GIVEN = "given_by_the_file"
FEW = 3  # fixations that may all be near the corner of the picture
SMALLEST = 2  # pixels of a side; in such a picture shares are pixels
MANY_OUTSIDE = 0.1  # share of the fixations outside their picture that deserves a warning


class GazePath(NamedTuple):
    """Fixations of one recording.

    Attributes:
        sequence: (L,) int64 objects or ``BACKGROUND``.
        xy: (L, 2) float32 pixels, NaN where unknown.
        duration: (L,) float32 seconds, NaN where unknown.
        indices: (L,) int64 indices of the fixations in the file.
    """

    sequence: Ints
    xy: Floats32
    duration: Floats32
    indices: Ints

    def trial(
        self,
        scene: str,
        subject: str,
        task: str,
        condition: Condition,
        targets: tuple[int, ...],
        target: int,
        *,
        given: int = 0,
        terminated: bool = True,
        subset: str = "",
        target_image: str = "",
        target_features: str = "",
    ) -> Trial:
        """A trial with this path.

        Args:
            scene: Name of the scene.
            subject: Name of the subject.
            task: Target in a word, empty in free viewing.
            condition: Task of the subject.
            targets: Objects that count as found.
            target: Object whose copy is the target token, -1 for none.
            given: Number of first fixations of the file that are given; of these, those that are left are.
            terminated: Whether the path ended by itself behind the last fixation.
            subset: The authors' own part.
            target_image: Picture of the target apart from the scene.
            target_features: File of the target's vector.
        """
        return Trial(
            scene=scene,
            subject=subject,
            task=task,
            condition=condition,
            targets=targets,
            target=target,
            sequence=self.sequence,
            xy=self.xy,
            duration=self.duration,
            given=int((self.indices < given).sum()),
            terminated=terminated,
            subset=subset,
            target_image=target_image,
            target_features=target_features,
        )


@dataclass
class PathBuilder:
    """Makes paths, and counts what is changed or left out.

    Attributes:
        rule: Rule from pixels to objects.
        drop_outside: Whether fixations outside the screen are left out; else they go to an object like all others.
        first_to_middle: Whether a first fixation outside is moved to the middle instead, where subjects were made to
            look (COCO-Search18).
        problems: Number of what was changed or left out, by kind.
        rules: Number of fixations by the rule that gave them their object.
        places: Number of fixations with coordinates, and of those outside their picture and within 0..1.
    """

    rule: AssignRule
    drop_outside: bool = False
    first_to_middle: bool = False
    problems: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)

    def from_pixels(
        self,
        scene: Scene,
        x: Sequence[float],
        y: Sequence[float],
        durations: Sequence[float] | None = None,
        *,
        unit: Unit = "s",
        where: str = "",
        rows: Sequence[int] = (),
    ) -> GazePath | None:
        """The path of one recording; None if nothing usable is left, which is counted.

        Coordinates of unequal number make a recording unusable; durations of another number are forgotten, for nobody
        can tell which belong together (an early public file of COCO-Search18 has fixations cut away but not their
        times). Fixations without finite coordinates are left out.

        Args:
            scene: Scene that the subject saw.
            x: Horizontal coordinates in pixels.
            y: Vertical coordinates in pixels.
            durations: Durations of the fixations.
            unit: Unit of the durations.
            where: File or trial, for messages.
            rows: Row of each fixation in the file, for messages; none are given where the trial is a row.

        Raises:
            DataError: A duration is impossible, or all coordinates are shares of the picture.
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
            time = seconds(durations, unit, self.problems, where, rows)
        finite = np.asarray(np.isfinite(xy).all(axis=1))
        self.problems["fixations_without_place"] += int((~finite).sum())
        xy, time, indices = xy[finite], time[finite], np.flatnonzero(finite)
        outside = self._outside(xy, scene, where)
        self.problems["fixations_outside"] += int(outside.sum())
        if self.first_to_middle and len(xy) and outside[0]:
            self.problems["first_fixations_moved_to_the_middle"] += 1
            xy[0], outside[0] = np.array(scene.size) / 2, False
        if self.drop_outside:
            xy, time, indices = xy[~outside], time[~outside], indices[~outside]
        if not len(xy):
            self.problems["trials_without_fixation"] += 1
            return None
        sequence, used = self.rule(xy, scene.boxes)
        self.rules += used
        if self.rule.unassigned == "drop":
            kept = sequence != BACKGROUND
            sequence, xy, time, indices = sequence[kept], xy[kept], time[kept], indices[kept]
            if not len(sequence):
                self.problems["trials_without_fixation_on_an_object"] += 1
                return None
        return GazePath(sequence, xy.astype(np.float32), time, indices)

    def from_objects(
        self,
        scene: Scene,
        objects: Sequence[int],
        x: Sequence[float] | None = None,
        y: Sequence[float] | None = None,
        durations: Sequence[float] | None = None,
        *,
        unit: Unit = "s",
        where: str = "",
        rows: Sequence[int] = (),
    ) -> GazePath | None:
        """The path of a recording whose objects stand in the file; None if nothing usable is left, which is counted.

        Objects that the scene does not have are left out and counted. Coordinates and durations may be missing.

        Args:
            scene: Scene that the subject saw.
            objects: Objects from 0, or ``BACKGROUND``.
            x: Horizontal coordinates in pixels.
            y: Vertical coordinates in pixels.
            durations: Durations of the fixations.
            unit: Unit of the durations.
            where: File or trial, for messages.
            rows: Row of each fixation in the file, for messages; none are given where the trial is a row.

        Raises:
            DataError: A duration is impossible, or all coordinates are shares of the picture.
        """
        sequence = np.asarray(objects, dtype=np.int64)
        xy = np.full((len(sequence), 2), np.nan, dtype=np.float32)
        time = np.full(len(sequence), np.nan, dtype=np.float32)
        if x is not None and y is not None:
            if len(x) == len(y) == len(sequence):
                xy = np.stack([np.asarray(x), np.asarray(y)], axis=1).astype(np.float32).reshape(-1, 2)
                outside = self._outside(xy[np.isfinite(xy).all(axis=1)], scene, where)
                self.problems["fixations_outside"] += int(outside.sum())
            else:
                self.problems["trials_with_places_of_other_number"] += 1
        if durations is not None:
            if len(durations) == len(sequence):
                time = seconds(durations, unit, self.problems, where, rows)
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

    def scanpath_set(
        self, layout: str, root: Path, scenes: dict[str, Scene], trials: list[Trial], notes: dict[str, object]
    ) -> ScanpathSet:
        """The set that a reader found, with what this builder counted and doubts about the coordinates.

        Args:
            layout: On-disk layout that was read.
            root: Folder of the files.
            scenes: Scenes by name.
            trials: Trials in a fixed order.
            notes: Facts needed to understand the metrics.

        Raises:
            DataError: All coordinates are shares of the picture.
        """
        total, outside = self.places["fixations"], self.places["outside"]
        if total and self.places["within_0_to_1"] == total:
            raise DataError(f"{str(root)!r}: {_shares(total)}")
        warnings = []
        if outside > MANY_OUTSIDE * total:
            warnings.append(
                f"{outside} of {total} fixations ({outside / total:.0%}) lie outside their picture: are they in pixels "
                "of the picture, from its upper left corner, and is the size that of the picture?"
            )
        assigned = sum(count for name, count in self.rules.items() if name != GIVEN)
        if self.rules[INSIDE] * 2 < assigned:
            missed = assigned - self.rules[INSIDE]
            warnings.append(
                f"{missed} of {assigned} fixations ({missed / assigned:.0%}) lie in no box: are boxes and fixations in "
                "the same pixels, and are boxes x1, y1, x2, y2?"
            )
        return ScanpathSet(layout, root, scenes, trials, self.problems, self.rules, notes, warnings)

    def _outside(self, xy: npt.NDArray[np.floating], scene: Scene, where: str) -> npt.NDArray[np.bool_]:
        """(L,) True for fixations outside the scene, which are counted."""
        outside = np.asarray(((xy < 0) | (xy > np.array(scene.size))).any(axis=1))
        # Whole numbers are the picture's corner, as of trackers that write a lost gaze as (0, 0).
        within = ((xy >= 0) & (xy <= 1)).all(axis=1)
        shares = int(within.sum()) if max(scene.size) > SMALLEST and (xy[within] % 1 > 0).any() else 0
        if len(xy) >= FEW and shares == len(xy):
            raise DataError(f"{where}: {_shares(len(xy))}")
        self.places += Counter(fixations=len(xy), outside=int(outside.sum()), within_0_to_1=shares)
        return outside


def _shares(count: int) -> str:
    return (
        f"all {count} fixations have coordinates within 0..1, but pixels of the picture are needed: multiply x by the "
        "picture's width and y by its height"
    )


def begin_in_the_middle(trial: Trial, scene: Scene, *, background: bool) -> Trial:
    """The trial with one given fixation, the middle of the scene, for networks that never predicted a first one.

    Args:
        trial: Trial without a path.
        scene: Scene of the trial.
        background: Whether a middle far from every object is the background; else it is the nearest object.
    """
    middle = np.array([[side / 2 for side in scene.size]], dtype=np.float32)
    sequence, _ = AssignRule("smallest_box", None if background else np.inf)(middle, scene.boxes)
    return replace(trial, sequence=sequence, xy=middle, duration=np.full(1, np.nan, dtype=np.float32), given=1)
