"""Spreadsheets as CSV or XLSX, and archives inside archives, read as data."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Sequence
from pathlib import Path

from vision_suite.datasets.files import read_table, table_rows
from vision_suite.datasets.prepare.archives import read_members
from vision_suite.errors import DataError

_NAMESPACE = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_SHEET, _STRINGS = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"


def read_spreadsheet(path: Path, required: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV file with a header, or of the first sheet of an XLSX file, as text by column.

    Args:
        path: The file.
        required: Columns that must be there; other columns are handed on too.

    Raises:
        DataError: The file is missing, malformed or empty, or lacks a column.
    """
    if path.suffix.lower() == ".xlsx":
        return table_rows(path, _read_sheet(path), required)
    if path.suffix.lower() == ".csv":
        return read_table(path, required)
    raise DataError(f"table {str(path)!r} must be a .csv or .xlsx file: save an .xls file as one of them")


def _read_sheet(path: Path) -> list[list[str]]:
    """Cells of the first sheet by row: an XLSX file is a zip of XML, read as data."""
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
    return table


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
