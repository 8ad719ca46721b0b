"""Readers of small text files that every datamodule shares: lines, JSON, JSON lines and CSV tables."""

from __future__ import annotations

import csv
import errno
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from vision_suite.errors import DataError

JsonObject: TypeAlias = dict[str, Any]  # of a file: checked while it is read


def finite(value: Any) -> float:
    """A number of a file, NaN for what is none: empty, ``.`` (EyeLink), text, infinity."""
    try:
        number = float(value)
    except (OverflowError, TypeError, ValueError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def whole(text: str, path: Path, column: str) -> int:
    """A cell of a table as a whole number; spreadsheets write 3 as 3.0.

    Args:
        text: The cell.
        path: The table, for the message.
        column: Name of the column, for the message.

    Raises:
        DataError: It is none.
    """
    value = finite(text)
    if not math.isfinite(value) or value != int(value):
        raise DataError(f"table {str(path)!r}: {column}={text!r} is not a whole number")
    return int(value)


def is_file(path: Path) -> bool:
    """True for an existing file; a name that is too long for any file is none.

    Raises:
        OSError: The folder cannot be searched.
    """
    try:
        return path.is_file()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


def read_lines(path: Path) -> list[str]:
    """Non-empty lines of a list file, without line ends.

    Raises:
        DataError: The file is missing or isn't text.
    """
    return [line for _, line in numbered_lines(path)]


def numbered_lines(path: Path) -> list[tuple[int, str]]:
    """Non-empty lines of a list file with their numbers from 1, as an editor shows them.

    A line of ``.jsonl`` ends at a line break alone: texts may hold the separators of Unicode (U+2028, U+0085).

    Raises:
        DataError: The file is missing or isn't text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"list file {str(path)!r} is missing: unpack the data set completely") from None
    except OSError as error:
        raise DataError(f"list file {str(path)!r} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"list file {str(path)!r} is not UTF-8 text ({error.reason})") from None
    lines = text.splitlines() if path.suffix != ".jsonl" else text.split("\n")
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def parse_json(text: str) -> Any:
    """The contents of a JSON text.

    Raises:
        ValueError: It is not JSON, is nested too deeply, or has a key twice in one object: each reader would take
            another of the values.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_twins)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _without_twins(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it has {twin[:60]!r} twice in one object: remove one")
    return found


def read_json(path: Path) -> Any:
    """The contents of a JSON file.

    Raises:
        DataError: It is missing or not JSON, or has a key twice in one object.
    """
    try:
        return parse_json(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError(f"{str(path)!r} is missing: unpack the data set completely") from None
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise DataError(f"{str(path)!r} is not JSON ({error}): copy it again") from None


def read_json_lines(path: Path) -> list[JsonObject]:
    """One JSON object a line.

    Raises:
        DataError: The file is missing, or a line is no JSON object.
    """
    rows = []
    for number, line in enumerate(read_lines(path), start=1):
        try:
            row = parse_json(line)
        except ValueError as error:
            raise DataError(f"{str(path)!r} row {number} is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"{str(path)!r} row {number} is not a JSON object")
        rows.append(row)
    return rows


def read_table(path: Path, required: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV file with a header, as text by column.

    Args:
        path: The file.
        required: Columns that must be there; other columns are handed on too.

    Raises:
        DataError: The file is missing, malformed or empty, or lacks a column.
    """
    return table_rows(path, csv.reader(read_lines(path), strict=True), required)


def table_rows(path: Path, lines: Iterable[list[str]], required: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a table as text by column, short ones filled up.

    Args:
        path: The table's file, for messages.
        lines: Cells of each line, the header first.
        required: Columns that must be there; other columns are handed on too.

    Raises:
        DataError: A column is missing or there twice, a row is longer than the header, there is no row, or the file is
            no table.
    """
    try:
        header, *body = [*lines] or [[]]
    except csv.Error as error:
        raise DataError(f"table {str(path)!r} is malformed ({error}): copy it again") from None
    names = [name.strip() for name in header]
    if twins := [name for name in dict.fromkeys(names) if name and names.count(name) > 1]:
        raise DataError(f"table {str(path)!r} has the column {twins[0]!r} twice: remove one")
    if missing := [name for name in required if name not in names]:
        raise DataError(f"table {str(path)!r} has no column {missing[0]!r}: it has {', '.join(names) or 'none'}")
    rows = []
    for number, line in enumerate(body, start=2):
        if len(line) > len(names):
            raise DataError(f"table {str(path)!r} row {number} has more columns than the header")
        padded = [*line, *[""] * (len(names) - len(line))]
        rows.append({name: value.strip() for name, value in zip(names, padded, strict=True)})
    if not rows:
        raise DataError(f"table {str(path)!r} has no rows")
    return rows
