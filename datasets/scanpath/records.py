"""Scenes and trials of a data set as every scanpath reader returns them, whatever the files looked like."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vision_suite.errors import DataError
from vision_suite.types import BACKGROUND, Scene, Trial
from vision_suite.types.arrays import Floats32


@dataclass
class ScanpathSet:
    """Scenes and trials that a reader found.

    Attributes:
        layout: On-disk layout that was read.
        root: Folder of the files.
        scenes: Scenes by name.
        trials: Trials in a fixed (sorted) order.
        problems: Number of repaired or dropped items, by kind.
        rules: Number of fixations by the rule that gave them their object.
        notes: Facts needed to understand the metrics.
    """

    layout: str
    root: Path
    scenes: dict[str, Scene]
    trials: list[Trial]
    problems: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    notes: dict[str, object] = field(default_factory=dict)

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


def check_scene(scene: Scene) -> Scene:
    """Return a scene that a reader built, or refuse it.

    Raises:
        DataError: The boxes, the size, the labels or the grid of the scene are malformed.
    """
    name, boxes, size = scene.name, scene.boxes, scene.size
    if boxes.ndim != 2 or boxes.shape[1:] != (4,) or not len(boxes):
        raise DataError(f"scene {name!r} has boxes of shape {boxes.shape}: N x 4 with N of 1 or more")
    if not all(0 < side < math.inf for side in size):
        raise DataError(f"scene {name!r} has size {size}: a width and height above 0 are needed")
    if not np.isfinite(boxes).all() or (boxes[:, 2:] < boxes[:, :2]).any():
        raise DataError(f"scene {name!r} has a box that is no x1, y1, x2, y2 with x1 <= x2 and y1 <= y2")
    if len(scene.labels) != len(boxes):
        raise DataError(f"scene {name!r} has {len(boxes)} boxes but {len(scene.labels)} labels")
    if scene.grid is not None and scene.grid[0] * scene.grid[1] != len(boxes):
        rows, columns = scene.grid
        raise DataError(f"scene {name!r} has {len(boxes)} boxes, which are no {rows} x {columns} grid")
    return scene


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
    """Drop trials whose length is outside mean +- ``deviations`` standard deviations (population), and record it.

    OAT's preprocessing of the Amazon covers uses 3, over all trials before any split.
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
        durations: Durations of a file, in its unit.
        problems: Counter of problems; durations that are not finite or not positive are counted and become NaN.
        unit: Unit of the file: s, ms, or auto, which is ms where the median is 10 or more (fixations last neither 10 s
            nor 10 ms).
    """
    values = np.asarray(durations, dtype=np.float64)
    bad = ~np.isfinite(values) | (values <= 0)
    problems["durations_unusable"] += int(bad.sum())
    values = np.where(bad, math.nan, values)
    good = values[~bad]
    if unit == "ms" or (unit == "auto" and len(good) and float(np.median(good)) >= 10):
        values = values / 1000
    return values.astype(np.float32)
