"""Human ceiling of a report: the scanpaths of other observers with which each observer is compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from vision_suite.metrics.scanpath.report.compare import Comparison
from vision_suite.metrics.scanpath.report.evaluation import Evaluation
from vision_suite.metrics.scanpath.report.table import CEILING
from vision_suite.metrics.scanpath.report.trials import human_path, stimulus_in, stimulus_of, windows_like
from vision_suite.types import Trial

WINDOWS = (
    "human ceiling of each window against the windows of other observers' recordings that begin with the same given "
    "fixations, as long as the window; windows without one left out"
)
OTHERS = (
    "human ceiling of each observer against the observers of the training part on the same stimulus, for no stimulus "
    "has two observers here; stimuli without any left out"
)


def human_ceiling(test: Evaluation, recordings: Sequence[Trial], training: Sequence[Trial]) -> tuple[Comparison, str]:
    """Pairs of observers that make the human ceiling, and their description.

    Usually these are the observers of one stimulus. Windows of recordings seldom begin alike, so they are compared with
    windows of other observers' recordings. A split by subject leaves one observer a stimulus, who is compared with
    those of the training part.

    Args:
        test: The evaluated trials.
        recordings: Whole recordings of the evaluated split, where trials are windows.
        training: Whole recordings of the training part.

    Example:
        >>> from dataclasses import replace
        >>> import numpy as np
        >>> from vision_suite.types import Condition, Scene, Trial
        >>> sequence, xy, seconds = np.array([0, 2]), np.zeros((2, 2)), np.ones(2)
        >>> trial = Trial("page", "ann", "", Condition.FREE, (), -1, sequence, xy, seconds)
        >>> trials = [trial, replace(trial, subject="bob", sequence=np.array([0, 1]))]
        >>> scene = Scene("page", (90, 30), np.array([(0, 0, 30, 30), (30, 0, 60, 30), (60, 0, 90, 30)]), ())
        >>> test = Evaluation(trials, {"page": scene}, True, ("sequence_score",), resamples=100, seed=0)
        >>> comparison, words = human_ceiling(test, recordings=[], training=[])
        >>> comparison.pairs.tolist(), words == CEILING
        ([[0, 1], [1, 0]], True)
    """
    windows = bool(recordings) and all(trial.recording >= 0 for trial in test.trials)
    usual = Comparison.among(test.by_stimulus(test.humans), test.stimuli)
    if not windows and len(usual.pairs):
        return usual, CEILING
    known: defaultdict[str, list[Trial]] = defaultdict(list)
    for other in (*(recordings if windows else ()), *training):
        known[other.scene].append(other)
    others = []
    for trial, scene in test.paired():
        if windows:
            found = windows_like(trial, known[trial.scene], scene)
            others.append([test.compared(path, trial) for path in found])
        else:
            same = [
                o for o in known[trial.scene] if stimulus_of(o) == stimulus_of(trial) and o.subject != trial.subject
            ]
            others.append([test.compared(human_path(other, scene), other) for other in same])
    if not windows and not any(others):
        return usual, CEILING
    own = [
        [test.compared(path, trial) for path in paths] for trial, paths in zip(test.trials, test.humans, strict=True)
    ]
    stimuli = [stimulus_in(scene) for _, scene in test.paired()]
    return Comparison.against(others, own, stimuli), WINDOWS if windows else OTHERS
