"""Sources of rows: a file, or a folder of tables or archives, with its weight in the mixture."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vision_suite.datasets.conversations.forms import row_of
from vision_suite.datasets.conversations.questions import Choices
from vision_suite.datasets.conversations.raw import AskedPictures, ListedRows, RawRows
from vision_suite.datasets.conversations.rows import SHOWN, BadRow
from vision_suite.datasets.conversations.tables import TableRows
from vision_suite.datasets.conversations.tars import TarRows
from vision_suite.datasets.pictures.records import PICTURE_SUFFIXES
from vision_suite.datasets.roots import resolve_root
from vision_suite.errors import ConfigError, DataError, check_literals
from vision_suite.types.conversations import Row


@dataclass(frozen=True)
class SourceSettings:
    """Place of a source's rows and their use.

    Attributes:
        path: File (.json, .jsonl, .parquet, .tar) or folder of tables or archives, also relative to the data cache.
        weight: Number of times that each row is used in an epoch; 0.25 uses a quarter of the rows, then the next.
        image_root: Folder that the names of pictures are relative to; by default the file's own.
        limit: Number of rows to use, spread evenly over the file; by default all.
        max_length: Largest number of ids of a row of this source, in place of the datamodule's.
        question: Question about each picture of a folder, glob or file of pictures, which path then names; to predict.
        choices: Ask questions for the letters of their choices, which they list, or compare the texts of the choices.
    """

    path: str
    weight: float = 1.0
    image_root: str | None = None
    limit: int | None = None
    max_length: int | None = None
    question: str | None = None
    choices: Choices = "letters"

    def __post_init__(self) -> None:
        check_literals(self, "sources")
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ConfigError(f"sources: weight={self.weight} of {self.path!r} must be 0 or more")
        for name, value in (("limit", self.limit), ("max_length", self.max_length)):
            if value is not None and value < 1:
                raise ConfigError(f"sources: {name}={value} of {self.path!r} must be 1 or more")


class FileSource(ABC):
    """Base of sources that read files.

    Attributes:
        name: Name of the source.
        settings: Place of its rows and their use, a dataclass.
        path: File or folder that was found.
        files: Files that are read.
    """

    name: str
    settings: Any
    path: Path
    files: list[Path]

    @abstractmethod
    def __len__(self) -> int: ...

    def protocol(self) -> dict[str, Any]:
        """Facts about the source that a reader of the metrics must know."""
        return {**asdict(self.settings), "path": str(self.path), "rows": len(self)}

    def stamps(self) -> list[list[str | int]]:
        """Path, size and time of each file, which tell whether one has changed."""
        return file_stamps(self.files)


class RowSource(FileSource):
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
        DataError: The file is missing, malformed or empty, or names pictures without a question about them.
    """

    def __init__(self, name: str, settings: SourceSettings) -> None:
        self.name, self.settings = name, settings
        pictures = settings.question is not None
        glob = _names_pictures(Path(settings.path)) and any(sign in settings.path for sign in "*?[")
        self.path = Path(settings.path).expanduser() if pictures or glob else resolve_root(settings.path)
        self._folder = resolve_root(settings.image_root) if settings.image_root else folder_of(self.path)
        self._raw: RawRows
        if settings.question is None:
            _refuse_pictures(self.path)
            self._raw = open_rows(self.path, self._folder)
        else:
            self._raw = AskedPictures(settings.path, settings.question)
        self.files = list(self._raw.files)
        total = len(self._raw)
        if not total:
            raise DataError(f"source {name!r} has no rows: {str(self.path)!r} is empty")
        self._chained = _has_chains(self._raw)
        self._places = spread(total, settings.limit)

    def __len__(self) -> int:
        return len(self._places)

    def row(self, index: int, notes: Counter[str]) -> Row:
        """The row at an index.

        Args:
            index: Index of the row.
            notes: Takes the numbers of rows that were changed, by kind.

        Raises:
            BadRow: It cannot be used.
        """
        raw = self._raw[self._places[index]]
        if raw.fault:
            raise BadRow("malformed", f"row {raw.name[:SHOWN]!r}: {raw.fault}")
        row = row_of(
            raw.record, raw.name, self._folder, self.name, notes, images=raw.images, choices=self.settings.choices
        )
        return row if self._chained else replace(row, config="")


def open_rows(path: Path, image_root: Path) -> RawRows:
    """Records of a file, or of the tables or archives of a folder, in the order of their names.

    Args:
        path: File or folder.
        image_root: Folder that the names of pictures in tables are relative to.

    Raises:
        DataError: It is of no known kind, or a folder holds both kinds or neither.
    """
    if path.suffix in (".json", ".jsonl"):
        return ListedRows(path)
    files = {suffix: sorted(path.glob(f"*{suffix}")) if path.is_dir() else [path] for suffix in (".parquet", ".tar")}
    kinds = [suffix for suffix, found in files.items() if found and (path.is_dir() or path.suffix == suffix)]
    if kinds == [".parquet"]:
        return TableRows(files[".parquet"], image_root)
    if kinds == [".tar"]:
        return TarRows(files[".tar"])
    what = f"holds {' and '.join(kinds) or 'no .parquet and no .tar'}" if path.is_dir() else "is of no known kind"
    raise DataError(
        f"source {str(path)!r} {what}: give .json, .jsonl, .parquet, .tar, or a folder of one of the last two"
    )


def _refuse_pictures(path: Path) -> None:
    """Refuse pictures without a question: a file or glob of them, or a folder that holds them and no rows."""
    bare = path.is_dir() and not any(path.glob("*.parquet")) and not any(path.glob("*.tar"))
    if _names_pictures(path) or (bare and any(map(_names_pictures, path.rglob("*")))):
        raise DataError(
            f"source {str(path)!r} has pictures and no rows: to predict give a question about each beside its path, "
            "{path: ..., question: ...}; to train give a file of rows that names them"
        )


def _names_pictures(path: Path) -> bool:
    """Tell whether a path or glob has the ending of pictures."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def _has_chains(raw: RawRows) -> bool:
    """Tell whether a file of questions has chains of several turns, among which single questions are compared too."""
    if not isinstance(raw, ListedRows):
        return False
    records = (raw[index].record for index in range(len(raw)))
    turns = (record.get("turns") for record in records if isinstance(record, Mapping))
    return any(isinstance(each, list) and len(each) > 1 for each in turns)


def open_sources(settings: Mapping[str, SourceSettings]) -> list[RowSource]:
    """Sources by name, each opened.

    Raises:
        DataError: A file is missing, malformed or empty.
    """
    return [RowSource(name, each) for name, each in settings.items()]


def spread(total: int, limit: int | None) -> Sequence[int]:
    """Indices of the rows of a file to use: all, or so many spread evenly over it."""
    used = total if limit is None else min(limit, total)
    return range(total) if used == total else [n * total // used for n in range(used)]


def file_stamps(files: Iterable[Path]) -> list[list[str | int]]:
    """Path, size and time of each file, which tell whether one has changed."""
    found = [(file, file.stat()) for file in files]
    return [[str(file), status.st_size, status.st_mtime_ns] for file, status in found]


def folder_of(path: Path) -> Path:
    """The folder that the names of pictures are relative to: a source's own, or that of its file."""
    return path if path.is_dir() else path.parent
