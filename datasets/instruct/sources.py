"""Sources of rows: a file, or a folder of tables or archives, with its weight in the mixture."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from vision_suite.datasets.files import read_json, read_json_lines
from vision_suite.datasets.instruct.forms import row_of
from vision_suite.datasets.instruct.questions import Choices
from vision_suite.datasets.roots import resolve_root
from vision_suite.errors import ConfigError, DataError, check_literals
from vision_suite.types.instruct import ImageRef, Row


@dataclass(frozen=True)
class SourceSettings:
    """Place of a source's rows and their use.

    Attributes:
        path: File (.json, .jsonl, .parquet, .tar), folder or glob of tables or archives, also relative to the data
            cache.
        weight: Number of times that each row is used in an epoch; 0.25 uses a quarter of the rows, then the next.
        image_root: Folder that the names of pictures are relative to; by default the file's own.
        limit: Number of rows to use, spread evenly over the file; by default all.
        max_length: Largest number of ids of a row of this source, in place of the datamodule's.
        choices: Ask questions for the letters of their choices, which they list, or compare the texts of the choices.
    """

    path: str
    weight: float = 1.0
    image_root: str | None = None
    limit: int | None = None
    max_length: int | None = None
    choices: Choices = "letters"

    def __post_init__(self) -> None:
        check_literals(self, "sources")
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ConfigError(f"sources: weight={self.weight} of {self.path!r} must be 0 or more")
        for name, value in (("limit", self.limit), ("max_length", self.max_length)):
            if value is not None and value < 1:
                raise ConfigError(f"sources: {name}={value} of {self.path!r} must be 1 or more")


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

    files: Sequence[Path]

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


class Source:
    """Rows of one source.

    Args:
        name: Name of the source.
        settings: Place of its rows and their use.

    Attributes:
        name: Name of the source.
        settings: Place of its rows and their use.
        path: File or folder that was found.
        files: Files that hold the rows.

    Raises:
        DataError: The file is missing, malformed or empty.
    """

    def __init__(self, name: str, settings: SourceSettings) -> None:
        self.name, self.settings = name, settings
        self.path = resolve_root(settings.path)
        self._raw = open_rows(self.path)
        self.files = list(self._raw.files)
        self._folder = resolve_root(settings.image_root) if settings.image_root else _folder_of(self.path)
        total = len(self._raw)
        if not total:
            raise DataError(f"source {name!r} has no rows: {str(self.path)!r} is empty")
        used = total if settings.limit is None else min(settings.limit, total)
        self._places = range(total) if used == total else [n * total // used for n in range(used)]

    def __len__(self) -> int:
        return len(self._places)

    def protocol(self) -> dict[str, Any]:
        """Facts about the source that a reader of the metrics must know."""
        return {**asdict(self.settings), "path": str(self.path), "rows": len(self)}

    def row(self, index: int, notes: Counter[str]) -> Row:
        """The row at an index.

        Args:
            index: Index of the row.
            notes: Takes the numbers of rows that were changed, by kind.

        Raises:
            BadRow: It cannot be used.
        """
        raw = self._raw[self._places[index]]
        return row_of(
            raw.record, raw.name, self._folder, self.name, notes, images=raw.images, choices=self.settings.choices
        )


def open_rows(path: Path) -> RawRows:
    """Records of a file, or of the tables or archives of a folder.

    Raises:
        DataError: It is of no known kind.
    """
    if path.suffix in (".json", ".jsonl"):
        return ListedRows(path)
    raise DataError(f"source {str(path)!r} is of no known kind: give .json, .jsonl, .parquet or .tar")


def open_sources(settings: Mapping[str, SourceSettings]) -> list[Source]:
    """Sources by name, each opened.

    Raises:
        DataError: A file is missing, malformed or empty.
    """
    return [Source(name, each) for name, each in settings.items()]


def _folder_of(path: Path) -> Path:
    return path if path.is_dir() else path.parent
