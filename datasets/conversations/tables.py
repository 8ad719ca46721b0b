"""Parquet tables of conversations, with pictures beside the text as the datasets library writes them.

A picture is a struct of ``bytes`` and ``path``, where the bytes win; plain bytes and plain paths are read too. Text is
held in memory as it is in the table; pictures are read with their row group when they are needed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vision_suite.datasets.conversations.raw import RawRow
from vision_suite.datasets.pictures.images import decode_picture, open_picture
from vision_suite.errors import DataError
from vision_suite.types.conversations import ImageRef

COLUMNS = ("images", "image")
LISTS = ("list", "large_list", "fixed_size_list", "list_view", "large_list_view")  # pyarrow's types
GROUPS = 4  # row groups of pictures that a process keeps


class TableRows:
    """Records of one or more parquet files with the same columns.

    Args:
        files: The files, in order.
        folder: Folder that the paths of pictures are relative to.

    Raises:
        DataError: A file is damaged or no table.
    """

    def __init__(self, files: Sequence[Path], folder: Path) -> None:
        self.files, self._folder = list(files), folder
        self._tables = [_text_of(file) for file in files]
        self._counts = [_counts(file) for file in files]
        self._starts = np.cumsum([0, *(len(table) for table in self._tables)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> RawRow:
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        place = index - int(self._starts[number])
        name = f"{self.files[number].name} row {place}"
        try:
            record = {key: column[0] for key, column in self._tables[number].slice(place, 1).to_pydict().items()}
        except (ValueError, OverflowError) as error:  # text that is no UTF-8, times out of range
            return RawRow(None, name, fault=f"a value of its table cannot be read: {str(error)[:80]}")
        images = [
            ImageRef(self.files[number], place, 0, f"{column}:{position}@{self._folder}")
            for column, counts in self._counts[number].items()
            for position in range(counts[place])
        ]
        return RawRow(record, name, images if self._counts[number] else None)


def picture_of_cell(ref: ImageRef) -> Image.Image:
    """The picture in a cell of a table.

    Raises:
        DataError: There is none, or it cannot be decoded.
    """
    found = stored_in_cell(ref)
    if isinstance(found, bytes):
        return decode_picture(found, _name(ref))
    if found is None:
        raise DataError(f"picture {_name(ref)!r} cannot be read: its cell has neither bytes nor a path")
    return open_picture(str(found))


def stored_in_cell(ref: ImageRef) -> bytes | Path | None:
    """The bytes of a picture in a cell of a table, or its path; None if there is neither.

    Raises:
        DataError: The table cannot be read.
    """
    place, _, folder = ref.column.partition("@")
    column, _, position = place.partition(":")
    try:
        cell = _cell(ref.path, column, ref.start)
    except (ValueError, OverflowError) as error:  # such as a path that is no UTF-8
        raise DataError(f"picture {_name(ref)!r} cannot be read: {str(error)[:80]}") from None
    value: Any = cell[int(position)] if isinstance(cell, list) else cell
    contents, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
    if isinstance(contents, str):
        contents, path = None, contents
    if isinstance(contents, bytes) and contents:
        return contents
    return Path(folder) / path if isinstance(path, str) and path else None


def _name(ref: ImageRef) -> str:
    return f"{ref.path} row {ref.start} {ref.column.partition('@')[0]}"


def _text_of(file: Path) -> Any:
    """The table without its pictures."""
    opened = _open(file)
    if twins := [name for name, count in Counter(opened.schema_arrow.names).items() if count > 1]:
        raise DataError(f"table {str(file)!r} has the column {twins[0][:60]!r} twice: remove one")
    names = [name for name in opened.schema_arrow.names if name not in COLUMNS]
    return _read(file, lambda: opened.read(columns=names))


def _counts(file: Path) -> dict[str, list[int]]:
    """Number of pictures in each row, by column of pictures; the pictures' bytes are not read where paths are there."""
    import pyarrow
    import pyarrow.compute

    opened = _open(file)
    found: dict[str, list[int]] = {}
    for name in COLUMNS:
        if name not in opened.schema_arrow.names:
            continue
        kind = opened.schema_arrow.field(name).type
        leaves = [opened.schema.column(n).path for n in range(len(opened.schema))]
        leaves = leaves if pyarrow.types.is_nested(kind) else []
        leaf = next((leaf for leaf in leaves if leaf.split(".")[0] == name and leaf.endswith(".path")), name)
        found[name] = []
        for group in range(opened.num_row_groups):  # pictures of one group only are held at a time
            column = _read(file, lambda: opened.read_row_group(group, columns=[leaf]))[name]  # noqa: B023 - called at once
            if any(getattr(pyarrow.types, f"is_{each}")(kind) for each in LISTS):
                found[name] += pyarrow.compute.fill_null(pyarrow.compute.list_value_length(column), 0).to_pylist()
            else:
                found[name] += [int(valid) for valid in pyarrow.compute.is_valid(column).to_pylist()]
    return found


def _cell(file: Path, column: str, row: int) -> Any:
    groups = _group_starts(file, os.getpid())
    group = int(np.searchsorted(groups, row, side="right")) - 1
    return _group(file, column, group, os.getpid())[row - groups[group]].as_py()


@lru_cache(maxsize=64)
def _group_starts(file: Path, process: int) -> list[int]:
    metadata = _open(file).metadata
    sizes = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
    return [sum(sizes[:n]) for n in range(len(sizes))]


@lru_cache(maxsize=GROUPS)
def _group(file: Path, column: str, group: int, process: int) -> Any:
    """One column of a row group; each process has its own, because readers do not survive a fork."""
    return _read(file, lambda: _open(file).read_row_group(group, columns=[column]))[column]


def _open(file: Path) -> Any:
    import pyarrow.parquet

    return _read(file, lambda: pyarrow.parquet.ParquetFile(file))


def _read(file: Path, action: Any) -> Any:
    import pyarrow

    try:
        return action()
    except DataError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, LookupError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"table {str(file)!r} cannot be read ({reason}): copy it again") from None
