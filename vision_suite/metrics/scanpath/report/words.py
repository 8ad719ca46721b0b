"""What a scanpath report says in words and keeps of each trial."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vision_suite.metrics.scanpath.pairwise.strings import edit_distances, sequence_scores
from vision_suite.metrics.scanpath.paths import Floats, Scanpath
from vision_suite.metrics.scanpath.report.baselines import OffsetHistogram
from vision_suite.metrics.scanpath.report.trials import TrialLike
from vision_suite.types import BACKGROUND, Condition


def said(
    trials: Sequence[TrialLike],
    groups: Sequence[Sequence[int]],
    *,
    include_given: bool,
    ceiling: str,
    histogram: OffsetHistogram | None,
    samples: Sequence[int],
    baseline_samples: int,
    resamples: int,
    seed: int,
) -> dict[str, str]:
    """How the table was made, in words by subject.

    Args:
        trials: People's.
        groups: Places of the trials of each stimulus.
        include_given: Whether given fixations count.
        ceiling: What the human ceiling compares.
        histogram: The offset histogram, if there is one.
        samples: Of the model per trial.
        baseline_samples: Of the random and the offset predictor per trial.
        resamples: Bootstrap draws.
        seed: Of everything random.
    """
    given = sorted({trial.given for trial in trials})
    pieces = [trial for trial in trials if trial.recording >= 0]
    people = [len({trials[n].subject for n in group}) for group in groups]
    open_ends = sum(not trial.terminated for trial in trials)
    background = sum(int((trial.sequence == BACKGROUND).sum()) for trial in trials)
    words = {
        "stimuli": f"{len(groups)} stimuli (scene, task and target"
        + (", pieces also by their given fixations)" if pieces else ")")
        + f", {_range(people)} people each, {people.count(1)} with one person",
        "fixations": f"first fixation {'predicted' if given == [0] else f'given ({_range(given)} per trial)'}"
        + ("" if given == [0] else f", given ones {'included in' if include_given else 'left out of'} scores of pairs"),
        "paths": f"{len(pieces)} pieces of {len({trial.recording for trial in pieces})} recordings"
        if pieces
        else "whole recordings",
        "model": f"{_range(samples)} samples per trial, each against every person of its stimulus, mean over stimuli",
        "ceiling": ceiling,
        "points": "ScanMatch and MultiMatch on the centres of the objects, of people as of predictors"
        + (f"; {background} fixations of people on no object stand in the middle" if background else ""),
        "ends": f"{open_ends} of {len(trials)} recordings go on behind their cut: there predictions are cut to the "
        "same length and the end is not scored"
        if open_ends
        else "every recording ends by itself, and the end is predicted",
        "baselines": f"of the person's length, {baseline_samples} paths per trial; next object in the order "
        "of the list, from the last given fixation"
        + (", or from the person's first one, which it is told," if 0 in given else ",")
        + " and at its end stays on the last object",
        "likelihood": "teacher forced; nats over fixations, ends in the sum; top-k over fixations, ties at random",
        "interval": f"95% percentile bootstrap over stimuli, {resamples} resamples, seed {seed}",
    }
    if histogram is not None:
        words["offsets"] = (
            f"offset of the object's number in the training trials, {histogram.smoothing:g} added to each count; first "
            f"fixation uniform; {histogram.unused} transitions from or to the background unused"
        )
    if any(trial.targets for trial in trials):
        words["delta"] = (
            "whole paths, given fixations included; mean over paths of a stimulus, then over stimuli with a target"
            + ("; correct is the last fixation before the cut" if open_ends else "")
        )
    return words


def trial_record(
    trial: TrialLike,
    samples: Sequence[Scanpath],
    log_probs: Sequence[float] | None,
    steps: Floats | None,
    greedy: Scanpath | None,
    include_given: bool,
) -> dict[str, Any]:
    """A trial with the model's samples in plain containers, as JSON takes them, and their mean scores against it.

    Args:
        trial: The person's.
        samples: The model's.
        log_probs: Of the samples, nats.
        steps: Of the person's decisions, nats.
        greedy: The likeliest path.
        include_given: Whether given fixations count in the scores.
    """
    path = Scanpath(trial.sequence, duration=trial.duration, terminated=trial.terminated)
    drop = 0 if include_given else trial.given
    strings = [np.asarray(one.objects)[drop:].tolist() for one in (path, *samples)]
    pairs = np.array([(place, 0) for place in range(1, len(strings))], dtype=np.int64).reshape(-1, 2)
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
            **_plain(path),
            "xy": [[_finite(x), _finite(y)] for x, y in trial.xy.tolist()],
            "step_log_probs": None if steps is None else [_finite(value) for value in steps.tolist()],
        },
        "scores": {name: float(values.mean()) if len(values) else None for name, values in sums.items()},
        "greedy": None if greedy is None else _plain(greedy),
        "samples": [
            {**_plain(sample), "log_prob": None if log_probs is None else _finite(float(log_probs[n]))}
            for n, sample in enumerate(samples)
        ],
    }


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def _plain(path: Scanpath) -> dict[str, Any]:
    objects = [] if path.objects is None else [int(number) for number in path.objects]
    return {
        "objects": objects,
        "duration": None if path.duration is None else [_finite(float(value)) for value in path.duration],
        "terminated": bool(path.terminated),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
