"""Records as their files have them, in any order of access."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from vision_suite.datasets.files import read_json, read_json_lines
from vision_suite.datasets.pictures.manifest import find_inputs
from vision_suite.errors import DataError
from vision_suite.types.instruct import ImageRef


class RawRow(NamedTuple):
    """A record as its file has it.

    Attributes:
        record: Contents.
        name: Name of the row if the record has none.
        images: Pictures beside the record, None if it names them itself.
    """

    record: Any
    name: str
    images: Sequence[ImageRef] | None = None


class RawRows(Protocol):
    """Records of a file in any order of access.

    Attributes:
        files: Files that hold them.
    """

    files: list[Path]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> RawRow: ...


class ListedRows:
    """Records of a JSON list or of JSON lines.

    Args:
        path: The file.

    Raises:
        DataError: It is malformed.
    """

    def __init__(self, path: Path) -> None:
        self.files = [path]
        records = read_json_lines(path) if path.suffix == ".jsonl" else read_json(path)
        if not isinstance(records, list):
            raise DataError(f"{str(path)!r} holds no list of rows: give a JSON list, or one object a line (.jsonl)")
        self._records: list[Any] = records

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> RawRow:
        return RawRow(self._records[index], f"row {index}")


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
        self._question = question

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> RawRow:
        path = self.files[index].absolute()
        return RawRow({"turns": [{"kind": "V", "question": self._question, "images": [str(path)]}]}, path.name)
