"""Results of conversations by their index, and their form as rows of numbers, which processes can exchange."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from vision_suite.types.arrays import Floats, Ints

Kind = Literal["choices", "own_choices", "answers", "own_answers", "text", "masses"]
KINDS: tuple[Kind, ...] = get_args(Kind)
GROUPS = 4  # of attention, see `vision_suite.metrics.instruct.attention_shift`


@dataclass(frozen=True)
class Collected:
    """Results by the index of the row of the data set.

    Attributes:
        choices: (K,) log-probability of each choice, the earlier turns holding the right answers.
        own_choices: The same, the earlier turns holding the model's own answers.
        answers: Ids of the written answer.
        own_answers: The same after the model's own answers.
        text: Sum of negative log-likelihoods, tokens, sum of KL divergences and tokens that agree; the last two are NaN
            if the untouched model was not run.
        masses: (L, 4) mean shares of attention.
    """

    choices: dict[int, Floats] = field(default_factory=dict)
    own_choices: dict[int, Floats] = field(default_factory=dict)
    answers: dict[int, list[int]] = field(default_factory=dict)
    own_answers: dict[int, list[int]] = field(default_factory=dict)
    text: dict[int, Floats] = field(default_factory=dict)
    masses: dict[int, Floats] = field(default_factory=dict)


def unpacked(index: Ints, columns: Floats) -> Collected:
    """Results of rows of numbers.

    Args:
        index: (n,) index of the row of the data set, ascending.
        columns: (n, 2) number of the kind, and a value: of each result its length first, then its numbers.

    Returns:
        The results; of a result that arrived twice the first one.

    Example:
        >>> unpacked(np.array([3, 3, 3]), np.array([[2, 2], [2, 8], [2, 9]])).answers
        {3: [8, 9]}
    """
    found: dict[Kind, dict[int, Floats]] = {kind: {} for kind in KINDS}
    starts = np.flatnonzero(np.diff(index, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(index)], strict=True):
        for number, kind in enumerate(KINDS):
            values = columns[start:end][columns[start:end, 0] == number, 1]
            if len(values):
                found[kind][int(index[start])] = values[1 : 1 + int(values[0])]
    written = {
        kind: {key: [int(number) for number in ids if number >= 0] for key, ids in found[kind].items()}
        for kind in ("answers", "own_answers")
    }
    return Collected(
        choices=found["choices"],
        own_choices=found["own_choices"],
        answers=written["answers"],
        own_answers=written["own_answers"],
        text=found["text"],
        masses={key: values.reshape(-1, GROUPS) for key, values in found["masses"].items()},
    )
