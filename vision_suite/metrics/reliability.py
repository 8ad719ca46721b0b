"""Reliability of scores: shares of what is there, by score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vision_suite.errors import ConfigError, check_number
from vision_suite.types.arrays import Bools, Floats


@dataclass(frozen=True)
class ReliabilityBin:
    """Objects with scores in one range.

    Attributes:
        count: Number of objects.
        score: Mean score.
        real: Share of them that are there.
    """

    count: int
    score: float
    real: float


def reliability(scores: Floats, real: Bools, bins: int = 10) -> list[ReliabilityBin]:
    """Share of objects that are there by score, in equal ranges from 0 to 1; empty ranges are left out.

    Args:
        scores: (N,) scores from 0 to 1; abstentions (NaN) are left out.
        real: (N,) whether the object is there.
        bins: Number of ranges.

    Example:
        >>> found = reliability(np.array([0.1, 0.3, 0.9, 1.0]), np.array([False, True, True, True]), bins=2)
        >>> [(each.count, each.real) for each in found]
        [(2, 0.5), (2, 1.0)]
    """
    check_number("bins", bins, low=1, whole=True)
    known = ~np.isnan(scores)
    scores, real = scores[known], real[known]
    if len(scores) and not (0 <= scores.min() and scores.max() <= 1):
        raise ConfigError(f"scores from {scores.min():g} to {scores.max():g}: give scores from 0 to 1")
    place = np.minimum((scores * bins).astype(np.int64), bins - 1)
    groups = [place == number for number in range(bins)]
    return [
        ReliabilityBin(int(group.sum()), float(scores[group].mean()), float(real[group].mean()))
        for group in groups
        if group.any()
    ]


def calibration_error(curve: Sequence[ReliabilityBin]) -> float:
    """Mean distance between score and share, weighted by objects (expected calibration error); NaN without objects.

    Example:
        >>> calibration_error([ReliabilityBin(3, 0.5, 0.25), ReliabilityBin(1, 0.75, 0.5)])
        0.25
    """
    total = sum(each.count for each in curve)
    return sum(each.count * abs(each.score - each.real) for each in curve) / total if total else float("nan")
