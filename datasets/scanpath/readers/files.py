"""Small readers of text files that scanpath sets come in: JSON, JSON lines, and tables as CSV or XLSX."""

from __future__ import annotations

import csv
import json
import math
import re
import tempfile
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path
from typing import Any

from vision_suite.datasets.pictures.records import read_lines
from vision_suite.datasets.prepare.archives import read_members
from vision_suite.errors import DataError

_NAMESPACE = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_SHEET, _STRINGS = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"


def finite(value: Any) -> float:
    """A number of a file, NaN for what is none: empty, ``.`` (EyeLink), text, infinity."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def read_json(path: Path) -> Any:
    """The contents of a JSON file.

    Raises:
        DataError: It is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError(f"{str(path)!r} is missing: unpack the data set completely") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{str(path)!r} is not JSON ({error}): copy it again") from None


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """One JSON object a line.

    Raises:
        DataError: The file is missing, or a line is no JSON object.
    """
    rows = []
    for number, line in enumerate(read_lines(path), start=1):
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(f"{str(path)!r} row {number} is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"{str(path)!r} row {number} is not a JSON object")
        rows.append(row)
    return rows


def read_table(path: Path, required: tuple[str, ...]) -> list[dict[str, str]]:
    """Rows of a CSV file with a header, or of the first sheet of an XLSX file, as text by column.

    Args:
        path: The file.
        required: Columns that must be there; other columns are handed on too.

    Raises:
        DataError: The file is missing, malformed or empty, or lacks a column.
    """
    if path.suffix.lower() == ".xlsx":
        header, lines = _read_sheet(path)
    elif path.suffix.lower() == ".csv":
        table = list(csv.reader(read_lines(path)))
        header, lines = (table[0], table[1:]) if table else ([], [])
    else:
        raise DataError(f"table {str(path)!r} must be a .csv or .xlsx file: save an .xls file as one of them")
    names = [name.strip() for name in header]
    if missing := [name for name in required if name not in names]:
        raise DataError(f"table {str(path)!r} has no column {missing[0]!r}: it has {', '.join(names) or 'none'}")
    rows = []
    for number, line in enumerate(lines, start=2):
        if len(line) > len(names):
            raise DataError(f"table {str(path)!r} row {number} has more columns than the header")
        padded = [*line, *[""] * (len(names) - len(line))]
        rows.append({name: value.strip() for name, value in zip(names, padded, strict=True)})
    if not rows:
        raise DataError(f"table {str(path)!r} has no rows")
    return rows


def whole(text: str, path: Path, column: str) -> int:
    """A column as a whole number; spreadsheets write 3 as 3.0.

    Raises:
        DataError: It is none.
    """
    value = finite(text)
    if not math.isfinite(value) or value != int(value):
        raise DataError(f"table {str(path)!r}: {column}={text!r} is not a whole number")
    return int(value)


def _read_sheet(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the first sheet: an XLSX file is a zip of XML, read as data."""
    if not path.is_file():
        raise DataError(f"table {str(path)!r} is missing: unpack the data set completely")
    names = [_SHEET]
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names += [_STRINGS] if _STRINGS in archive.namelist() else []
    members = read_members(path, names)
    shared = [
        "".join(text.text or "" for text in item.iter(f"{_NAMESPACE}t"))
        for item in _xml(path, members.get(_STRINGS, b"<sst/>")).iter(f"{_NAMESPACE}si")
    ]
    table: list[list[str]] = []
    for row in _xml(path, members[_SHEET]).iter(f"{_NAMESPACE}row"):
        line: list[str] = []
        for cell in row.iter(f"{_NAMESPACE}c"):
            column = _column(cell.get("r", ""), len(line))
            line += [""] * (column - len(line))
            line.append(_value(path, cell, shared))
        if any(line):
            table.append(line)
    return (table[0], table[1:]) if table else ([], [])


def _value(path: Path, cell: ElementTree.Element, shared: list[str]) -> str:
    if cell.get("t") == "inlineStr":
        return "".join(text.text or "" for text in cell.iter(f"{_NAMESPACE}t"))
    text = cell.findtext(f"{_NAMESPACE}v") or ""
    if cell.get("t") != "s" or not text:
        return text
    try:
        return shared[int(text)]
    except (ValueError, IndexError):
        raise DataError(f"table {str(path)!r} is damaged: cell {cell.get('r')} has no text: save it as .csv") from None


def _column(reference: str, following: int) -> int:
    """0-based column of a cell such as AB12; the one after the last where the file leaves references out."""
    letters = re.match(r"[A-Z]{1,3}", reference)
    if letters is None:
        return following
    number = 0
    for letter in letters[0]:
        number = number * 26 + ord(letter) - ord("A") + 1
    return max(number - 1, following)


def _xml(path: Path, contents: bytes) -> ElementTree.Element:
    if b"<!DOCTYPE" in contents or b"<!ENTITY" in contents:  # what entity bombs need, and spreadsheets never have
        raise DataError(f"table {str(path)!r} holds a document type, which is refused: save it as .csv")
    try:
        return ElementTree.fromstring(contents)
    except ElementTree.ParseError as error:
        raise DataError(f"table {str(path)!r} is damaged ({error}): save it as .csv") from None


def members_of(contents: bytes, names: list[str], what: str) -> dict[str, bytes]:
    """Named members of an archive that is itself in memory, refused like any other if it is unsafe."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / what
        path.write_bytes(contents)
        return read_members(path, names)
