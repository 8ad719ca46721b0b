"""Comparison of gallery pictures with those whose features are on disk, by checksum."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vision_suite.datasets.pictures.images import CONTAINER
from vision_suite.errors import ConfigError


@dataclass(frozen=True)
class StoredPicture:
    """A picture of the store.

    Attributes:
        sha256: Checksum of the file, which tells pictures apart.
        size: Bytes of the file. With the same size and time a file is taken to be unchanged and is not read.
        mtime_ns: Time of its last change.
        row: Row of its feature, counted over all files of features.
    """

    sha256: str
    size: int
    mtime_ns: int
    row: int


@dataclass(frozen=True)
class GalleryPlan:
    """Use that a run makes of the pictures it was given.

    Attributes:
        new: Paths whose features must be computed.
        found: Checksum, size and time of each picture that was read, by path.
        known: Number of pictures that are in the store under their path.
        replaced: Number of new pictures whose path is in the store with other contents.
        copies: Number of pictures whose contents are in the store under another path that is still there.
        moved: Paths in the store that are gone, by the path where the same contents are now.
    """

    new: list[str]
    found: dict[str, tuple[str, int, int]] = field(repr=False)
    known: int = 0
    replaced: int = 0
    copies: int = 0
    moved: dict[str, str] = field(default_factory=dict, repr=False)


def plan_additions(pictures: Mapping[str, StoredPicture], paths: Sequence[str]) -> GalleryPlan:
    """Compare pictures with those of a store.

    Args:
        pictures: The store's pictures by absolute path.
        paths: Pictures of a run.

    Raises:
        ConfigError: A picture lies in a container file.
    """
    by_contents: dict[str, list[str]] = defaultdict(list)
    for path, picture in pictures.items():
        by_contents[picture.sha256].append(path)
    new: list[str] = []
    found: dict[str, tuple[str, int, int]] = {}
    moved: dict[str, str] = {}
    known = replaced = copies = 0
    for path in dict.fromkeys(map(os.path.abspath, paths)):
        if CONTAINER in path:
            raise ConfigError(f"gallery_store takes picture files, not parts of a container such as {path!r}")
        stored = pictures.get(path)
        try:
            status = os.stat(path)
            if stored is not None and (stored.size, stored.mtime_ns) == (status.st_size, status.st_mtime_ns):
                known += 1
                continue
            found[path] = (file_checksum(path), status.st_size, status.st_mtime_ns)
        except OSError:
            new.append(path)  # the check of the pictures tells why it cannot be read
            continue
        if stored is not None and stored.sha256 == found[path][0]:
            known += 1
        elif found[path][0] in by_contents:
            gone = [each for each in by_contents[found[path][0]] if not os.path.exists(each)]
            gone = [each for each in gone if each not in moved.values()]
            copies += not gone
            moved |= {path: gone[0]} if gone else {}
        else:
            replaced += stored is not None
            new.append(path)
    return GalleryPlan(new, found, known, replaced, copies, moved)


def file_checksum(path: str | Path) -> str:
    """SHA-256 of a file's contents, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
