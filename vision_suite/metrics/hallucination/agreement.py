"""Agreement of detectors on whether objects are there, and what their verdicts are worth (SENTINEL, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vision_suite.errors import ConfigError, check_number
from vision_suite.metrics.hallucination.captions import ratio
from vision_suite.types.arrays import Bools, Floats


class Rates(NamedTuple):
    """Error rates of a detector.

    Attributes:
        tpr: Share of objects that are there and that it reports.
        fpr: Share of objects that are not there and that it reports.
    """

    tpr: float
    fpr: float


@dataclass(frozen=True)
class Agreement:
    """Verdicts of two detectors on the same objects.

    Attributes:
        both: Objects that both report.
        first: Objects that only the first reports.
        second: Objects that only the second reports.
        neither: Objects that neither reports.
        abstained: Objects on which at least one abstains; they are in none of the four.

    Example:
        >>> found = Agreement(both=70, first=9, second=6, neither=15)
        >>> round(found.observed, 4), round(found.expected, 4), round(found.kappa, 4), found.uncertain
        (0.85, 0.6508, 0.5704, 0.15)
    """

    both: float
    first: float
    second: float
    neither: float
    abstained: float = 0

    @property
    def total(self) -> float:
        """Number of objects on which both decide."""
        return self.both + self.first + self.second + self.neither

    @property
    def observed(self) -> float:
        """Share of these on which they agree."""
        return ratio(self.both + self.neither, self.total)

    @property
    def expected(self) -> float:
        """Share on which they would agree by chance, each reporting as often as it does."""
        first, second = self.both + self.first, self.both + self.second
        return ratio(first * second + (self.total - first) * (self.total - second), self.total**2)

    @property
    def kappa(self) -> float:
        """Cohen's kappa; NaN if agreement by chance is certain."""
        return ratio(self.observed - self.expected, 1 - self.expected)

    @property
    def uncertain(self) -> float:
        """Share of all objects that get no verdict: the detectors differ, or one abstains."""
        return ratio(self.first + self.second + self.abstained, self.total + self.abstained)


class Verdict(NamedTuple):
    """One verdict and what it is worth.

    Attributes:
        reported: Answer of each detector, true if it reports the object; None where it is not asked.
        share: Share of objects with this verdict.
        real: Probability that the object is there.
    """

    reported: tuple[bool | None, ...]
    share: float
    real: float


def decisions(scores: Floats, high: Floats | float, low: Floats | float | None = None) -> Floats:
    """Decisions of detectors by their scores: 1 present, 0 absent, NaN for an abstention.

    Args:
        scores: (..., D) score of each detector, NaN where it abstains.
        high: Score from which an object is present; one for all, or (D,).
        low: Score below which it is absent; between the two a detector abstains. None for `high`.

    Raises:
        ConfigError: `low` is above `high`.

    Example:
        >>> decisions(np.array([0.1, 0.4, 0.8, np.nan]), 0.5, 0.3).tolist()
        [0.0, nan, 1.0, nan]
    """
    below = high if low is None else low
    if np.any(np.asarray(below) > np.asarray(high)):
        raise ConfigError(f"thresholds low={below} and high={high}: low may not be above high")
    # A comparison with NaN is false, so an abstention stays one.
    found: Floats = np.where(scores >= high, 1.0, np.where(scores < below, 0.0, np.nan))
    return found


def agreement(first: Floats, second: Floats) -> Agreement:
    """Count the verdicts of two detectors.

    Args:
        first: (N,) decisions of one, as `decisions` gives them.
        second: (N,) decisions of the other.

    Raises:
        ConfigError: The two differ in length.

    Example:
        >>> agreement(np.array([1.0, 1.0, 0.0, np.nan]), np.array([1.0, 0.0, 0.0, 1.0]))
        Agreement(both=1, first=1, second=0, neither=1, abstained=1)
    """
    if first.shape != second.shape or first.ndim != 1:
        raise ConfigError(f"decisions of {first.shape} and {second.shape}: give two lists on the same objects")
    decided: Bools = ~np.isnan(first) & ~np.isnan(second)
    a, b = first[decided] > 0.5, second[decided] > 0.5
    counts = [int(each.sum()) for each in (a & b, a & ~b, ~a & b, ~a & ~b, ~decided)]
    return Agreement(*counts)


def agreement_by_class(names: Sequence[str], first: Floats, second: Floats) -> dict[str, Agreement]:
    """Count the verdicts of two detectors for each class, in the order in which classes first occur.

    Args:
        names: (N,) class of each object.
        first: (N,) decisions of one, as `decisions` gives them.
        second: (N,) decisions of the other.

    Example:
        >>> agreement_by_class(["dog", "cat"], np.array([1.0, 0.0]), np.array([1.0, 1.0]))["cat"].second
        1
    """
    classes = np.asarray(names)
    return {name: agreement(first[classes == name], second[classes == name]) for name in dict.fromkeys(names)}


def posterior(prior: float, rates: Sequence[Rates], reported: Sequence[bool | None]) -> Verdict:
    """Worth of one verdict by Bayes' rule, the detectors being independent given the truth.

    Args:
        prior: Share of named objects that are there.
        rates: Error rates of each detector.
        reported: Answer of each detector, true if it reports the object; None where it is not asked.

    Example:
        >>> both_absent = posterior(0.8, [Rates(0.90, 0.12), Rates(0.82, 0.08)], [False, False])
        >>> round(both_absent.share, 4), round(both_absent.real, 4)
        (0.1763, 0.0817)
    """
    check_number("prior", prior, low=0, high=1)
    there, absent = prior, 1 - prior
    for (tpr, fpr), report in zip(rates, reported, strict=True):
        if report is not None:
            there *= tpr if report else 1 - tpr
            absent *= fpr if report else 1 - fpr
    return Verdict(tuple(reported), there + absent, ratio(there, there + absent))


def posteriors(prior: float, rates: tuple[Rates, Rates]) -> dict[str, Verdict]:
    """Worth of every verdict of two detectors, and of each one's own "absent".

    Args:
        prior: Share of named objects that are there.
        rates: Error rates of the two.

    Example:
        >>> round(posteriors(0.8, (Rates(0.90, 0.12), Rates(0.82, 0.08)))["first only"].real, 4)
        0.8544
    """
    asked: dict[str, tuple[bool | None, bool | None]] = {
        "first alone: absent": (False, None),
        "second alone: absent": (None, False),
        "both absent": (False, False),
        "both present": (True, True),
        "first only": (True, False),
        "second only": (False, True),
    }
    return {name: posterior(prior, rates, reported) for name, reported in asked.items()}


def expected_agreement(prior: float, rates: tuple[Rates, Rates]) -> Agreement:
    """Shares of the four pairs of verdicts that two independent detectors would have.

    Args:
        prior: Share of named objects that are there.
        rates: Error rates of the two.

    Example:
        >>> round(expected_agreement(0.8, (Rates(0.90, 0.12), Rates(0.82, 0.08))).kappa, 4)
        0.4439
    """
    verdicts = posteriors(prior, rates)
    names = ("both present", "first only", "second only", "both absent")
    return Agreement(*(verdicts[name].share for name in names))
