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

SIZE_TOLERANCE = 1.0  # pixels that rounding may take from a picture, and one more of the scene


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
        warnings: Doubts about the set, one line each.
    """

    layout: str
    root: Path
    scenes: dict[str, Scene]
    trials: list[Trial]
    problems: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    notes: dict[str, object] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

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
    wrong = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
    if wrong.any():
        number = int(wrong.argmax())
        raise DataError(
            f"scene {name!r}: box {number} {boxes[number].tolist()} is no x1, y1, x2, y2 with x1 < x2 and y1 < y2 "
            f"(not x, y, width, height); {int(wrong.sum())} of {len(boxes)} boxes are so"
        )
    if len(scene.labels) != len(boxes):
        raise DataError(f"scene {name!r} has {len(boxes)} boxes but {len(scene.labels)} labels")
    if scene.grid is not None and scene.grid[0] * scene.grid[1] != len(boxes):
        rows, columns = scene.grid
        raise DataError(f"scene {name!r} has {len(boxes)} boxes, which are no {rows} x {columns} grid")
    return scene


def check_size(scene: Scene, size: tuple[int, int]) -> None:
    """Refuse a picture of another size than its scene, for boxes and fixations would lie elsewhere in it.

    Args:
        scene: Scene whose pixels are those of the picture, as far as its placement does not scale them.
        size: Width and height of the picture.

    Raises:
        DataError: The sizes differ by more than rounding.
    """
    x, y, scale = scene.placement
    shown = ((scene.size[0] - 2 * x) / scale, (scene.size[1] - 2 * y) / scale)
    if any(abs(own - said) > SIZE_TOLERANCE + 1 / scale for own, said in zip(size, shown, strict=True)):
        raise DataError(
            f"scene {scene.name!r} is said to be {shown[0]:g} x {shown[1]:g} pixels, but its picture {scene.image!r} "
            f"has {size[0]} x {size[1]}: give boxes and fixations in pixels of the picture, or resize the picture"
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
