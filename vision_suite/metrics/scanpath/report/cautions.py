"""Warnings of a scanpath report: units of recorded points, collapsed predictions, means over few pairs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vision_suite.metrics.scanpath.report.compare import GroupedPaths
from vision_suite.metrics.scanpath.report.evaluation import Evaluation
from vision_suite.metrics.scanpath.screens import MANY, are_shares, outside
from vision_suite.types import Trial
from vision_suite.types.arrays import Floats

STIMULI = 3  # with fewer, equal predictions may be right


def report_warnings(test: Evaluation, predicted: GroupedPaths, pairs: Mapping[str, tuple[int, int]]) -> list[str]:
    """Lines on what makes the numbers of a report doubtful.

    Args:
        test: The evaluated trials.
        predicted: The model's paths by trial: the likeliest ones, or else its samples.
        pairs: Number of pairs of the model, and of those without a score, by score.

    Example:
        >>> from vision_suite.metrics.scanpath import Scanpath
        >>> from vision_suite.types import Condition, Scene
        >>> boxes = np.array([(0, 0, 30, 30), (30, 0, 60, 30), (60, 0, 90, 30)])
        >>> scenes = {name: Scene(name, (90, 30), boxes, ()) for name in "abc"}
        >>> steps = [np.array([n, 2 - n]) for n in range(3)]
        >>> xy, seconds = np.full((2, 2), np.nan), np.ones(2)
        >>> trials = [Trial(s, "ann", "", Condition.FREE, (), -1, o, xy, seconds) for s, o in zip("abc", steps)]
        >>> test = Evaluation(trials, scenes, True, ("sequence_score",), resamples=100, seed=0)
        >>> report_warnings(test, [[Scanpath([1, 1])]] * 3, {"sequence_score": (3, 0)})[0][:58]
        'the predictions in all 3 stimuli are equal, [1, 1]: the mo'
    """
    lines = [*_points(test), *_collapsed(test, predicted)]
    # Sets without durations have none of these, which the table shows by the row that is missing.
    few = [name for name, (count, without) in pairs.items() if 2 * without > count and name != "multimatch_duration"]
    for count, without in dict.fromkeys(pairs[name] for name in few):
        names = ", ".join(name for name in few if pairs[name] == (count, without))
        lines.append(
            f"{names}: {without} of {count} pairs of the model have no score (too short, of unknown durations, or "
            f"without a symbol), so that the mean is over {count - without} of them"
        )
    return lines


def _points(test: Evaluation) -> list[str]:
    """Recorded points that cannot be pixels of their pictures."""
    recorded = [np.asarray(trial.xy, dtype=np.float64).reshape(-1, 2) for trial in test.trials]
    every = np.concatenate(recorded)
    size: Floats = np.repeat([test.scenes[t.scene].size for t in test.trials], [len(xy) for xy in recorded], axis=0)
    known = np.isfinite(every).all(axis=1)
    if not known.any():
        return []
    if are_shares(every, size):
        return [
            f"all {int(known.sum())} recorded fixations have coordinates from 0 to 1, which look like shares of the "
            "picture: pixels are expected, multiply them by its width and height"
        ]
    number = int(outside(every, size).sum())
    if number <= MANY * int(known.sum()):
        return []
    return [
        f"{number} of {int(known.sum())} recorded fixations lie outside of their pictures: check the unit and the "
        "origin of the coordinates"
    ]


def _collapsed(test: Evaluation, predicted: GroupedPaths) -> list[str]:
    """Predictions that are the same whatever the picture, where those of observers differ."""
    if len(test.groups) < STIMULI:
        return []
    own = {
        _predicted(path.objects, trial) for trial, paths in zip(test.trials, predicted, strict=True) for path in paths
    }
    human = {_predicted(trial.sequence, trial) for trial in test.trials}
    if len(own) != 1 or len(human) == 1:
        return []
    path = list(next(iter(own)))
    shown = f"{path[:8]}"[:-1] + (", ...]" if len(path) > 8 else "]")
    return [
        f"the predictions in all {len(test.groups)} stimuli are equal, {shown}: the model has collapsed, or does not "
        "see the pictures, and its scores say nothing of them"
    ]


def _predicted(objects: object, trial: Trial) -> tuple[int, ...]:
    """The predicted objects of a path."""
    return tuple(np.asarray(objects, dtype=np.int64)[trial.given :].tolist())
