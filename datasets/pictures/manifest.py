"""Lists of pictures from users: CSV or JSONL manifests, and the inputs of a prediction."""

from __future__ import annotations

import csv
import glob
import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pytorch_lightning.utilities import rank_zero_info

from vision_suite.datasets.files import numbered_lines
from vision_suite.datasets.pictures.records import PICTURE_SUFFIXES, is_picture
from vision_suite.errors import DataError
from vision_suite.listing import FolderFiles, folder_files

SUFFIXES = (".csv", ".jsonl")


@dataclass(frozen=True)
class ManifestRow:
    """One line of a manifest: values as written, with the line number for messages."""

    path: str
    values: dict[str, str]
    line: int

    def integer(self, column: str, manifest: Path) -> int:
        """A column as a number, -1 where it's empty or absent.

        Raises:
            DataError: The value isn't a whole number.
        """
        text = self.values.get(column, "")
        try:
            value = int(text) if text else -1
            if not -(2**63) <= value < 2**63:
                raise ValueError("no integer of 64 bits")
            return value
        except ValueError:
            raise DataError(f"{str(manifest)!r} line {self.line}: {column}={text!r} is not a whole number") from None


def read_manifest(path: Path, *, required: tuple[str, ...]) -> list[ManifestRow]:
    """Read ``path,id,camera[,split,view]`` from a CSV file with a header, or one JSON object a line.

    Picture paths are relative to the manifest's folder.

    Args:
        path: The manifest.
        required: Columns besides ``path`` that must be there and filled in.

    Raises:
        DataError: The file is malformed, empty, lacks a column, or names a picture twice in one split.
    """
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        raise DataError(f"manifest {str(path)!r} must be an existing {' or '.join(SUFFIXES)} file")
    rows = _read_csv(path) if path.suffix.lower() == ".csv" else _read_jsonl(path)
    if not rows:
        raise DataError(f"manifest {str(path)!r} has no rows")
    seen: dict[tuple[str, str], int] = {}
    for row in rows:
        for column in ("path", *required):
            if not row.values.get(column):
                raise DataError(f"manifest {str(path)!r} line {row.line}: column {column!r} is missing or empty")
        key = (row.path, row.values.get("split", ""))
        if key in seen:
            raise DataError(f"manifest {str(path)!r} lines {seen[key]} and {row.line} both name {row.values['path']!r}")
        seen[key] = row.line
    return rows


def _read_csv(path: Path) -> list[ManifestRow]:
    lines = numbered_lines(path)
    reader = csv.reader(line for _, line in lines)
    rows = []
    try:
        header = [name.strip() for name in next(reader, [])]
        if "path" not in header:
            raise DataError(f"manifest {str(path)!r} needs a header line with a column 'path'{_separator(header)}")
        if repeated := [name for name, count in Counter(header).items() if count > 1]:
            raise DataError(f"manifest {str(path)!r} has two columns {repeated[0]!r}: rename or remove one")
        for cells in reader:
            number = lines[reader.line_num - 1][0]
            if len(cells) != len(header):
                raise DataError(
                    f"manifest {str(path)!r} line {number} has {len(cells)} columns, the header has {len(header)}: "
                    "put names with commas in double quotes"
                )
            values = {name: value.strip() for name, value in zip(header, cells, strict=True)}
            rows.append(ManifestRow(_absolute(path, values["path"]), values, number))
    except csv.Error as error:
        raise DataError(f"manifest {str(path)!r} is not CSV ({error}): is a double quote missing?") from None
    return rows


def _separator(header: list[str]) -> str:
    """Remedy for a header without the column, whose columns may only be separated in another way."""
    other = {";": " and not semicolons", "\t": " and not tabs"}
    found = next((words for sign, words in other.items() if sign in "".join(header)), "")
    return f": separate the columns by commas{found}, such as path,id,camera"


def _read_jsonl(path: Path) -> list[ManifestRow]:
    rows = []
    for number, line in numbered_lines(path):
        try:
            values = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(f"manifest {str(path)!r} line {number} is not JSON: {error}") from None
        if not isinstance(values, dict):
            raise DataError(f"manifest {str(path)!r} line {number} is no JSON object, such as {{'path': 'a.jpg'}}")
        if nested := [name for name, value in values.items() if isinstance(value, dict | list)]:
            raise DataError(f"manifest {str(path)!r} line {number}: {nested[0]!r} is not text or a number")
        clean = {name: "" if value is None else str(value) for name, value in values.items()}
        rows.append(ManifestRow(_absolute(path, clean.get("path", "")), clean, number))
    return rows


def _absolute(manifest: Path, picture: str) -> str:
    return os.path.normpath(manifest.parent / picture)


def find_inputs(inputs: str) -> FolderFiles:
    """Pictures named by a folder (searched to the bottom), a glob, a manifest, or a single file.

    A manifest and a single file may name files with any ending. A line is printed about what is passed over.

    Returns:
        Pictures (in the order of a manifest, else sorted), and what of a folder or glob is passed over.

    Raises:
        DataError: Nothing was found.
    """
    path = Path(inputs).expanduser()
    if path.is_dir():
        found = folder_files(path, PICTURE_SUFFIXES)
    elif path.is_file() and path.suffix.lower() in SUFFIXES:
        return FolderFiles([Path(row.path) for row in read_manifest(path, required=())], {})
    elif path.is_file():
        return FolderFiles([path], {})
    else:
        found = _match(str(path))
    if not found.files:
        raise DataError(
            f"no picture found at {inputs!r}{' but ' + found.note() if found.passed_over else ''}: give a folder, a "
            f"glob such as 'photos/*.jpg', a manifest ({', '.join(SUFFIXES)}) or a file ({', '.join(PICTURE_SUFFIXES)})"
        )
    if found.passed_over:
        rank_zero_info(f"{inputs!r}: passed over {found.note()}")
    return found


def _match(pattern: str) -> FolderFiles:
    """Pictures that match a glob, and what else does; hidden files are never taken."""
    shown = set(glob.glob(pattern, recursive=True))
    found: list[Path] = []
    other: dict[str, list[Path]] = {}
    for name in sorted({*shown, *glob.glob(pattern, recursive=True, include_hidden=True)}):
        path = Path(name)
        if name not in shown or path.name.startswith("."):
            other.setdefault("hidden", []).append(path)
        elif path.is_dir():
            if "**" not in pattern:  # which searches the folders
                other.setdefault("folder", []).append(path)
        elif is_picture(path.name):
            found.append(path)
        else:
            other.setdefault(path.suffix.lower() or "without ending", []).append(path)
    return FolderFiles(found, {kind: other[kind] for kind in sorted(other)})
