"""Teacher-forced scores: how a predictor that is told the person's path so far foretells the next fixation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vision_suite.errors import DataError
from vision_suite.metrics.scanpath.paths import Floats, Ints
from vision_suite.metrics.scanpath.report.protocol import bootstrap
from vision_suite.metrics.scanpath.report.trials import TrialLike
from vision_suite.metrics.scanpath.step_likelihood import likelihood, step_log_probabilities
from vision_suite.types import BACKGROUND

Table = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Forced:
    """Teacher-forced scores over trials.

    Attributes:
        metrics: ``nats_per_fixation`` (ends are in the sum), ``bits_over_uniform``, ``top1``, ``top5`` over fixations.
        interval: Of ``nats_per_fixation``.
        steps: By trial the log probability of each predicted fixation and, if the path ended, of the end, nats.
    """

    metrics: dict[str, float]
    interval: tuple[float, float]
    steps: list[Floats]


def forced_scores(
    trials: Sequence[TrialLike],
    tables: Sequence[Table],
    objects: Sequence[int],
    groups: Sequence[Sequence[int]],
    *,
    uniform: Sequence[Table],
    resamples: int,
    seed: int,
) -> Forced:
    """Likelihood and top-k accuracy of people's next fixations.

    Args:
        trials: People's.
        tables: By trial (L + 1, N + 2) logits or log probabilities before each decision, given ones included: N
            objects, the background, the end. A trial that goes on behind its cut needs no last row. -inf for what
            cannot come; no column for padding.
        objects: N by trial.
        groups: Places of the trials of each stimulus, for the interval.
        uniform: Tables of the uniform predictor.
        resamples: Bootstrap draws over stimuli.
        seed: Of the draws.

    Raises:
        DataError: A table has another shape.
    """
    if len(tables) != len(trials):
        raise DataError(f"log probabilities of {len(tables)} trials were given, but there are {len(trials)}")
    steps = [_steps(trial, table, count) for trial, table, count in zip(trials, tables, objects, strict=True)]
    base = [_steps(trial, table, count) for trial, table, count in zip(trials, uniform, objects, strict=True)]
    ends = [trial.terminated for trial in trials]
    found = likelihood(steps, ends=ends, baseline=base)
    hits = {k: np.concatenate([_hits(*part, k) for part in zip(trials, tables, objects, strict=True)]) for k in (1, 5)}
    each = np.array([(-path.sum(), len(path) - end) for path, end in zip(steps, ends, strict=True)]).reshape(-1, 2)
    sums = np.stack([each[list(places)].sum(axis=0) for places in groups])
    # A fixation that was held impossible makes the score infinite, and its interval meaningless.
    interval = (float("nan"), float("nan"))
    if np.isfinite(sums).all():
        interval = bootstrap(sums, _ratio, resamples=resamples, seed=seed)
    metrics = {"nats_per_fixation": found.nats_per_fixation, "bits_over_uniform": found.bits_over_baseline}
    metrics |= {f"top{k}": float(hit.mean()) if len(hit) else float("nan") for k, hit in hits.items()}
    return Forced(metrics, interval, steps)


def expected_top_k(table: Table, truth: npt.ArrayLike, k: int) -> Floats:
    """(T,) chance that the truth is among the k likeliest if ties are broken at random.

    `top_k_accuracy` ranks ties in their middle, by which a uniform predictor would never be right.

    Args:
        table: (T, K) logits or probabilities.
        truth: (T,) columns.
        k: How many count.
    """
    values, column = np.asarray(table, dtype=np.float64), np.asarray(truth, dtype=np.int64)
    own = values[np.arange(len(column)), column][:, None]
    ahead, equal = (values > own).sum(axis=1), (values == own).sum(axis=1)
    chance: Floats = np.clip((k - ahead) / equal, 0, 1)
    return chance


def next_probabilities(table: Table) -> Floats:
    """(L + 1, N + 2) probabilities before each decision from logits; the end can't come before the first fixation."""
    values = np.array(table, dtype=np.float64)
    values[0, -1] = -np.inf
    values = np.exp(values - values.max(axis=1, keepdims=True))
    shares: Floats = values / values.sum(axis=1, keepdims=True)
    return shares


def _steps(trial: TrialLike, table: Table, objects: int) -> Floats:
    values = np.asarray(table)
    rows = len(trial.sequence) + trial.terminated
    if values.ndim != 2 or values.shape[1] != objects + 2 or len(values) < rows:
        raise DataError(
            f"log probabilities of a trial in scene {trial.scene!r} have shape {values.shape}: {rows} rows or more of "
            f"{objects} objects, background and end, ({rows}, {objects + 2}), are needed"
        )
    return step_log_probabilities(values, _columns(trial, objects), end=trial.terminated, given=trial.given)


def _hits(trial: TrialLike, table: Table, objects: int, k: int) -> Floats:
    values = np.array(table, dtype=np.float64)
    values[0, -1] = -np.inf  # a path has a fixation at least
    rows = slice(trial.given, len(trial.sequence))
    return expected_top_k(values[rows], _columns(trial, objects)[rows], k)


def _columns(trial: TrialLike, objects: int) -> Ints:
    sequence = np.asarray(trial.sequence, dtype=np.int64)
    return np.where(sequence == BACKGROUND, objects, sequence)


def _ratio(sums: Floats) -> Floats:
    ratio: Floats = sums[..., 0].sum(axis=1) / np.maximum(sums[..., 1].sum(axis=1), 1)
    return ratio
