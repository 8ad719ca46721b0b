"""Comparison of runs by keys: what all have in common, and where they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vision_suite.report.words import NOTHING

Column = Mapping[str, str] | None


@dataclass(frozen=True)
class ComparedValue:
    """Value of one run.

    Attributes:
        text: The value; a dash where the run does not have the key.
        stands_out: It differs from the value that most runs have, or that the first has where none is more frequent.
            Where each of three and more runs has its own, none stands out.
    """

    text: str
    stands_out: bool


@dataclass(frozen=True)
class ComparedKey:
    """Row of the table.

    Attributes:
        key: Dotted key.
        values: A value for each run.
    """

    key: str
    values: tuple[ComparedValue, ...]


def differences(columns: Sequence[Column]) -> list[ComparedKey]:
    """Keys in which runs differ, in the order in which they first appear.

    Args:
        columns: Values by key of each run; None for a run of which nothing is known, which counts for nothing.
    """
    found = []
    for key in _keys(columns):
        values = [NOTHING if column is None else column.get(key, NOTHING) for column in columns]
        known = [value for value, column in zip(values, columns, strict=True) if column is not None]
        if len(set(known)) > 1:
            usual, count = Counter(known).most_common(1)[0]  # of equally frequent ones the first
            is_usual = count > 1 or len(known) == 2
            marked = [
                ComparedValue(value if column is not None else "?", is_usual and column is not None and value != usual)
                for value, column in zip(values, columns, strict=True)
            ]
            found.append(ComparedKey(key, tuple(marked)))
    return found


def common(columns: Sequence[Column]) -> dict[str, str]:
    """Values by key that all runs share, of which anything is known."""
    known = [column for column in columns if column is not None]
    return {
        key: known[0][key]
        for key in (known[0] if known else ())
        if all(column.get(key) == known[0][key] for column in known)
    }


def _keys(columns: Sequence[Column]) -> list[str]:
    """Keys of all columns: those of the first, then those that later ones add."""
    return list(dict.fromkeys(key for column in columns if column is not None for key in column))
