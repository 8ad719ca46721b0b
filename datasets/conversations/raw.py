"""Records as their files have them, in any order of access."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from vision_suite.datasets.conversations.rows import MARKER
from vision_suite.datasets.files import numbered_lines, parse_json, read_json
from vision_suite.datasets.pictures.manifest import find_inputs
from vision_suite.errors import DataError
from vision_suite.types.conversations import ImageRef


class RawRow(NamedTuple):
    """A record as its file has it.

    Attributes:
        record: Contents.
        name: Name of the row if the record has none.
        images: Pictures beside the record, None if it names them itself.
        fault: Reason for which the record cannot be read; empty if it can.
    """

    record: Any
    name: str
    images: Sequence[ImageRef] | None = None
    fault: str = ""


class RawRows(Protocol):
    """Records of a file in any order of access.

    Attributes:
        files: Files that hold them.
    """

    files: list[Path]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> RawRow: ...


class ListedRows:
    """Records of a JSON list or of JSON lines; a line that is no JSON is a row with a fault.

    Args:
        path: The file.

    Raises:
        DataError: It is no text, or no JSON list.
    """

    def __init__(self, path: Path) -> None:
        self.files = [path]
        if path.suffix == ".jsonl":
            self._rows = [_of_line(number, line) for number, line in numbered_lines(path)]
            return
        records = read_json(path)
        if not isinstance(records, list):
            raise DataError(f"{str(path)!r} holds no list of rows: give a JSON list, or one object a line (.jsonl)")
        self._rows = [RawRow(record, f"row {index}") for index, record in enumerate(records)]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> RawRow:
        return self._rows[index]


def _of_line(number: int, line: str) -> RawRow:
    try:
        return RawRow(parse_json(line), f"line {number}")
    except ValueError as error:
        return RawRow(None, f"line {number}", fault=f"it is not JSON: {error}")


class AskedPictures:
    """Pictures that are all asked the same question, to predict on.

    Args:
        inputs: Folder, glob, manifest or file of pictures.
        question: Question about each.

    Raises:
        DataError: There is no picture.
    """

    def __init__(self, inputs: str, question: str) -> None:
        self.files = find_inputs(inputs).files
        self._question = question if MARKER in question else f"{MARKER}\n{question}"

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> RawRow:
        path = self.files[index].absolute()
        return RawRow({"turns": [{"kind": "V", "question": self._question, "images": [str(path)]}]}, path.name)
