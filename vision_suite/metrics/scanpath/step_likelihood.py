"""Likelihood of human scanpaths under a model with a probability of each next object and of the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vision_suite.errors import DataError
from vision_suite.types.arrays import Floats


@dataclass(frozen=True)
class Likelihood:
    """Likelihood of scanpaths, pooled over them.

    Attributes:
        per_scanpath: (n,) float64 log probability of each scanpath, nats.
        fixations: Number of predicted fixations.
        decisions: Number of predicted fixations and ends.
        nats_per_fixation: -log probability over fixations; ends are in the sum, though an end has no fixation.
        nats_per_decision: -log probability over decisions.
        perplexity: Exponential of ``nats_per_decision``.
        bits_over_baseline: Bits per decision gained over the baseline; NaN without one.
    """

    per_scanpath: Floats
    fixations: int
    decisions: int
    nats_per_fixation: float
    nats_per_decision: float
    perplexity: float
    bits_over_baseline: float


def step_log_probabilities(
    logits: npt.NDArray[np.floating[Any]], objects: npt.ArrayLike, *, end: bool = True, given: int = 0
) -> Floats:
    """Log probability of each decision of a scanpath: its objects and, at last, the end.

    log p(o_1 | no end) + sum_t log p(o_t | o_<t) + log p(end | o_1..o_L). The end can't be chosen before the first
    fixation, so its column is left out of that softmax. A placeholder column for padding must not be among the logits:
    leaving it in, as training does, costs some hundredths of a nat.

    Args:
        logits: (L + 1, N + 1) logits or log probabilities before each decision; the last column is the end. L rows are
            enough without the end. Excluded objects hold -inf.
        objects: (L,) int64 columns of the objects.
        end: True if the path ended here; False for recordings that go on behind a cut, or to score transitions alone.
        given: Number of first fixations that were given, not predicted.

    Returns:
        (L - given + end,) float64, nats.

    Raises:
        DataError: Shapes disagree, an object has no column, or a decision has no distribution (NaN, infinity).

    Example:
        >>> uniform = np.zeros((3, 5))  # two fixations and the end, over four objects and the end
        >>> np.exp(step_log_probabilities(uniform, [2, 0])).round(3).tolist()
        [0.25, 0.2, 0.2]
    """
    table, column = np.asarray(logits, dtype=np.float64), np.asarray(objects, dtype=np.int64).reshape(-1)
    if table.ndim != 2 or len(table) < len(column) + end or not 0 <= given <= len(column) or len(column) == 0:
        raise DataError(
            f"logits {table.shape}, {len(column)} objects, given={given}: give (L + 1, N + 1) for L objects"
        )
    last = table.shape[1] - 1
    if ((column < 0) | (column >= last)).any():
        raise DataError(f"objects must be columns 0..{last - 1}: map background to its own column first")
    table = table[: len(column) + end].copy()
    table[0, last] = -np.inf
    highest = table.max(axis=1, keepdims=True)
    if not np.isfinite(highest).all():
        raise DataError("logits of a decision are NaN, infinite, or -inf for all: check the model that predicted them")
    normaliser = highest[:, 0] + np.log(np.exp(table - highest).sum(axis=1))
    chosen = np.append(column, last) if end else column
    steps: Floats = table[np.arange(len(chosen)), chosen] - normaliser
    return steps[given:]


def likelihood(
    log_probabilities: Sequence[npt.ArrayLike],
    *,
    ends: Sequence[bool] | None = None,
    baseline: Sequence[npt.ArrayLike] | None = None,
) -> Likelihood:
    """Likelihood of scanpaths from the log probabilities of their decisions.

    Args:
        log_probabilities: Log probabilities of each scanpath's decisions in nats, see `step_log_probabilities`.
        ends: True for each scanpath whose last decision is the end; None: all.
        baseline: Log probabilities of the same decisions under a baseline (uniform, position prior), for bits over it.

    Raises:
        DataError: There is no decision, a value is NaN or above 0, or the parts differ in number.

    Example:
        >>> found = likelihood([np.log([0.5, 0.25, 0.5])], baseline=[np.log([0.25, 0.25, 0.25])])
        >>> found.fixations, round(found.perplexity, 3), round(found.bits_over_baseline, 3)
        (2, 2.52, 0.667)
    """
    steps = [np.asarray(path, dtype=np.float64).reshape(-1) for path in log_probabilities]
    ended = [True] * len(steps) if ends is None else list(ends)
    if len(ended) != len(steps) or any(end and not len(path) for end, path in zip(ended, steps, strict=False)):
        raise DataError(f"ends for {len(ended)} of {len(steps)} scanpaths: an end is a decision of its path")
    every = np.concatenate(steps) if steps else np.empty(0)
    if not len(every) or np.isnan(every).any() or (every > 1e-6).any():
        raise DataError("log probabilities must be numbers of at most 0, and at least one: check what was gathered")
    bits = float("nan")
    if baseline is not None:
        other = [np.asarray(path, dtype=np.float64).reshape(-1) for path in baseline]
        if [len(path) for path in other] != [len(path) for path in steps]:
            raise DataError("the baseline scores other decisions than the model: give one value for each")
        bits = float((every.sum() - np.concatenate(other).sum()) / len(every) / np.log(2))
    fixations = len(every) - sum(ended)
    per_decision = float(-every.mean())
    return Likelihood(
        per_scanpath=np.array([path.sum() for path in steps]),
        fixations=fixations,
        decisions=len(every),
        nats_per_fixation=float(-every.sum() / fixations) if fixations else float("nan"),
        nats_per_decision=per_decision,
        perplexity=float(np.exp(per_decision)),
        bits_over_baseline=bits,
    )
