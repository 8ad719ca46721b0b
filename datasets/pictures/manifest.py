"""Lists of pictures from users: CSV or JSONL manifests, and the inputs of a prediction."""

from __future__ import annotations

import csv
import glob
import json
import os
from dataclasses import dataclass
from pathlib import Path

from vision_suite.datasets.files import read_lines
from vision_suite.datasets.pictures.records import PICTURE_SUFFIXES, is_picture
from vision_suite.errors import DataError

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
    rows = []
    reader = csv.DictReader(read_lines(path))
    if not reader.fieldnames or "path" not in reader.fieldnames:
        raise DataError(f"manifest {str(path)!r} needs a header line with a column 'path', such as path,id,camera")
    for number, values in enumerate(reader, start=2):
        if None in values or None in values.values():
            raise DataError(f"manifest {str(path)!r} row {number} has another number of columns than the header")
        clean = {name: value.strip() for name, value in values.items()}
        rows.append(ManifestRow(_absolute(path, clean["path"]), clean, number))
    return rows


def _read_jsonl(path: Path) -> list[ManifestRow]:
    rows = []
    for number, line in enumerate(read_lines(path), start=1):
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"manifest {str(path)!r} row {number} is not JSON: {error.msg}") from None
        if not isinstance(values, dict):
            raise DataError(f"manifest {str(path)!r} row {number} is not a JSON object")
        clean = {str(name): "" if value is None else str(value) for name, value in values.items()}
        rows.append(ManifestRow(_absolute(path, clean.get("path", "")), clean, number))
    return rows


def _absolute(manifest: Path, picture: str) -> str:
    return os.path.normpath(manifest.parent / picture)


def expand_inputs(inputs: str) -> list[str]:
    """Pictures named by a folder (searched to the bottom), a glob, a manifest, or a single file.

    Raises:
        DataError: Nothing was found.
    """
    path = Path(inputs).expanduser()
    if path.is_dir():
        found = [os.path.join(top, name) for top, _, names in os.walk(path) for name in names if is_picture(name)]
    elif path.is_file() and path.suffix.lower() in SUFFIXES:
        return [row.path for row in read_manifest(path, required=())]
    elif path.is_file():
        return [str(path)]
    else:
        found = [match for match in glob.glob(str(path), recursive=True) if is_picture(os.path.basename(match))]
    if not found:
        raise DataError(
            f"no picture found at {inputs!r}: give a folder, a glob such as 'photos/*.jpg', a manifest "
            f"({', '.join(SUFFIXES)}) or a file ({', '.join(PICTURE_SUFFIXES)})"
        )
    return sorted(found)
