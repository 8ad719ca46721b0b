"""Shares of right answers: their standard errors, the rule that a task must beat chance, paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vision_suite.errors import DataError

ERRORS = 2.0  # standard errors of guessing by which a task must beat chance
LARGEST_ERROR = 0.05  # of guessing: a smaller set of questions is shown and never scored


class Difference(NamedTuple):
    """Difference of two shares over the same questions.

    Attributes:
        value: Second share minus the first one.
        error: Standard error of the difference, each question paired with itself; NaN for a single question or cluster.
        questions: Number of questions.
    """

    value: float
    error: float
    questions: int


def share_error(share: float, count: int) -> float:
    """Standard error of a share of ``count`` independent questions.

    Example:
        >>> share_error(0.25, 12)
        0.125
    """
    return math.sqrt(share * (1.0 - share) / count)


def chance_of(choices: Sequence[int]) -> tuple[float, float]:
    """Share of right answers of guessing, and its standard error.

    Args:
        choices: Number of choices of each question.

    Raises:
        DataError: There is no question, or one without a choice.

    Example:
        >>> chance_of([4] * 12)
        (0.25, 0.125)
    """
    if not len(choices) or min(choices) < 1:
        raise DataError(f"chance of {len(choices)} questions: give at least one, each with a choice")
    each = 1.0 / np.asarray(choices, dtype=np.float64)
    return float(each.mean()), float(np.sqrt((each * (1.0 - each)).sum()) / len(each))


def beats_chance(score: float, chance: float, error: float) -> bool:
    """Tell whether a task says anything: its score is above chance by more than two standard errors of guessing.

    A score below chance is no knowledge that could be forgotten either. A set of questions so small that guessing alone
    has a standard error above .05 is never scored.

    Args:
        score: Share of right answers.
        chance: Share of right answers of guessing; NaN where nothing can be guessed, such as in free text.
        error: Standard error of guessing.

    Example:
        >>> beats_chance(0.30, *chance_of([4] * 500)), beats_chance(0.28, *chance_of([4] * 500))
        (True, False)
        >>> beats_chance(1.0, *chance_of([4] * 12))
        False
    """
    return math.isnan(chance) or (error <= LARGEST_ERROR and score > chance + ERRORS * error)


def paired_difference(first: Mapping[int, bool], second: Mapping[int, bool]) -> Difference:
    """Difference of the shares of right answers of two models to the same questions.

    Args:
        first: Whether the first model was right, by the index of the question.
        second: The same of the second model.

    Raises:
        DataError: The questions differ, or there are none.

    Example:
        >>> paired_difference({0: True, 1: False, 2: False}, {0: True, 1: True, 2: False}).value
        0.3333333333333333
    """
    if first.keys() != second.keys() or not first:
        raise DataError(
            f"{len(first)} and {len(second)} answers, {len(first.keys() & second.keys())} to the same questions: "
            "compare two evaluations of one set"
        )
    gain = np.array([float(second[index]) - float(right) for index, right in first.items()])
    error = float(gain.std(ddof=1) / math.sqrt(len(gain))) if len(gain) > 1 else math.nan
    return Difference(float(gain.mean()), error, len(gain))


def clustered_difference(first: Mapping[str, Sequence[int]], second: Mapping[str, Sequence[int]]) -> Difference:
    """Difference of the shares of right answers of two models to the same questions, which come in clusters.

    Questions about one drawing are alike, so their answers are not independent: the clusters are what was drawn. The
    standard error is that of a mean of clusters, with C / (C - 1) for their number C; compare it with Student's t of
    C - 1 degrees of freedom.

    Args:
        first: Right answers and questions of the first model, by cluster.
        second: The same of the second model.

    Raises:
        DataError: The clusters or their numbers of questions differ, or there are none.

    Example:
        >>> found = clustered_difference({"fox": [1, 2], "car": [2, 2]}, {"fox": [2, 2], "car": [2, 2]})
        >>> found.value, found.error, found.questions
        (0.25, 0.25, 4)
    """
    counts = [{name: total for name, (_, total) in each.items()} for each in (first, second)]
    if counts[0] != counts[1] or not sum(counts[0].values()):
        raise DataError(
            f"{sum(counts[0].values())} and {sum(counts[1].values())} answers in {len(first)} and {len(second)} "
            "clusters: compare two evaluations of one set"
        )
    totals = np.array(list(counts[0].values()), dtype=np.float64)
    gains = np.array([second[name][0] - first[name][0] for name in counts[0]], dtype=np.float64)
    value, number = gains.sum() / totals.sum(), len(gains)
    rest = gains - value * totals
    error = math.sqrt((rest**2).sum() * number / (number - 1)) / totals.sum() if number > 1 else math.nan
    return Difference(float(value), float(error), int(totals.sum()))
