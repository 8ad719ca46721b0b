"""Thresholds of detectors from a small labelled set, and how far their scores can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vision_suite.errors import ConfigError, check_number
from vision_suite.types.arrays import Bools, Floats

LEAST = 10  # verdicts from which a precision is believed
GRID = 4096  # combinations of thresholds that are tried


class Thresholds(NamedTuple):
    """Thresholds of detectors and the verdicts that they give on the labelled set.

    Attributes:
        high: (D,) score of each detector from which an object is present; NaN if no choice is precise enough.
        low: (D,) score of each detector below which it is absent; NaN if no choice is precise enough.
        present: Share of objects that every detector calls present.
        absent: Share of objects that every detector calls absent.
        present_precision: Share of the former that are there.
        absent_precision: Share of the latter that are not.
    """

    high: Floats
    low: Floats
    present: float
    absent: float
    present_precision: float
    absent_precision: float


def choose_thresholds(scores: Floats, real: Bools, precision: float = 0.95, *, least: int = LEAST) -> Thresholds:
    """Choose the thresholds that give the most verdicts of which a share is right, all detectors agreeing.

    `low` is chosen for "all absent" and `high` for "all present". Where the two would cross, `low` becomes `high`; the
    precisions are those of the thresholds that are given back.

    Args:
        scores: (N, D) score of each detector, NaN for an abstention.
        real: (N,) whether the object is there.
        precision: Share of each verdict that has to be right.
        least: Smallest number of objects that a verdict needs for its precision to count.

    Raises:
        ConfigError: The arrays do not fit together, or the precision is out of range.

    Example:
        >>> scores = np.array([[0.1], [0.2], [0.7], [0.9]])
        >>> found = choose_thresholds(scores, np.array([False, False, True, True]), least=2)
        >>> found.high.tolist(), found.present, found.absent
        ([0.7], 0.5, 0.5)
    """
    check_number("precision", precision, low=0, high=1)
    if scores.ndim != 2 or real.shape != scores.shape[:1]:
        raise ConfigError(f"scores {scores.shape} and labels {real.shape}: give (N, D) scores and (N,) labels")
    high = _best(scores, real, precision, least)
    # A score is absent below `low`, so it lies just above the highest score that is to count as absent.
    low = np.nextafter(-_best(-scores, ~real, precision, least), np.inf)
    low = np.where(np.isnan(low), np.nan, np.fmin(low, high))
    present = np.asarray((scores >= high).all(1))
    absent = np.asarray((scores < low).all(1))
    return Thresholds(
        high,
        low,
        float(present.mean()) if len(real) else 0.0,
        float(absent.mean()) if len(real) else 0.0,
        float(real[present].mean()) if present.any() else float("nan"),
        float((~real[absent]).mean()) if absent.any() else float("nan"),
    )


def thresholds_by_class(
    names: Sequence[str], scores: Floats, real: Bools, precision: float = 0.95, *, least: int = LEAST
) -> dict[str, Thresholds]:
    """Thresholds for each class, those of all classes together where one has too few objects for its own.

    Args:
        names: (N,) class of each object.
        scores: (N, D) score of each detector, NaN for an abstention.
        real: (N,) whether the object is there.
        precision: Share of each verdict that has to be right.
        least: Smallest number of objects that a verdict needs for its precision to count.

    Example:
        >>> scores, real = np.array([[0.1], [0.2], [0.7], [0.9]]), np.array([False, False, True, True])
        >>> sorted(thresholds_by_class(["dog", "cat", "cat", "dog"], scores, real, least=1))
        ['cat', 'dog']
    """
    classes = np.asarray(names)
    shared = choose_thresholds(scores, real, precision, least=least)
    found = {}
    for name in dict.fromkeys(names):
        own = choose_thresholds(scores[classes == name], real[classes == name], precision, least=least)
        enough = not (np.isnan(own.high).any() or np.isnan(own.low).any())
        found[name] = own if enough else shared
    return found


def _best(scores: Floats, right: Bools, precision: float, least: int) -> Floats:
    """(D,) thresholds: of those from which on all scores are right often enough, the ones with the most objects."""
    count = scores.shape[1]
    steps = max(int(GRID ** (1 / count)), 2)
    grids = [_candidates(column, steps) for column in scores.T]
    if not all(len(grid) for grid in grids):
        return np.full(count, np.nan)
    # Objects by detector and candidate, then joined one detector after the other.
    joined = np.ones((1, len(scores)), bool)
    for column, grid in zip(scores.T, grids, strict=True):
        joined = (joined[:, None] & (column >= grid[:, None])[None]).reshape(-1, len(scores))
    verdicts = joined.sum(1)
    good = (verdicts >= least) & ((joined & right).sum(1) >= precision * verdicts)
    if not good.any():
        return np.full(count, np.nan)
    # Of equally many verdicts the strictest thresholds, which lie last.
    place = len(verdicts) - 1 - int(np.argmax(np.where(good, verdicts, -1)[::-1]))
    chosen = np.unravel_index(place, [len(grid) for grid in grids])
    return np.array([grid[number] for grid, number in zip(grids, chosen, strict=True)])


def _candidates(column: Floats, steps: int) -> Floats:
    """Rising thresholds at evenly spaced ranks of a detector's scores."""
    known: Floats = np.unique(column[~np.isnan(column)])
    if not len(known):
        return known
    return known[np.linspace(0, len(known) - 1, min(steps, len(known))).round().astype(np.int64)]
