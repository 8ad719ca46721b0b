"""Protocol from scores of pairs to numbers: pairs of observers, means over stimuli, and bootstrap intervals.

The protocol changes the human ceiling of the Sequence Score on COCO-Search18 by 0.15, more than models differ; so it is
stated beside every number.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vision_suite.errors import ConfigError, DataError
from vision_suite.types.arrays import Floats, Ints

Balance = Literal["stimulus", "task", "trial"]
BALANCES: dict[str, str] = {
    "stimulus": "mean over stimuli",
    "task": "mean over stimuli of a task, then over tasks",
    "trial": "mean over human trials, so that a stimulus with more observers weighs more (OAT's evaluation)",
}


@dataclass(frozen=True)
class Interval:
    """A mean, its bootstrap interval, and the number of stimuli in it.

    Attributes:
        value: Mean, NaN without stimuli.
        low: Lower end of the interval; NaN for fewer than two stimuli.
        high: Upper end of the interval; NaN for fewer than two stimuli.
        stimuli: Number of stimuli that count.
        left_out: Number of stimuli without a score.
    """

    value: float
    low: float
    high: float
    stimuli: int
    left_out: int


def human_pairs(observers: Sequence[Hashable]) -> list[tuple[int, int]]:
    """All ordered pairs of different observers of one stimulus; never a path with itself, nor two of one observer.

    Args:
        observers: Observer of each path; None is an observer of its own.

    Example:
        >>> human_pairs(["a", "b", "a"])
        [(0, 1), (1, 0), (1, 2), (2, 1)]
    """
    return [
        (first, second)
        for first, one in enumerate(observers)
        for second, other in enumerate(observers)
        if first != second and (one is None or one != other)
    ]


def bootstrap(
    values: Floats,
    statistic: Callable[[Floats], Floats],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic over stimuli.

    Args:
        values: (n, ...) float64, an entry per stimulus.
        statistic: Function from (R, n, ...) resampled values to (R,) statistics, along the second axis.
        resamples: Number of draws.
        level: Coverage.
        seed: Seed of the draws.

    Returns:
        Lower and upper end; NaN for fewer than two stimuli.

    Raises:
        ConfigError: ``resamples`` or ``level`` is out of range.

    Example:
        >>> low, high = bootstrap(np.array([0.2, 0.4, 0.9]), lambda values: values.mean(axis=1))
        >>> 0.2 <= low < 0.5 < high <= 0.9
        True
    """
    if resamples < 1 or not 0 < level < 1:
        raise ConfigError(f"resamples={resamples}, level={level:g}: give 1 draw or more and a level between 0 and 1")
    count = len(values)
    if count < 2:
        return float("nan"), float("nan")
    generator = np.random.default_rng(seed)
    size = max(1, (1 << 20) // max(1, values.size))
    drawn = [
        statistic(values[generator.integers(0, count, (min(size, resamples - done), count))])
        for done in range(0, resamples, size)
    ]
    low, high = np.nanquantile(np.concatenate(drawn), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def balanced_mean(
    scores: Floats,
    weights: Floats | None = None,
    groups: Ints | None = None,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Mean of stimulus scores with its bootstrap interval over stimuli; scores that are NaN are left out and counted.

    Args:
        scores: (n,) score of each stimulus, NaN for none.
        weights: (n,) weight of each stimulus; None: equal.
        groups: (n,) group of each stimulus: means of groups are averaged, a group missing from a resample is left out
            of it. None: one group.
        resamples: Number of draws.
        level: Coverage.
        seed: Seed of the draws.

    Raises:
        DataError: The parts differ in length, or a weight is negative.

    Example:
        >>> mean = balanced_mean(np.array([0.5, np.nan, 1.0]))
        >>> mean.value, mean.stimuli, mean.left_out
        (0.75, 2, 1)
    """
    weight = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=np.float64)
    group = np.zeros(len(scores)) if groups is None else np.asarray(groups, dtype=np.float64)
    if not len(scores) == len(weight) == len(group):
        raise DataError(f"{len(scores)} scores, {len(weight)} weights, {len(group)} groups: give one each per stimulus")
    if not ((weight >= 0) & np.isfinite(weight)).all():
        raise DataError(f"weights {weight.min():g} to {weight.max():g}: give finite numbers of 0 or more")
    kept = ~np.isnan(scores) & (weight > 0)
    rows = np.column_stack([scores, weight, group])[kept]
    if not len(rows):
        return Interval(float("nan"), float("nan"), float("nan"), 0, len(scores))
    numbers = np.unique(rows[:, 2])

    def mean(table: Floats) -> Floats:
        means = []
        for number in numbers:
            share = np.where(table[..., 2] == number, table[..., 1], 0.0)
            total = share.sum(axis=1)
            means.append(
                np.where(total > 0, (share * table[..., 0]).sum(axis=1) / np.where(total > 0, total, 1), np.nan)
            )
        averaged: Floats = np.nanmean(means, axis=0)
        return averaged

    low, high = bootstrap(rows, mean, resamples=resamples, level=level, seed=seed)
    return Interval(float(mean(rows[None])[0]), low, high, len(rows), int((~kept).sum()))


def mean_by(values: Floats, group: Ints, groups: int) -> Floats:
    """(groups,) mean of the values of each group that are not NaN; NaN for a group without any.

    Example:
        >>> mean_by(np.array([1.0, 0.0, np.nan, 3.0]), np.array([0, 0, 1, 2]), groups=3).tolist()
        [0.5, nan, 3.0]
    """
    kept = ~np.isnan(values)
    count = np.bincount(group[kept], minlength=groups)
    total = np.bincount(group[kept], weights=values[kept], minlength=groups)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def best_by(values: Floats, group: Ints, groups: int, *, higher: bool) -> Floats:
    """(groups,) best of the values of each group that are not NaN; NaN for a group without any.

    Example:
        >>> best_by(np.array([2.0, 5.0, np.nan]), np.array([0, 0, 1]), groups=2, higher=False).tolist()
        [2.0, nan]
    """
    kept = ~np.isnan(values)
    best = np.full(groups, -np.inf)
    np.maximum.at(best, group[kept], values[kept] if higher else -values[kept])
    return np.where(np.isinf(best), np.nan, best if higher else -best)
