"""Error rates of detectors without ground truth: two hidden states, fitted by expectation maximisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.hallucination.agreement import Rates
from vision_suite.types.arrays import Floats, Ints

STEPS, TOLERANCE = 5000, 1e-10
PRIOR_COUNT = 1e-6  # added to every count, so that no probability is 0


@dataclass(frozen=True)
class HiddenStates:
    """Fit of two hidden states, there and not there, under which detectors answer independently (Dawid & Skene, 1979).

    Attributes:
        prior: Share of objects that are there.
        there: Probabilities (L,) of the levels of each detector if the object is there.
        absent: Probabilities (L,) of the levels of each detector if it is not.
        likelihood: Mean log-likelihood of an object, in nats.
        steps: Number of steps until it changed no more.
        unique: True if the data fix the fit: with fewer than three detectors other fits are as likely.
    """

    prior: float
    there: tuple[Floats, ...]
    absent: tuple[Floats, ...]
    likelihood: float
    steps: int
    unique: bool

    def rates(self, detector: int, level: int = 1) -> Rates:
        """Error rates of a detector that reports from a level on."""
        return Rates(float(self.there[detector][level:].sum()), float(self.absent[detector][level:].sum()))


def levels(scores: Floats, thresholds: Floats) -> Floats:
    """Number of thresholds that a score reaches, NaN for an abstention.

    So one detector with several thresholds stays one answer; taken as several detectors its thresholds would look
    like independent witnesses that confirm each other.

    Args:
        scores: (N,) scores.
        thresholds: (L - 1,) rising thresholds.

    Example:
        >>> levels(np.array([0.1, 0.3, 0.9, np.nan]), np.array([0.3, 0.5])).tolist()
        [0.0, 1.0, 2.0, nan]
    """
    if np.any(np.diff(thresholds) <= 0):
        raise ConfigError(f"thresholds={thresholds.tolist()}: give them in rising order")
    found: Floats = np.searchsorted(thresholds, scores, side="right").astype(np.float64)
    found[np.isnan(scores)] = np.nan
    return found


def fit_hidden_states(answers: Floats) -> HiddenStates:
    """Estimate how many objects are there, and each detector's error rates, from the detectors' answers alone.

    The start is that an object is the likelier there, the higher the detectors' levels are on average, so "there" is
    the state with the higher levels. Detectors that err on the same objects are not independent, and look better than
    they are: compare with a small labelled set.

    Args:
        answers: (N, D) level of each detector, 0 and up, see `levels` and `decisions`; NaN for an abstention.

    Raises:
        ConfigError: There are fewer than two detectors, or two with fewer than three levels each.
        DataError: No object has an answer.

    Example:
        >>> agreed = np.array([[1.0, 1.0, 1.0]] * 6 + [[0.0, 0.0, 0.0]] * 3 + [[1.0, 1.0, 0.0]])
        >>> round(fit_hidden_states(agreed).prior, 2)
        0.7
    """
    if answers.ndim != 2 or answers.shape[1] < 2:
        raise ConfigError(f"answers {answers.shape}: give (N, D) levels of at least two detectors")
    known = answers[~np.isnan(answers).all(1)]
    if not len(known):
        raise DataError("every detector abstains on every object: nothing can be estimated")
    sizes = [int(np.nanmax(column)) + 1 if not np.isnan(column).all() else 1 for column in known.T]
    if answers.shape[1] == 2 and min(sizes) < 3:
        raise ConfigError(
            f"two detectors with {min(sizes)} levels: error rates need three detectors, or two with three levels each"
        )
    rows, counts = np.unique(np.nan_to_num(known, nan=-1).astype(np.int64), axis=0, return_counts=True)
    tables = [_one_hot(column, size) for column, size in zip(rows.T, sizes, strict=True)]
    relative = np.where(rows < 0, np.nan, rows / np.maximum(np.array(sizes) - 1, 1))
    share = np.clip(np.nanmean(relative, axis=1), 0.05, 0.95)
    before, likelihood, steps = -np.inf, -np.inf, 0
    while not steps or (likelihood - before >= TOLERANCE and steps < STEPS):
        steps += 1
        prior, there, absent = _maximise(tables, counts, share)
        joint = np.log([prior, 1 - prior])[:, None] + np.array(
            [sum(table @ np.log(each) for table, each in zip(tables, state, strict=True)) for state in (there, absent)]
        )
        total = np.logaddexp(joint[0], joint[1])
        share = np.exp(joint[0] - total)
        before, likelihood = likelihood, float(total @ counts / counts.sum())
    return HiddenStates(prior, tuple(there), tuple(absent), likelihood, steps, answers.shape[1] >= 3)


def _one_hot(column: Ints, size: int) -> Floats:
    """(R, L) ones at the levels, a row of zeros for an abstention."""
    found: Floats = (column[:, None] == np.arange(size)).astype(np.float64)
    return found


def _maximise(tables: list[Floats], counts: Ints, share: Floats) -> tuple[float, list[Floats], list[Floats]]:
    """Prior and probabilities of levels in both states, by the objects' shares in the first state."""
    there, absent = share * counts, (1 - share) * counts
    prior = float((there.sum() + PRIOR_COUNT) / (counts.sum() + 2 * PRIOR_COUNT))
    states = []
    for weights in (there, absent):
        sums = [weights @ table + PRIOR_COUNT for table in tables]
        states.append([each / each.sum() for each in sums])
    return prior, states[0], states[1]
