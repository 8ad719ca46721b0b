"""Recorded trials as scanpaths over objects: trials of one stimulus, centres of objects, samples, windows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from vision_suite.errors import DataError
from vision_suite.metrics.scanpath.pairwise.scores import Stimulus
from vision_suite.metrics.scanpath.paths import Scanpath
from vision_suite.types import BACKGROUND, Scene, Trial
from vision_suite.types.arrays import Floats, Ints
from vision_suite.types.scanpath import box_centres


def stimuli(trials: Sequence[Trial]) -> list[list[int]]:
    """Indices of the trials of each stimulus, in the order of its first trial.

    Whole recordings share a stimulus if scene, condition, task and targets agree. Windows cut from recordings must also
    begin with the same given fixations: windows from different parts of a scanpath have nothing in common.

    Example:
        >>> from dataclasses import replace
        >>> from vision_suite.types import Condition, Trial
        >>> sequence, xy, seconds = np.array([0, 2]), np.zeros((2, 2)), np.ones(2)
        >>> trial = Trial("page", "ann", "", Condition.FREE, (), -1, sequence, xy, seconds)
        >>> stimuli([trial, replace(trial, scene="cover"), replace(trial, subject="bob")])
        [[0, 2], [1]]
    """
    groups: defaultdict[Hashable, list[int]] = defaultdict(list)
    for index, trial in enumerate(trials):
        begin = tuple(trial.sequence[: trial.given].tolist()) if trial.recording >= 0 else None
        groups[(*stimulus_of(trial), begin)].append(index)
    return list(groups.values())


def stimulus_of(trial: Trial) -> tuple[Hashable, ...]:
    """Key that whole recordings of one stimulus share.

    Example:
        >>> from vision_suite.types import Condition, Trial
        >>> sequence, xy, seconds = np.array([0, 2]), np.zeros((2, 2)), np.ones(2)
        >>> trial = Trial("desk", "ann", "cup", Condition.PRESENT, (2,), 2, sequence, xy, seconds)
        >>> stimulus_of(trial)
        ('desk', 0, 'cup', 2, (2,))
    """
    return (trial.scene, int(trial.condition), trial.task, trial.target, tuple(trial.targets))


def human_path(trial: Trial, scene: Scene) -> Scanpath:
    """The observer's path on the centres of its objects, as OAT's evaluation compares it; recorded durations.

    Example:
        >>> from vision_suite.types import Condition, Scene, Trial
        >>> sequence, xy, seconds = np.array([0, 2]), np.zeros((2, 2)), np.ones(2)
        >>> trial = Trial("page", "ann", "", Condition.FREE, (), -1, sequence, xy, seconds)
        >>> scene = Scene("page", (90, 30), np.array([(0, 0, 30, 30), (30, 0, 60, 30), (60, 0, 90, 30)]), ())
        >>> path = human_path(trial, scene)
        >>> path.objects.tolist(), path.xy.tolist(), path.observer
        ([0, 2], [[15.0, 15.0], [75.0, 15.0]], 'ann')
    """
    objects = np.asarray(trial.sequence, dtype=np.int64)
    return Scanpath(
        objects, centres_of(objects, scene), trial.duration, observer=trial.subject or None, terminated=trial.terminated
    )


def sampled_path(sample: Scanpath, trial: Trial, scene: Scene) -> Scanpath:
    """A sample on the centres of its objects; where the recording goes on behind its cut, as long as the recording.

    Raises:
        DataError: The sample has no objects, one of them does not exist, or it does not begin with the given fixations.

    Example:
        >>> from vision_suite.types import Condition, Scene, Trial
        >>> sequence, xy, seconds = np.array([0, 2]), np.zeros((2, 2)), np.ones(2)
        >>> trial = Trial("page", "ann", "", Condition.FREE, (), -1, sequence, xy, seconds, terminated=False)
        >>> scene = Scene("page", (90, 30), np.array([(0, 0, 30, 30), (30, 0, 60, 30), (60, 0, 90, 30)]), ())
        >>> path = sampled_path(Scanpath([0, 1, 2]), trial, scene)
        >>> path.objects.tolist(), path.xy.tolist()
        ([0, 1], [[15.0, 15.0], [45.0, 15.0]])
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


def centres_of(objects: Ints, scene: Scene) -> Floats:
    """(n, 2) float64 pixel centres of (n,) objects; the middle of the scene for the background.

    Example:
        >>> from vision_suite.types import BACKGROUND, Scene
        >>> scene = Scene("page", (90, 60), np.array([(0, 0, 30, 30), (30, 0, 60, 30)]), ())
        >>> centres_of(np.array([1, BACKGROUND]), scene).tolist()
        [[45.0, 15.0], [45.0, 30.0]]
    """
    middle = np.array(scene.size, dtype=np.float64) / 2
    centres = np.append(box_centres(scene.boxes), [middle], axis=0)
    found: Floats = centres[np.where(objects == BACKGROUND, len(scene.boxes), objects)]
    return found


def stimulus_in(scene: Scene) -> Stimulus:
    """The facts of a scene that scores of pairs read; categories are its labels, if every object has one.

    Example:
        >>> from vision_suite.types import Scene
        >>> stimulus_in(Scene("desk", (60, 30), np.array([(0, 0, 30, 30), (30, 0, 60, 30)]), ("cup", "fork")))
        Stimulus(screen_size=(60, 30), categories=('cup', 'fork'))
    """
    return Stimulus(scene.size, scene.labels if scene.labels and all(scene.labels) else None)


def windows_like(window: Trial, recordings: Sequence[Trial], scene: Scene) -> list[Scanpath]:
    """Windows of other observers' recordings that begin with the given fixations of a window, and are as long.

    Args:
        window: Window with one given fixation or more.
        recordings: Whole recordings.
        scene: Scene of the window.

    Example:
        >>> from vision_suite.types import Condition, Scene, Trial
        >>> scene = Scene("page", (90, 30), np.array([(0, 0, 30, 30), (30, 0, 60, 30), (60, 0, 90, 30)]), ())
        >>> sequence, xy, seconds = np.array([0, 2]), np.zeros((2, 2)), np.ones(2)
        >>> window = Trial("page", "ann", "", Condition.FREE, (), -1, sequence, xy, seconds, given=1)
        >>> sequence, xy, seconds = np.array([2, 0, 1]), np.zeros((3, 2)), np.ones(3)
        >>> other = Trial("page", "bob", "", Condition.FREE, (), -1, sequence, xy, seconds)
        >>> [path.objects.tolist() for path in windows_like(window, [other], scene)]
        [[0, 1]]
    """
    length, begin = len(window.sequence), window.sequence[: window.given]
    found = []
    for other in recordings:
        if stimulus_of(other) != stimulus_of(window) or other.subject == window.subject:
            continue
        whole = human_path(other, scene)
        for first in range(len(other.sequence) - length + 1):
            if (other.sequence[first : first + window.given] == begin).all():
                found.append(whole.cut(first + length).after(first))
    return found


def check_scenes(trials: Sequence[Trial], scenes: Mapping[str, Scene]) -> None:
    """Refuse an empty list of trials, and trials whose scene was not given.

    Raises:
        DataError: There is no trial, or a scene is missing.

    Example:
        >>> check_scenes([], {})
        Traceback (most recent call last):
            ...
        vision_suite.errors.DataError: there is no trial to report on: choose another split
    """
    if not trials:
        raise DataError("there is no trial to report on: choose another split")
    missing = sorted({trial.scene for trial in trials} - set(scenes))
    if missing:
        raise DataError(f"{len(missing)} scenes of trials were not given, such as {missing[0]!r}: give every scene")
