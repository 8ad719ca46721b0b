"""Text files of other programs: their encodings, separators, decimal commas, and columns under several names."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from vision_suite.datasets.files import table_rows
from vision_suite.datasets.scanpath.values import number
from vision_suite.errors import DataError

Row = dict[str, str]


def read_text(path: Path) -> str:
    """The text of a file in UTF-16 or UTF-8, else in Latin-1, which older programs write.

    Raises:
        DataError: The file is missing, empty or binary.
    """
    try:
        contents = path.read_bytes()
    except OSError as error:
        raise DataError(f"recording {str(path)!r} cannot be read ({error.strerror}): check its name") from None
    if not contents.strip():
        raise DataError(f"recording {str(path)!r} is empty: export it again")
    if contents[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return contents.decode("utf-16")
        except UnicodeDecodeError as error:
            raise DataError(f"recording {str(path)!r} is cut off ({error.reason}): export it again") from None
    if b"\0" in contents[:10_000]:
        how = "convert an EDF file by edf2asc" if b"SR_RESEARCH" in contents[:200] else "export it as text"
        raise DataError(f"recording {str(path)!r} is binary: {how}")
    try:
        return contents.decode("utf-8-sig")
    except UnicodeDecodeError:
        return contents.decode("latin-1")


def read_sheet(path: Path) -> list[Row]:
    """Rows of a table with a header, separated by tabs, else semicolons or commas.

    Raises:
        DataError: The file is missing or malformed, or has no rows.
    """
    text = read_text(path)
    header = text.split("\n", 1)[0]
    separator = next((sign for sign in ("\t", ";") if sign in header), ",")
    lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if any(line)]
    return table_rows(path, lines, ())


def column_of(row: Mapping[str, object], names: Sequence[str], asked: str | None, what: str, where: str) -> str:
    """The column asked for, else the first of the usual ones that is there, whatever its case.

    Args:
        row: A row of the table.
        names: Usual names.
        asked: Name that the user gives.
        what: What the column holds, for the message.
        where: The file, for the message.

    Raises:
        DataError: There is none.
    """
    found = column_or_none(row, names, asked)
    if found is None:
        wanted = repr(asked) if asked is not None else " or ".join(names)
        raise DataError(f"{where} has no column {wanted} for the {what}: it has {', '.join(map(str, row)):.300}")
    return found


def column_or_none(row: Mapping[str, object], names: Sequence[str], asked: str | None = None) -> str | None:
    """As `column_of`, None where there is none."""
    known = {str(name).lower(): str(name) for name in row}
    return next(
        (known[name.lower()] for name in ([asked] if asked is not None else names) if name.lower() in known), None
    )


def decimal(value: object, where: str, what: str) -> float:
    """A number, also with a decimal comma; NaN where it is missing."""
    if isinstance(value, str) and value.count(",") == 1 and "." not in value:
        value = value.replace(",", ".")
    return number(value, where, what)
