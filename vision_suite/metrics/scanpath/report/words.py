"""Words of a scanpath report about its protocol, and its records of trials."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from vision_suite.metrics.scanpath.pairwise.strings import edit_distances, sequence_scores
from vision_suite.metrics.scanpath.paths import Scanpath
from vision_suite.metrics.scanpath.report.baselines import OffsetHistogram
from vision_suite.metrics.scanpath.report.evaluation import Evaluation
from vision_suite.types import BACKGROUND, Condition, Trial
from vision_suite.types.arrays import Floats
from vision_suite.types.scanpath.records import PathRecord, TrialRecord


def protocol_words(
    test: Evaluation, ceiling: str, histogram: OffsetHistogram | None, samples: Sequence[int], baseline_samples: int
) -> dict[str, str]:
    """Computation of the table, in words by topic.

    Args:
        test: The evaluated trials.
        ceiling: Description of the human ceiling.
        histogram: The offset histogram, if there is one.
        samples: Number of the model's samples by trial.
        baseline_samples: Number of paths per trial of the random and the offset predictor.

    Example:
        >>> from vision_suite.types import Condition, Scene, Trial
        >>> sequence, xy, seconds = np.array([0, 2]), np.zeros((2, 2)), np.ones(2)
        >>> trial = Trial("page", "ann", "", Condition.FREE, (), -1, sequence, xy, seconds)
        >>> scene = Scene("page", (90, 30), np.array([(0, 0, 30, 30), (30, 0, 60, 30), (60, 0, 90, 30)]), ())
        >>> test = Evaluation([trial], {"page": scene}, True, ("sequence_score",), resamples=100, seed=0)
        >>> words = protocol_words(test, "", None, samples=[10], baseline_samples=10)
        >>> words["stimuli"]
        '1 stimuli (scene, task and target), 1 observers each, 1 with one observer'
        >>> words["model"]
        '10 samples per trial, each against every observer of its stimulus, mean over stimuli'
    """
    trials, groups = test.trials, test.groups
    given = sorted({trial.given for trial in trials})
    windows = [trial for trial in trials if trial.recording >= 0]
    observers = [len({trials[n].subject for n in group}) for group in groups]
    open_ends = sum(not trial.terminated for trial in trials)
    background = sum(int((trial.sequence == BACKGROUND).sum()) for trial in trials)
    words = {
        "stimuli": f"{len(groups)} stimuli (scene, task and target"
        + (", windows also by their given fixations)" if windows else ")")
        + f", {_range(observers)} observers each, {observers.count(1)} with one observer",
        "fixations": f"first fixation {'predicted' if given == [0] else f'given ({_range(given)} per trial)'}"
        + (
            ""
            if given == [0]
            else f", given ones {'included in' if test.include_given else 'left out of'} scores of pairs"
        ),
        "paths": f"{len(windows)} windows of {len({trial.recording for trial in windows})} recordings"
        if windows
        else "whole recordings",
        "model": f"{_range(samples)} samples per trial, each against every observer of its stimulus, mean over stimuli",
        "ceiling": ceiling,
        "points": "ScanMatch and MultiMatch on the centres of the objects, of observers as of predictors"
        + (f"; {background} fixations of observers on no object stand in the middle" if background else ""),
        "ends": f"{open_ends} of {len(trials)} recordings go on behind their cut: there predictions are cut to the "
        "same length and the end is not scored"
        if open_ends
        else "every recording ends by itself, and the end is predicted",
        "baselines": f"as long as the observer's path, {baseline_samples} paths per trial; next object in the order "
        "of the list, from the last given fixation"
        + (", or from the observer's first one, which is given to it," if 0 in given else ",")
        + " and at its end stays on the last object",
        "likelihood": "teacher forced; nats over fixations, ends in the sum; top-k over fixations, ties at random",
        "interval": f"95% percentile bootstrap over stimuli, {test.resamples} resamples, seed {test.seed}",
    }
    if histogram is not None:
        words["offsets"] = (
            f"offset of the object's index in the training trials, {histogram.smoothing:g} added to each count; first "
            f"fixation uniform; {histogram.unused} transitions from or to the background unused"
        )
    if test.searched:
        words["delta"] = (
            "whole paths, given fixations included; mean over paths of a stimulus, then over stimuli with a target"
            + ("; correct is the last fixation before the cut" if open_ends else "")
        )
    return words


def what_is_searched(condition: Condition, task: str, target: int = -1) -> str:
    """Task of an observer in front of a scene, in words: the one heading of tables, pictures and files.

    Args:
        condition: Task of the observer. It decides: a search whose target has no word is a search.
        task: Word for the target, may be empty.
        target: Object that is the target, -1 for none.

    Example:
        >>> what_is_searched(Condition.PRESENT, "cup"), what_is_searched(Condition.ABSENT, "cup")
        ('search for cup', 'search for cup, which is not there')
        >>> what_is_searched(Condition.PRESENT, "", target=4), what_is_searched(Condition.FREE, "")
        ('search for object 4', 'free viewing')
    """
    if condition == Condition.FREE:
        return "free viewing"
    what = task or (f"object {target}" if target >= 0 else "a given target")
    return f"search for {what}" + (", which is not there" if condition == Condition.ABSENT else "")


def same_stimulus(one: TrialRecord, other: TrialRecord) -> bool:
    """Tell whether two records are of one stimulus: scene, condition, task and targets.

    Example:
        >>> from vision_suite.types import Trial
        >>> sequence, xy, seconds = np.array([0, 2]), np.zeros((2, 2)), np.ones(2)
        >>> trials = [Trial("page", "a", "", Condition.PRESENT, (n,), n, sequence, xy, seconds) for n in (0, 2, 2)]
        >>> records = [trial_record(trial, [], None, None, None, include_given=True) for trial in trials]
        >>> same_stimulus(records[0], records[1]), same_stimulus(records[1], records[2])
        (False, True)
    """
    first, second = (
        (record["scene"], record["condition"], record["task"], record["target"], record["targets"])
        for record in (one, other)
    )
    return first == second


def trial_record(
    trial: Trial,
    samples: Sequence[Scanpath],
    log_probs: Sequence[float] | None,
    steps: Floats | None,
    greedy: Scanpath | None,
    include_given: bool,
) -> TrialRecord:
    """A trial with the model's samples in plain containers, as JSON takes them, and their mean scores against it.

    Args:
        trial: The recorded trial.
        samples: The model's samples.
        log_probs: Log probabilities of the samples, nats.
        steps: Log probabilities of the observer's decisions, nats.
        greedy: The model's likeliest path.
        include_given: Count given fixations in the scores.

    Example:
        >>> from vision_suite.types import Condition, Trial
        >>> sequence, xy, seconds = np.array([0, 2]), np.zeros((2, 2)), np.ones(2)
        >>> trial = Trial("page", "ann", "", Condition.FREE, (), -1, sequence, xy, seconds)
        >>> record = trial_record(trial, [Scanpath([0, 2, 1])], None, None, None, include_given=True)
        >>> record["human"]["objects"], record["samples"][0]["objects"], record["scores"]
        ([0, 2], [0, 2, 1], {'sequence_score': 0.6666666666666666, 'edit_distance': 1.0})
    """
    path = Scanpath(trial.sequence, duration=trial.duration, terminated=trial.terminated)
    drop = 0 if include_given else trial.given
    strings = [np.asarray(one.objects)[drop:].tolist() for one in (path, *samples)]
    pairs = np.array([(index, 0) for index in range(1, len(strings))], dtype=np.int64).reshape(-1, 2)
    sums = {"sequence_score": sequence_scores(strings, pairs), "edit_distance": edit_distances(strings, pairs)}
    return {
        "scene": trial.scene,
        "subject": trial.subject,
        "task": trial.task,
        "condition": Condition(trial.condition).name.lower(),
        "target": int(trial.target),
        "targets": [int(number) for number in trial.targets],
        "given": int(trial.given),
        "recording": int(trial.recording),
        "first": int(trial.first),
        "human": {
            **_path_record(path),
            "xy": [[_finite(x), _finite(y)] for x, y in trial.xy.tolist()],
            "step_log_probs": None if steps is None else [_finite(value) for value in steps.tolist()],
        },
        "scores": {name: float(values.mean()) if len(values) else None for name, values in sums.items()},
        "greedy": None if greedy is None else _path_record(greedy),
        "samples": [
            {**_path_record(sample), "log_prob": None if log_probs is None else _finite(float(log_probs[n]))}
            for n, sample in enumerate(samples)
        ],
    }


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def _path_record(path: Scanpath) -> PathRecord:
    objects = [] if path.objects is None else [int(number) for number in path.objects]
    return {
        "objects": objects,
        "duration": None if path.duration is None else [_finite(float(value)) for value in path.duration],
        "terminated": bool(path.terminated),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
