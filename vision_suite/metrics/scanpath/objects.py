"""Prediction of the next human fixation by a distribution over objects: bits, rank, accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vision_suite.errors import ConfigError, DataError
from vision_suite.types.arrays import Floats, Ints

Probabilities = npt.NDArray[np.floating[Any]]


def object_information_gain(probabilities: Probabilities, truth: npt.ArrayLike, baseline: Probabilities) -> Floats:
    """Bits gained at the true next object over a baseline distribution.

    Args:
        probabilities: (T, K) over K objects (and the end, if it is a column).
        truth: (T,) int64 columns of the true objects.
        baseline: (K,) or (T, K) probabilities, uniform or a prior over positions; name it beside the result.

    Returns:
        (T,) float64 bits; -inf where the true object has probability 0.

    Raises:
        DataError: Shapes disagree, or a value is no probability.

    Example:
        >>> object_information_gain(np.array([[0.5, 0.25, 0.25]]), [0], np.array([0.25, 0.5, 0.25])).tolist()
        [1.0]
    """
    prior = np.broadcast_to(baseline, np.shape(probabilities))
    if np.min(probabilities, initial=0) < 0 or np.min(prior, initial=0) < 0:
        raise DataError("probabilities below 0 have no bits: give probabilities, not logits")
    with np.errstate(divide="ignore"):
        gain: Floats = np.log2(true_probability(probabilities, truth)) - np.log2(true_probability(prior, truth))
    return gain


def true_probability(probabilities: Probabilities, truth: npt.ArrayLike) -> Floats:
    """Probability of the true next object. Its mean over steps without the end is SIM in OAT's evaluation.

    Args:
        probabilities: (T, K) over K objects.
        truth: (T,) int64 columns of the true objects.

    Returns:
        (T,) float64.

    Raises:
        DataError: Shapes disagree or a value is NaN.

    Example:
        >>> true_probability(np.array([[0.5, 0.2, 0.3], [0.1, 0.8, 0.1]]), [2, 1]).tolist()
        [0.3, 0.8]
    """
    table, column = _checked(probabilities, truth)
    picked: Floats = table[np.arange(len(column)), column]
    return picked


def true_rank(probabilities: Probabilities, truth: npt.ArrayLike) -> Floats:
    """Rank of the true next object, 1 for the likeliest; ties share their mean rank.

    Args:
        probabilities: (T, K) over K objects.
        truth: (T,) int64 columns of the true objects.

    Returns:
        (T,) float64.

    Raises:
        DataError: Shapes disagree or a value is NaN.

    Example:
        >>> true_rank(np.array([[0.5, 0.2, 0.3], [0.4, 0.4, 0.2]]), [2, 1]).tolist()
        [2.0, 1.5]
    """
    value = true_probability(probabilities, truth)[:, None]
    table = np.asarray(probabilities, dtype=np.float64)
    return np.asarray((table > value).sum(axis=1) + ((table == value).sum(axis=1) + 1) / 2, dtype=np.float64)


def top_k_accuracy(probabilities: Probabilities, truth: npt.ArrayLike, k: int = 5) -> float:
    """Share of steps whose true object is among the k likeliest.

    Args:
        probabilities: (T, K) over K objects.
        truth: (T,) int64 columns of the true objects.
        k: Number of objects that count.

    Returns:
        0..1; NaN without steps, and where there are at most k objects, among which the true one always is.

    Raises:
        ConfigError: ``k`` is below 1.
        DataError: Shapes disagree or a value is NaN.

    Example:
        >>> top_k_accuracy(np.array([[0.5, 0.2, 0.3], [0.1, 0.8, 0.1]]), [2, 1], k=1)
        0.5
    """
    if not k >= 1:
        raise ConfigError(f"k={k} must be 1 or more")
    rank = true_rank(probabilities, truth)
    return float((rank <= k).mean()) if len(rank) and np.shape(probabilities)[1] > k else float("nan")


def _checked(probabilities: Probabilities, truth: npt.ArrayLike) -> tuple[Floats, Ints]:
    table, column = np.asarray(probabilities, dtype=np.float64), np.asarray(truth, dtype=np.int64)
    if table.ndim != 2 or column.shape != table.shape[:1] or ((column < 0) | (column >= table.shape[-1])).any():
        raise DataError(f"probabilities {table.shape} and truth {column.shape}: give (T, K) and (T,) columns below K")
    if np.isnan(table).any():
        raise DataError("probabilities hold values that are no numbers: check the model that predicted them")
    return table, column
