"""Trials as reports read them: what a trial and a scene must have, which trials share a stimulus, and their paths."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vision_suite.errors import DataError
from vision_suite.metrics.scanpath.pairwise.scores import Scene
from vision_suite.metrics.scanpath.paths import Floats, Scanpath
from vision_suite.types import BACKGROUND


class TrialLike(Protocol):
    """Where one person looked; `vision_suite.datasets.scanpath.records.Trial` is one."""

    @property
    def scene(self) -> str:
        """Name of the scene."""

    @property
    def subject(self) -> str:
        """The person, "" if unknown."""

    @property
    def task(self) -> str:
        """What was looked for, in a word."""

    @property
    def condition(self) -> int:
        """`vision_suite.types.Condition`."""

    @property
    def target(self) -> int:
        """The object that is looked for, -1 for none."""

    @property
    def targets(self) -> tuple[int, ...]:
        """Objects that count as found."""

    @property
    def sequence(self) -> npt.NDArray[np.int64]:
        """(L,) objects or ``BACKGROUND``."""

    @property
    def xy(self) -> npt.NDArray[np.floating[Any]]:
        """(L, 2) pixels, NaN where unknown."""

    @property
    def duration(self) -> npt.NDArray[np.floating[Any]]:
        """(L,) seconds, NaN where unknown."""

    @property
    def given(self) -> int:
        """How many first fixations are given and not predicted."""

    @property
    def terminated(self) -> bool:
        """Whether the path ended by itself."""

    @property
    def recording(self) -> int:
        """Which recording a piece was cut from, -1 for a whole one."""

    @property
    def first(self) -> int:
        """Number of the first fixation in that recording."""


class SceneLike(Protocol):
    """A picture with its objects; `vision_suite.datasets.scanpath.records.Scene` is one."""

    @property
    def size(self) -> tuple[float, float]:
        """Width, height in pixels."""

    @property
    def boxes(self) -> npt.NDArray[np.floating[Any]]:
        """(N, 4) x1, y1, x2, y2 in pixels."""

    @property
    def labels(self) -> tuple[str, ...]:
        """N names, empty where unknown."""

    @property
    def image(self) -> str:
        """The picture's file, empty for none."""

    @property
    def placement(self) -> tuple[float, float, float]:
        """x, y of the picture's corner in the scene, and its scale."""


def stimuli(trials: Sequence[TrialLike]) -> list[list[int]]:
    """Places of the trials of each stimulus, in the order of its first trial.

    Whole recordings share a stimulus if scene, condition, task and targets agree. Pieces cut from recordings must begin
    with the same given fixations too: pieces from different places of a scene have nothing to do with each other.
    """
    groups: defaultdict[Hashable, list[int]] = defaultdict(list)
    for place, trial in enumerate(trials):
        begin = tuple(trial.sequence[: trial.given].tolist()) if trial.recording >= 0 else None
        groups[(*stimulus_of(trial), begin)].append(place)
    return list(groups.values())


def stimulus_of(trial: TrialLike) -> tuple[Hashable, ...]:
    """What whole recordings of one stimulus have in common."""
    return (trial.scene, int(trial.condition), trial.task, trial.target, tuple(trial.targets))


def human_path(trial: TrialLike, scene: SceneLike) -> Scanpath:
    """The person's path on the centres of its objects, as OAT's evaluation compares it; recorded durations."""
    objects = np.asarray(trial.sequence, dtype=np.int64)
    return Scanpath(
        objects, centres_of(objects, scene), trial.duration, observer=trial.subject or None, terminated=trial.terminated
    )


def sampled_path(sample: Scanpath, trial: TrialLike, scene: SceneLike) -> Scanpath:
    """A sample on the centres of its objects; where the recording goes on behind its cut, as long as the recording.

    Raises:
        DataError: The sample has no objects, one of them does not exist, or it does not begin with what was given.
    """
    if sample.objects is None:
        raise DataError(f"a sample of scene {trial.scene!r} has no objects: give Scanpath(objects=...)")
    objects = np.asarray(sample.objects, dtype=np.int64)
    if len(objects) and (objects.max() >= len(scene.boxes) or objects.min() < BACKGROUND):
        raise DataError(f"a sample of scene {trial.scene!r} names object {objects.max()} of {len(scene.boxes)}")
    if objects[: trial.given].tolist() != trial.sequence[: trial.given].tolist():
        raise DataError(
            f"a sample of scene {trial.scene!r} begins with {objects[: trial.given].tolist()}: samples must begin with "
            f"the {trial.given} given fixations {trial.sequence[: trial.given].tolist()}"
        )
    path = Scanpath(objects, centres_of(objects, scene), sample.duration, terminated=sample.terminated)
    return path if trial.terminated else path.cut(len(trial.sequence))


def centres_of(objects: npt.NDArray[np.int64], scene: SceneLike) -> Floats:
    """(n, 2) pixel centres of objects; the middle of the scene for the background, which has no place."""
    boxes = np.asarray(scene.boxes, dtype=np.float64)
    places = np.append((boxes[:, :2] + boxes[:, 2:]) / 2, [np.array(scene.size, dtype=np.float64) / 2], axis=0)
    found: Floats = places[np.where(objects == BACKGROUND, len(boxes), objects)]
    return found


def score_scene(scene: SceneLike) -> Scene:
    """What scores of pairs read of a scene; categories are its labels, if every object has one."""
    return Scene(scene.size, scene.labels if scene.labels and all(scene.labels) else None)


def without_first(path: Scanpath, count: int) -> Scanpath:
    """The path behind its first ``count`` fixations."""
    objects, xy, duration = (None if part is None else part[count:] for part in (path.objects, path.xy, path.duration))
    return Scanpath(objects, xy, duration, path.observer, path.terminated)  # type: ignore[arg-type]


def windows_like(piece: TrialLike, recordings: Sequence[TrialLike], scene: SceneLike) -> list[Scanpath]:
    """Windows of other people's recordings that begin with the given fixations of a piece, and are as long.

    Args:
        piece: A piece with one given fixation or more.
        recordings: Whole recordings.
        scene: Of the piece.
    """
    length, begin = len(piece.sequence), piece.sequence[: piece.given]
    found = []
    for other in recordings:
        if (other.scene, other.task) != (piece.scene, piece.task) or other.subject == piece.subject:
            continue
        whole = human_path(other, scene)
        for first in range(len(other.sequence) - length + 1):
            if (other.sequence[first : first + piece.given] == begin).all():
                found.append(without_first(whole.cut(first + length), first))
    return found


def check_scenes(trials: Sequence[TrialLike], scenes: Mapping[str, SceneLike]) -> None:
    """Refuse an empty list of trials, and trials whose scene was not given.

    Raises:
        DataError: There is none, or a scene is missing.
    """
    if not trials:
        raise DataError("there is no trial to report on: choose another split")
    missing = sorted({trial.scene for trial in trials} - set(scenes))
    if missing:
        raise DataError(f"{len(missing)} scenes of trials were not given, such as {missing[0]!r}: give every scene")
