"""Scenes and trials: what every scanpath reader hands on, whatever the files looked like."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vision_suite.datasets.scanpath.geometry import centres, grid_positions, object_pitch
from vision_suite.errors import DataError
from vision_suite.types import BACKGROUND, Condition
from vision_suite.types.arrays import Floats32, Ints


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture with its objects.

    Attributes:
        name: What tells it from all others, such as the picture's file name.
        size: Width and height in pixels.
        boxes: (N, 4) float32 x1, y1, x2, y2 in pixels.
        labels: Name or class of each object, empty where unknown.
        image: The picture's file, empty where there is none.
        placement: x, y of the picture's corner and the factor from picture pixels to the scene's pixels, where the
            picture was shown scaled inside a larger screen.
        grid: Rows and columns, where the objects stand on a grid in row-major order.
        features: Vectors of the objects, a file (N, F).
        fold: Part of a given cross-validation, -1 where none is given.
    """

    name: str
    size: tuple[float, float]
    boxes: Floats32
    labels: tuple[str, ...]
    image: str = ""
    placement: tuple[float, float, float] = (0.0, 0.0, 1.0)
    grid: tuple[int, int] | None = None
    features: str = ""
    fold: int = -1

    def __post_init__(self) -> None:
        """Refuse what no reader may hand on."""
        if self.boxes.ndim != 2 or self.boxes.shape[1:] != (4,) or not len(self.boxes):
            raise DataError(f"scene {self.name!r} has boxes of shape {self.boxes.shape}: N x 4 with N of 1 or more")
        if not all(0 < side < math.inf for side in self.size):
            raise DataError(f"scene {self.name!r} has size {self.size}: a width and height above 0 are needed")
        if not np.isfinite(self.boxes).all() or (self.boxes[:, 2:] < self.boxes[:, :2]).any():
            raise DataError(f"scene {self.name!r} has a box that is no x1, y1, x2, y2 with x1 <= x2 and y1 <= y2")
        if len(self.labels) != len(self.boxes):
            raise DataError(f"scene {self.name!r} has {len(self.boxes)} boxes but {len(self.labels)} labels")
        if self.grid is not None and self.grid[0] * self.grid[1] != len(self.boxes):
            rows, columns = self.grid
            raise DataError(f"scene {self.name!r} has {len(self.boxes)} boxes, which are no {rows} x {columns} grid")

    @cached_property
    def pitch(self) -> float:
        """Median distance between nearest centres, in pixels; 1 cell on grids."""
        return object_pitch(self.boxes)

    def positions(self) -> Floats32:
        """(N, 2) row and column of the centres in object pitches; whole numbers on grids."""
        if self.grid is not None:
            return grid_positions(*self.grid)
        return (centres(self.boxes)[:, ::-1] / self.pitch).astype(np.float32)

    def start(self) -> tuple[float, float]:
        """Where gaze begins, in the same unit: the middle of the screen."""
        if self.grid is not None:
            return float(self.grid[0] // 2), float(self.grid[1] // 2)
        return self.size[1] / 2 / self.pitch, self.size[0] / 2 / self.pitch


@dataclass(frozen=True, eq=False)
class Trial:
    """Where one person looked in one scene.

    Attributes:
        scene: The scene's name. subject: The person. task: What was looked for, in a word; "" in free viewing.
        condition: What the person was asked to do.
        targets: Objects that count as found. target: The one whose copy is the target token, -1 for none.
        sequence: (L,) int64 objects or ``BACKGROUND``. xy: (L, 2) float32 pixels, NaN where unknown.
        duration: (L,) float32 seconds, NaN where unknown.
        given: How many first fixations are given and not predicted.
        terminated: Whether the path ended by itself behind the last fixation.
        subset: The authors' own part, such as train.
        target_image: Picture of the target apart from the scene. target_features: Its vector, a file (F,).
        recording: Place of the whole path among the recordings that windows were cut from.
        first: Number of the first fixation in that recording.
    """

    scene: str
    subject: str
    task: str
    condition: Condition
    targets: tuple[int, ...]
    target: int
    sequence: Ints
    xy: Floats32
    duration: Floats32
    given: int = 0
    terminated: bool = True
    subset: str = ""
    target_image: str = ""
    target_features: str = ""
    recording: int = -1
    first: int = 0

    @property
    def length(self) -> int:
        """Number of fixations L."""
        return len(self.sequence)

    def part(self, first: int, last: int, given: int) -> Trial:
        """Fixations ``first`` up to, not including, ``last``."""
        return replace(
            self,
            sequence=self.sequence[first:last],
            xy=self.xy[first:last],
            duration=self.duration[first:last],
            given=given,
            terminated=self.terminated and last == self.length,
            first=self.first + first,
        )


@dataclass
class ScanpathSet:
    """Everything a reader found.

    Attributes:
        layout: Which on-disk layout was read. root: Its folder.
        scenes: By name. trials: In a fixed (sorted) order.
        problems: What was mended or left out, by kind, and how often.
        rules: Fixations by the rule that gave them their object.
        notes: Facts that a reader of the metrics must know.
    """

    layout: str
    root: Path
    scenes: dict[str, Scene]
    trials: list[Trial]
    problems: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    notes: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Compare trials with their scenes.

        Raises:
            DataError: There is no trial, or one names a scene or an object that does not exist.
        """
        if not self.trials:
            problems = ", ".join(f"{count} {what}" for what, count in self.problems.items()) or "none"
            raise DataError(f"{self.layout} in {str(self.root)!r} has no usable trial (problems: {problems})")
        for trial in self.trials:
            if trial.scene not in self.scenes:
                raise DataError(f"{self.layout}: a trial of subject {trial.subject!r} names no scene: {trial.scene!r}")
            count = len(self.scenes[trial.scene].boxes)
            named = [*trial.sequence.tolist(), *trial.targets, trial.target]
            if max(named) >= count or min(*trial.sequence.tolist(), 0) < BACKGROUND:
                raise DataError(
                    f"{self.layout}: a trial of subject {trial.subject!r} in scene {trial.scene!r} names object "
                    f"{max(named)}, but the scene has objects 0 to {count - 1}"
                )


def counts(trials: Sequence[Trial]) -> dict[str, int]:
    """Numbers of trials, fixations, scenes, subjects and tasks."""
    return {
        "trials": len(trials),
        "fixations": sum(trial.length for trial in trials),
        "scenes": len({trial.scene for trial in trials}),
        "subjects": len({trial.subject for trial in trials}),
        "tasks": len({trial.task for trial in trials}),
    }


def drop_long(found: ScanpathSet, deviations: float) -> None:
    """Leave out trials whose length is outside mean +- ``deviations`` standard deviations (population), and say so.

    OAT's preprocessing of the Amazon covers does so with 3, over all trials before any split.
    """
    lengths = np.array([trial.length for trial in found.trials])
    mean, spread = float(lengths.mean()), float(lengths.std())
    low, high = mean - deviations * spread, mean + deviations * spread
    kept = [trial for trial in found.trials if low <= trial.length <= high]
    found.notes["length_filter"] = {"deviations": deviations, "low": low, "high": high, "trials": len(lengths)}
    found.problems["trials_of_unusual_length"] += len(found.trials) - len(kept)
    found.trials = kept


def seconds(durations: Sequence[float], problems: Counter[str], *, unit: str = "auto") -> Floats32:
    """Fixation durations in seconds.

    Args:
        durations: As a file has them.
        problems: Told about durations that are not finite or not positive, which become NaN.
        unit: s, ms, or auto: ms where the median is 10 or more, for nobody fixates for 10 s or for 10 ms.
    """
    values = np.asarray(durations, dtype=np.float64)
    bad = ~np.isfinite(values) | (values <= 0)
    problems["durations_unusable"] += int(bad.sum())
    values = np.where(bad, math.nan, values)
    good = values[~bad]
    if unit == "ms" or (unit == "auto" and len(good) and float(np.median(good)) >= 10):
        values = values / 1000
    return values.astype(np.float32)
