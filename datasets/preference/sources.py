"""Sources of pairs: a file or a folder of tables or archives, with its weight in the mixture."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from vision_suite.datasets.conversations.raw import RawRow, RawRows
from vision_suite.datasets.conversations.rows import SHOWN, BadRow
from vision_suite.datasets.conversations.sources import FileSource, folder_of, open_rows, spread
from vision_suite.datasets.files import read_json
from vision_suite.datasets.preference.forms import CHOSEN, REJECTED, pair_of
from vision_suite.datasets.roots import resolve_root
from vision_suite.errors import ConfigError, DataError
from vision_suite.types.preference import PreferenceRow

LOOKED_AT = 20  # records of a file that tell what it holds


@dataclass(frozen=True)
class PairSettings:
    """Place of a source's pairs and their use.

    Attributes:
        path: File (.json, .jsonl, .parquet, .tar) or folder of tables or archives, also relative to the data cache.
        weight: Number of times that each pair is used in an epoch; 0.25 uses a quarter of them, then the next.
        image_root: Folder that the names of pictures are relative to; by default the file's own.
        limit: Number of pairs to use, spread evenly over the file; by default all.
    """

    path: str
    weight: float = 1.0
    image_root: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ConfigError(f"sources: weight={self.weight} of {self.path!r} must be 0 or more")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"sources: limit={self.limit} of {self.path!r} must be 1 or more")


class PairSource(FileSource):
    """Pairs of one source.

    Args:
        name: Name of the source.
        settings: Place of its pairs and their use.

    Attributes:
        name: Name of the source.
        settings: Place of its pairs and their use.
        path: File or folder that was found.
        files: Files that hold the pairs.

    Raises:
        DataError: The file is missing, malformed or empty.
    """

    def __init__(self, name: str, settings: PairSettings) -> None:
        self.name, self.settings = name, settings
        self.path = resolve_root(settings.path)
        self._folder = resolve_root(settings.image_root) if settings.image_root else folder_of(self.path)
        self._raw = _open(self.path, self._folder)
        self.files = list(self._raw.files)
        if not len(self._raw):
            raise DataError(f"source {name!r} has no pairs: {str(self.path)!r} is empty")
        self._places = spread(len(self._raw), settings.limit)

    def __len__(self) -> int:
        return len(self._places)

    def row(self, index: int, notes: Counter[str]) -> PreferenceRow:
        """The pair at an index.

        Args:
            index: Index of the pair.
            notes: Takes the numbers of pairs that were changed, by kind; reading changes none.

        Raises:
            BadRow: It cannot be used.
        """
        raw = self._raw[self._places[index]]
        if raw.fault:
            raise BadRow("malformed", f"row {raw.name[:SHOWN]!r}: {raw.fault}")
        return pair_of(raw.record, raw.name, self._folder, self.name, raw.images)


class KeyedRows:
    """Pairs of a JSON object that lists them by ``image_id``, as SENTINEL's LLaVA-1.5 route reads them.

    Args:
        path: The file.
        table: Contents of the file.

    Raises:
        DataError: An entry is no list.
    """

    def __init__(self, path: Path, table: Mapping[str, Any]) -> None:
        self.files = [path]
        self._rows: list[RawRow] = []
        for key, pairs in table.items():
            if not isinstance(pairs, list):
                raise DataError(f"{str(path)!r}: the entry {key[:SHOWN]!r} is no list of pairs: give a list")
            for number, pair in enumerate(pairs):
                record = {"image_id": key, **pair} if isinstance(pair, Mapping) else pair
                self._rows.append(RawRow(record, f"pair {number}"))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> RawRow:
        return self._rows[index]


def holds_pairs(path: Path) -> bool:
    """Tell whether a file or folder holds pairs, not conversations, by the keys of its first records.

    Raises:
        DataError: It is missing or malformed, or of no known kind.
    """
    rows = _open(path, folder_of(path))
    found = (rows[index].record for index in islice(range(len(rows)), LOOKED_AT))
    return any(
        isinstance(record, Mapping) and not any(set(record).isdisjoint(keys) for keys in (CHOSEN, REJECTED))
        for record in found
    )


def _open(path: Path, image_root: Path) -> RawRows:
    """Records of a file or folder; a JSON file may hold a list, or lists by picture."""
    if path.suffix == ".json":
        contents = read_json(path)
        if isinstance(contents, dict):
            return KeyedRows(path, contents)
    return open_rows(path, image_root)
