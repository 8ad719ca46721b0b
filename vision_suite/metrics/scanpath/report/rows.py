"""Rows of a report: the scores of observers and of each predictor, with intervals and counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vision_suite.metrics.scanpath.behaviours import BehaviourDelta, behaviour_delta
from vision_suite.metrics.scanpath.pairwise.multimatch import FEWEST
from vision_suite.metrics.scanpath.report.compare import Comparison, GroupedPaths
from vision_suite.metrics.scanpath.report.evaluation import SETTINGS, Evaluation
from vision_suite.metrics.scanpath.report.hits import hit_curve
from vision_suite.metrics.scanpath.report.protocol import balanced_mean
from vision_suite.metrics.scanpath.report.table import delta_interval
from vision_suite.metrics.scanpath.report.teacher_forced import ForcedScores
from vision_suite.types import BACKGROUND
from vision_suite.types.arrays import Floats


@dataclass
class ReportRow:
    """Scores of one predictor, or of observers.

    Attributes:
        values: Scores by name.
        intervals: Ends of bootstrap intervals by score.
        pairs: Number of compared pairs, and of those without a score, by score.
        counts: Numbers of paths, of short, empty and unterminated ones, and of compared pairs of two empty parts.
        hits: (3, K) curve of `hit_curve`, None without a target.
    """

    values: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    pairs: dict[str, tuple[int, int]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    hits: Floats | None = None

    def add(self, name: str, value: float, low: float, high: float) -> None:
        """Add a score with the ends of its interval."""
        self.values[name], self.intervals[name] = value, (low, high)

    def add_behaviours(self, means: Mapping[str, float]) -> None:
        """Add mean behaviours by name, which have no interval."""
        self.values |= {f"behaviour_{name}": value for name, value in means.items()}


def human_row(test: Evaluation, ceiling: Comparison) -> ReportRow:
    """Scores of observers: human ceiling, behaviours, hits.

    Args:
        test: The evaluated trials.
        ceiling: Pairs of observers.

    Example:
        >>> from dataclasses import replace
        >>> from vision_suite.types import Condition, Scene, Trial
        >>> sequence, xy, seconds = np.array([0, 2]), np.zeros((2, 2)), np.ones(2)
        >>> trial = Trial("page", "ann", "", Condition.FREE, (), -1, sequence, xy, seconds)
        >>> trials = [trial, replace(trial, subject="bob", sequence=np.array([0, 1]))]
        >>> scene = Scene("page", (90, 30), np.array([(0, 0, 30, 30), (30, 0, 60, 30), (60, 0, 90, 30)]), ())
        >>> test = Evaluation(trials, {"page": scene}, True, ("sequence_score",), resamples=100, seed=0)
        >>> row = human_row(test, Comparison.among(test.by_stimulus(test.humans), test.stimuli))
        >>> row.values["sequence_score"], row.pairs["sequence_score"]
        (0.5, (2, 0))
    """
    row = _compared(test, test.humans, ceiling)
    found = _delta(test, test.humans)
    if found is not None:
        row.add_behaviours(found.human)
    _add_hits(row, test, test.humans)
    return row


def predictor_row(test: Evaluation, paths: GroupedPaths, forced: ForcedScores | None) -> ReportRow:
    """Scores of a predictor: against observers, delta and behaviours, likelihood, hits.

    Args:
        test: The evaluated trials.
        paths: The predictor's paths by trial, on the centres of objects.
        forced: Its teacher-forced scores, None without probabilities.

    Example:
        >>> from vision_suite.types import Condition, Scene, Trial
        >>> sequence, xy, seconds = np.array([0, 2]), np.zeros((2, 2)), np.ones(2)
        >>> trial = Trial("page", "ann", "", Condition.FREE, (), -1, sequence, xy, seconds)
        >>> scene = Scene("page", (90, 30), np.array([(0, 0, 30, 30), (30, 0, 60, 30), (60, 0, 90, 30)]), ())
        >>> test = Evaluation([trial], {"page": scene}, True, ("sequence_score",), resamples=100, seed=0)
        >>> row = predictor_row(test, [test.humans[0] * 2], forced=None)
        >>> row.values["sequence_score"], row.pairs["sequence_score"], row.counts["paths"]
        (1.0, (2, 0), 2)
    """
    comparison = Comparison.against(test.by_stimulus(paths), test.by_stimulus(test.humans), test.stimuli)
    row = _compared(test, paths, comparison)
    found = _delta(test, paths)
    if found is not None:
        delta = delta_interval(found, resamples=test.resamples, seed=test.seed)
        row.add("delta", delta.value, delta.low, delta.high)
        row.add_behaviours(found.model)
        row.counts["stimuli_without_delta"] = found.skipped_trials + len(test.groups) - len(test.searched)
    if forced is not None:
        row.values |= forced.metrics
        row.intervals["nats_per_fixation"] = forced.interval
        row.counts |= {f"few_choices_{name}": number for name, number in forced.few_choices.items()}
    _add_hits(row, test, paths)
    return row


def _compared(test: Evaluation, paths: GroupedPaths, comparison: Comparison) -> ReportRow:
    """A row with the scores of pairs, and counts."""
    row = ReportRow(counts=_counts(test, paths))
    lengths = np.array([len(path) for path in comparison.paths], dtype=np.int64)
    row.counts["empty_pairs"] = int((lengths[comparison.pairs].max(axis=1, initial=0) == 0).sum())
    for label, values in comparison.scores(test.scores, SETTINGS).items():
        mean = balanced_mean(comparison.means(values), resamples=test.resamples, seed=test.seed)
        name = label.replace("/", "_")
        row.add(name, mean.value, mean.low, mean.high)
        row.pairs[name] = (len(values), int(np.isnan(values).sum()))
    return row


def _delta(test: Evaluation, paths: GroupedPaths) -> BehaviourDelta | None:
    """Delta of whole paths, given fixations included, over stimuli with a target; None without such paths."""
    human, own = (
        [
            [(p.objects, test.trials[n].targets) for n in group for p in side[n] if p.objects is not None]
            for group in test.searched
        ]
        for side in (test.humans, paths)
    )
    return behaviour_delta(human, own) if any(len(objects) for group in own for objects, _ in group) else None


def _add_hits(row: ReportRow, test: Evaluation, paths: GroupedPaths) -> None:
    row.hits = hit_curve(test.trials, paths, test.searched, resamples=test.resamples, seed=test.seed)
    if row.hits is not None:
        value, low, high = row.hits[:, -1].tolist()
        row.add("hit", value, low, high)


def _counts(test: Evaluation, paths: GroupedPaths) -> dict[str, int]:
    every = [(path, trial) for trial, own in zip(test.trials, paths, strict=True) for path in own]
    return {
        "paths": len(every),
        "fixations": sum(len(path) for path, _ in every),
        "background": sum(int((np.asarray(path.objects) == BACKGROUND).sum()) for path, _ in every),
        "empty": sum(not len(path) for path, _ in every),
        "short": sum(len(path) < FEWEST for path, _ in every),
        "unterminated": sum(trial.terminated and not path.terminated for path, trial in every),
        "cut": sum(not trial.terminated for _, trial in every),
    }
