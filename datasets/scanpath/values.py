"""Values of files of fixations: numbers that may be missing, and where they stand."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vision_suite.datasets.files import finite
from vision_suite.errors import DataError

# Words for a missing number: spreadsheets, EyeLink (.), R and pandas, JSON.
MISSING = frozenset({"", ".", "na", "n/a", "nan", "none", "null", "inf", "-inf", "infinity", "-infinity"})


def number(value: object, where: str, what: str) -> float:
    """A number of a file, NaN where it is missing.

    Args:
        value: A number, its text, or nothing.
        where: File and row, for messages.
        what: Name of the value, for messages.

    Raises:
        DataError: It is something else, such as a word or a list.
    """
    if value is None or (isinstance(value, str) and value.strip().lower() in MISSING):
        return math.nan
    found = math.nan if isinstance(value, bool) else finite(value)
    if math.isnan(found) and not isinstance(value, float):
        raise DataError(f"{where}: {what} {value!r:.60} is no number: correct it, or leave it empty if it is missing")
    return found


def fixation_name(where: str, rows: Sequence[int], index: int) -> str:
    """File and row of a fixation, or its number in the trial.

    Args:
        where: The file, or the trial.
        rows: Row of each fixation in the file; none are given where the trial is a row.
        index: Index of the fixation in the trial.
    """
    return f"{where} row {rows[index]}" if rows else f"{where} fixation {index + 1}"


def whole_number(value: object, what: str) -> int:
    """A whole number, also as text.

    Args:
        value: The number.
        what: Name of the value, for messages.

    Raises:
        ValueError: It is something else.
    """
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        raise ValueError(f"{what} {value!r:.60} is no whole number")
    found = finite(value)
    if math.isnan(found) or not found.is_integer():
        raise ValueError(f"{what} {value!r:.60} is no whole number")
    return int(found)


def text(value: object, what: str) -> str:
    """Text, or a number as text; empty where there is none.

    Args:
        value: The value.
        what: Name of the value, for messages.

    Raises:
        ValueError: It is something else, such as a list.
    """
    if value is None:
        return ""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise ValueError(f"{what} {value!r:.60} is no text")
    return str(value)


def flag(value: object, what: str) -> bool:
    """True or false.

    Args:
        value: The value.
        what: Name of the value, for messages.

    Raises:
        ValueError: It is something else, such as the text "false".
    """
    if not isinstance(value, bool):
        raise ValueError(f"{what} {value!r:.60} is neither true nor false")
    return value


def list_of(value: object, what: str) -> list[object]:
    """A list; empty where there is none.

    Args:
        value: The value.
        what: Name of the value, for messages.

    Raises:
        ValueError: It is something else.
    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{what} {value!r:.60} is no list")
    return value
