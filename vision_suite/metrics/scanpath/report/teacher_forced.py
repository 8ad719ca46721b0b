"""Teacher-forced scores: prediction of the next fixation by a predictor that knows the observer's path so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vision_suite.errors import DataError
from vision_suite.metrics.scanpath.report.protocol import bootstrap
from vision_suite.metrics.scanpath.step_likelihood import likelihood, step_log_probabilities
from vision_suite.types import BACKGROUND, Trial
from vision_suite.types.arrays import Floats, Ints

Logits: TypeAlias = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ForcedScores:
    """Teacher-forced scores over trials.

    Attributes:
        metrics: ``nats_per_fixation`` (ends are in the sum), ``bits_over_uniform``, ``top1`` and ``top5`` over the
            fixations with more choices than these.
        few_choices: Number of fixations, by ``top1`` and ``top5``, that have as many choices or fewer: any guess is
            right there.
        interval: Ends of the interval of ``nats_per_fixation``.
        steps: Log probability of each predicted fixation and, if the path ended, of the end, by trial, in nats.
    """

    metrics: dict[str, float]
    few_choices: dict[str, int]
    interval: tuple[float, float]
    steps: list[Floats]


def forced_scores(
    trials: Sequence[Trial],
    tables: Sequence[Logits],
    objects: Sequence[int],
    groups: Sequence[Sequence[int]],
    *,
    uniform: Sequence[Logits],
    resamples: int,
    seed: int,
) -> ForcedScores:
    """Likelihood and top-k accuracy of the observers' next fixations.

    Args:
        trials: Recorded trials.
        tables: (L + 1, N + 2) logits or log probabilities before each decision by trial, given ones included: N
            objects, the background, the end. A trial that goes on behind its cut needs no last row. -inf for what
            cannot come; no column for padding.
        objects: Number of objects N by trial.
        groups: Indices of the trials of each stimulus, for the interval.
        uniform: Tables of the uniform predictor.
        resamples: Number of bootstrap draws over stimuli.
        seed: Seed of the draws.

    Raises:
        DataError: A table has another shape.

    Example:
        >>> from vision_suite.types import Condition, Trial
        >>> sequence, xy, seconds = np.array([0, 1]), np.zeros((2, 2)), np.ones(2)
        >>> trial = Trial("page", "ann", "", Condition.FREE, (), -1, sequence, xy, seconds)
        >>> sure, uniform = np.eye(4)[[0, 1, 3]] * 99, np.zeros((3, 4))
        >>> found = forced_scores([trial], [sure], [2], [[0]], uniform=[uniform], resamples=100, seed=0)
        >>> round(found.metrics["bits_over_uniform"], 2), found.metrics["top1"]
        (1.86, 1.0)
    """
    if len(tables) != len(trials):
        raise DataError(f"log probabilities of {len(tables)} trials were given, but there are {len(trials)}")
    steps, base = ([_steps(*part) for part in zip(trials, side, objects, strict=True)] for side in (tables, uniform))
    ends = [trial.terminated for trial in trials]
    found = likelihood(steps, ends=ends, baseline=base)
    sums = np.array([(-path.sum(), len(path) - end) for path, end in zip(steps, ends, strict=True)]).reshape(-1, 2)
    by_stimulus = np.stack([sums[list(group)].sum(axis=0) for group in groups])
    # An impossible fixation makes the score infinite, and its interval meaningless.
    interval = (float("nan"), float("nan"))
    if np.isfinite(by_stimulus).all():
        interval = bootstrap(by_stimulus, _ratio, resamples=resamples, seed=seed)
    metrics = {"nats_per_fixation": found.nats_per_fixation, "bits_over_uniform": found.bits_over_baseline}
    few = {}
    for k in (1, 5):
        hits = np.concatenate([_hits(*part, k) for part in zip(trials, tables, objects, strict=True)])
        few[f"top{k}"] = int(np.isnan(hits).sum())
        hits = hits[~np.isnan(hits)]
        metrics[f"top{k}"] = float(hits.mean()) if len(hits) else float("nan")
    return ForcedScores(metrics, few, interval, steps)


def expected_top_k(table: Logits, truth: npt.ArrayLike, k: int) -> Floats:
    """(T,) float64 chance that the ground truth is among the k likeliest if ties are broken at random.

    `top_k_accuracy` ranks ties in their middle, by which a uniform predictor would never be right.

    Args:
        table: (T, K) logits or probabilities.
        truth: (T,) int64 columns.
        k: Number of columns that count.

    Example:
        >>> expected_top_k(np.array([[0.2, 0.2, 0.5], [0.1, 0.1, 0.8]]), [0, 2], k=2).tolist()
        [0.5, 1.0]
    """
    values, column = np.asarray(table, dtype=np.float64), np.asarray(truth, dtype=np.int64)
    own = values[np.arange(len(column)), column][:, None]
    ahead, equal = (values > own).sum(axis=1), (values == own).sum(axis=1)
    chance: Floats = np.clip((k - ahead) / equal, 0, 1)
    return chance


def next_probabilities(table: Logits) -> Floats:
    """(L + 1, N + 2) probabilities before each decision from logits; the end can't come before the first fixation.

    Example:
        >>> next_probabilities(np.zeros((2, 4))).round(2).tolist()
        [[0.33, 0.33, 0.33, 0.0], [0.25, 0.25, 0.25, 0.25]]
    """
    values = np.array(table, dtype=np.float64)
    values[0, -1] = -np.inf
    values = np.exp(values - values.max(axis=1, keepdims=True))
    shares: Floats = values / values.sum(axis=1, keepdims=True)
    return shares


def _steps(trial: Trial, table: Logits, objects: int) -> Floats:
    values = np.asarray(table)
    rows = len(trial.sequence) + trial.terminated
    if values.ndim != 2 or values.shape[1] != objects + 2 or len(values) < rows:
        raise DataError(
            f"log probabilities of a trial in scene {trial.scene!r} have shape {values.shape}: {rows} rows or more of "
            f"{objects} objects, background and end, ({rows}, {objects + 2}), are needed"
        )
    return step_log_probabilities(values, _columns(trial, objects), end=trial.terminated, given=trial.given)


def _hits(trial: Trial, table: Logits, objects: int, k: int) -> Floats:
    """(n,) chance of each predicted fixation to be among the k likeliest, NaN where there are at most k choices."""
    values = np.array(table, dtype=np.float64)
    values[0, -1] = -np.inf  # a path has a fixation at least
    rows = slice(trial.given, len(trial.sequence))
    choices = (values[rows] > -np.inf).sum(axis=1)
    return np.where(choices > k, expected_top_k(values[rows], _columns(trial, objects)[rows], k), np.nan)


def _columns(trial: Trial, objects: int) -> Ints:
    sequence = np.asarray(trial.sequence, dtype=np.int64)
    return np.where(sequence == BACKGROUND, objects, sequence)


def _ratio(sums: Floats) -> Floats:
    ratio: Floats = sums[..., 0].sum(axis=1) / np.maximum(sums[..., 1].sum(axis=1), 1)
    return ratio
