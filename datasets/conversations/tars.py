"""Archives in WebDataset's layout (``key.json``, ``key.jpg``, ``key.1.jpg``), read at any place.

Members of one key stand for one row. The headers are read once and their places kept in the data cache, so that rows
are had in any order and a run can be continued exactly.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vision_suite.datasets.conversations.raw import RawRow
from vision_suite.datasets.conversations.rows import SHOWN
from vision_suite.datasets.files import parse_json
from vision_suite.datasets.pictures.records import PICTURE_SUFFIXES
from vision_suite.drafts import write_whole
from vision_suite.errors import DataError
from vision_suite.prepared import data_dir
from vision_suite.types.conversations import ImageRef

RULES = 2  # raised when archives are indexed in another way, so that earlier outcomes are not used
LONGEST_NUMBER = 10  # digits
Span = tuple[int, int]  # offset and length of a member


class Entry(NamedTuple):
    """One row of an archive.

    Attributes:
        key: Name of its members without their endings.
        record: Place of its .json or .txt member.
        text: True if that is a .txt member, the caption of its pictures.
        images: Places of its pictures, in the order of their numbers.
    """

    key: str
    record: Span
    text: bool
    images: list[Span]


class TarRows:
    """Records of one or more archives.

    Args:
        files: The archives, in order.

    Raises:
        DataError: An archive is compressed, damaged or has members that belong to no row.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = list(files)
        self._entries = [indexed(file) for file in files]
        self._starts = np.cumsum([0, *(len(entries) for entries in self._entries)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> RawRow:
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        file = self.files[number]
        entry = self._entries[number][index - int(self._starts[number])]
        with file.open("rb") as opened:
            opened.seek(entry.record[0])
            contents = opened.read(entry.record[1])
        images = [ImageRef(file, start, length) for start, length in entry.images]
        try:
            record = _caption(contents.decode(), len(images)) if entry.text else parse_json(contents.decode())
        except ValueError as error:
            return RawRow(None, entry.key, images, fault=f"it is not JSON or no text: {error}")
        return RawRow(record, entry.key, images)


def indexed(file: Path) -> list[Entry]:
    """Rows of an archive, from the data cache if it was read before and has not changed.

    Raises:
        DataError: As `TarRows`.
    """
    status = file.stat()
    stamp = f"{RULES}\0{file.absolute()}\0{status.st_size}\0{status.st_mtime_ns}"
    memo = data_dir() / "tar-index" / f"{hashlib.sha256(stamp.encode()).hexdigest()[:32]}.json"
    if memo.is_file():
        kept = json.loads(memo.read_text(encoding="utf-8"))
        return [
            Entry(key, (record[0], record[1]), text, [(a, b) for a, b in images]) for key, record, text, images in kept
        ]
    entries = read_index(file)
    write_whole(memo, json.dumps(entries))
    return entries


def read_index(file: Path) -> list[Entry]:
    """Rows of an archive, from its headers.

    Raises:
        DataError: As `TarRows`.
    """
    members: dict[str, dict[str, Span]] = {}
    try:
        with tarfile.open(file, "r:") as archive:
            for member in archive:
                if member.issparse() or not (member.isfile() or member.isdir()):
                    raise DataError(
                        f"archive {str(file)!r}: member {member.name[:SHOWN]!r} is no plain file: pack it again"
                    )
                folder, _, base = member.name.rpartition("/")
                key, _, ending = base.partition(".")
                if member.isdir() or not key:
                    continue  # folders and hidden files, such as those that macOS adds
                row = members.setdefault(f"{folder}/{key}".removeprefix("./").removeprefix("/"), {})
                if ending.lower() in row:
                    raise DataError(
                        f"archive {str(file)!r} has the member {member.name[:SHOWN]!r} twice: pack it again"
                    )
                row[ending.lower()] = (member.offset_data, member.size)
            end = archive.offset
        with file.open("rb") as opened:  # the reader takes a damaged header for the end
            opened.seek(end)
            if opened.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"it is damaged or cut short behind {len(members)} rows")
    except (tarfile.TarError, OSError) as error:
        raise DataError(
            f"archive {str(file)!r} cannot be read ({error}): copy it again, or unpack it if it is compressed"
        ) from None
    return [_entry(file, key, row) for key, row in members.items()]


def _entry(file: Path, key: str, members: dict[str, Span]) -> Entry:
    images: list[tuple[int, str]] = []
    for ending in members:
        number, _, kind = ending.rpartition(".")
        if f".{kind}" in PICTURE_SUFFIXES and (not number or (number.isdecimal() and len(number) < LONGEST_NUMBER)):
            images.append((int(number) if number else -1, ending))
        elif ending not in ("json", "txt"):
            member = f"{key}.{ending}"[:SHOWN]
            raise DataError(f"archive {str(file)!r}: {member!r} is neither .json, .txt nor a picture: leave it out")
    name = "json" if "json" in members else "txt"
    if name not in members:
        raise DataError(f"archive {str(file)!r}: row {key[:SHOWN]!r} has no .json and no .txt member: pack it again")
    return Entry(key, members[name], name == "txt", [members[ending] for _, ending in sorted(images)])


def _caption(text: str, images: int) -> dict[str, object]:
    """Record of pictures and their caption: markers alone are the question."""
    turns = [{"from": "human", "value": "\n".join(["<image>"] * images)}, {"from": "gpt", "value": text.strip()}]
    return {"conversations": turns}
