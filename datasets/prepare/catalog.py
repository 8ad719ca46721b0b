"""The real sets that a command can prepare: what they are, whether they are there, how to get and check them.

Light: neither torch nor a picture library is loaded by importing this module or by listing the entries.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vision_suite.datasets.prepare.base import progress_bars
from vision_suite.datasets.prepare.fetch import data_dir
from vision_suite.errors import ConfigError, DataError

if TYPE_CHECKING:
    from vision_suite.datasets.prepare.base import VerifyReport

EMOJI = "emoji-reid"
EMOJI_SIZE = 64
WATCH = "watch-tad"
ONESTOP = "onestop-mini"

_FOLDER = re.compile(rf"{EMOJI}-(\d+)")


@dataclass(frozen=True)
class CatalogEntry:
    """A set that can be prepared.

    Attributes:
        name: What ``data prepare`` takes. description: One line. task: What it can train. licence: Of its pictures.
        path: Its folder in the cache. prepared: Whether that folder is there.
    """

    name: str
    description: str
    task: str
    licence: str
    path: Path
    prepared: bool


def entries() -> list[CatalogEntry]:
    """All sets: each at its default size, and at every other size already prepared."""
    sizes = {EMOJI_SIZE}
    if data_dir().is_dir():
        sizes |= {int(match[1]) for path in data_dir().iterdir() if (match := _FOLDER.fullmatch(path.name))}
    emoji = [_emoji_entry(size) for size in sorted(sizes, key=lambda size: (size != EMOJI_SIZE, size))]
    return [*emoji, _watch_entry(), _onestop_entry()]


def prepare(
    name: str,
    *,
    source: Path | None = None,
    image_size: int | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> Path:
    """Make a set ready in the cache and return its folder; at once if it is there.

    Args:
        name: The set, such as emoji-reid (or emoji-reid-128 for pictures of 128 pixels).
        source: Archive, folder of archives or unpacked package to use instead of the registry.
        image_size: Side of the pictures in pixels, 64 if not given.
        workers: Processes that draw the pictures, one per core (16 at most) if not given.
        quiet: Show no progress bar.

    Returns:
        The prepared folder.

    Raises:
        ConfigError: There is no such set, or the size or number of workers is out of range.
        DataError: The set cannot be had (no client, no answer, a wrong checksum) or written (disk full, no rights).
    """
    from vision_suite.datasets.emoji import build as emoji
    from vision_suite.datasets.emoji.recipe import load_recipe
    from vision_suite.datasets.scanpath import onestop
    from vision_suite.datasets.tad import watch_tad

    size = _size_of(name, image_size)
    if workers is not None and workers < 1:
        raise ConfigError(f"workers={workers}: give 1 or more")
    try:
        with progress_bars(quiet) as progress:
            if name == WATCH:
                return watch_tad.prepare(progress, source=source)
            if name == ONESTOP:
                return onestop.prepare(progress, source=source)
            return emoji.prepare(load_recipe(), progress, source=source, image_size=size, workers=workers or _cores())
    except OSError as error:
        raise DataError(
            f"the data cache {data_dir()} cannot be used ({error.strerror or error}: {error.filename}): "
            f"make room or allow writing, or set VISION_SUITE_DATA to another folder"
        ) from error


def verify(name: str, *, image_size: int | None = None, quiet: bool = False) -> VerifyReport:
    """Recount and recheck every file of a prepared set; the report's ``problems`` are empty if all is well.

    Args:
        name: The set, as for `prepare`.
        image_size: Side of the pictures in pixels, 64 if not given.
        quiet: Show no progress bar.

    Raises:
        ConfigError: There is no such set.
        DataError: It is not prepared, or its manifest cannot be read.
    """
    from vision_suite.datasets.emoji import build as emoji
    from vision_suite.datasets.emoji.recipe import load_recipe
    from vision_suite.datasets.scanpath import onestop
    from vision_suite.datasets.tad import watch_tad

    size = _size_of(name, image_size)
    folders = {WATCH: watch_tad.folder_of, ONESTOP: onestop.folder_of}
    folder = folders[name]() if name in folders else emoji.folder_of(size)
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist: run `{_command(folder.name)}`")
    with progress_bars(quiet) as progress:
        if name == WATCH:
            return watch_tad.verify(progress)
        if name == ONESTOP:
            return onestop.verify(progress)
        return emoji.verify(folder, load_recipe(), progress)


def prepare_command(root: str) -> str | None:
    """The command that prepares a data root such as ``emoji-reid-64/a``; None if the catalog does not know it."""
    known = [part for part in Path(root).parts if part in (EMOJI, WATCH, ONESTOP) or _FOLDER.fullmatch(part)]
    return _command(known[0]) if known else None


def _emoji_entry(size: int) -> CatalogEntry:
    path = data_dir() / f"{EMOJI}-{size}"
    return CatalogEntry(
        name=EMOJI if size == EMOJI_SIZE else path.name,
        description=f"1,396 emoji drawn by up to 8 designs, 8,767 pictures of {size} x {size}; fetches 21 MB",
        task="re-ID (protocols a, b, c0..c7) and classification (fgvc, closed)",
        licence="Apache-2.0, MIT, CC-BY-4.0, CC-BY-SA-4.0, by design",
        path=path,
        prepared=(path / "MANIFEST.json").is_file(),
    )


def _entry(name: str, description: str, task: str, licence: str) -> CatalogEntry:
    path = data_dir() / name
    return CatalogEntry(name, description, task, licence, path, prepared=(path / "MANIFEST.json").is_file())


def _watch_entry() -> CatalogEntry:
    return _entry(
        WATCH,
        "240 sequences of 30 s from 10 people's smartwatches, 6 exercises; fetches 11 MB",
        "temporal action detection, tested on unseen people",
        "package BSD; the recordings' own terms are not stated in it",
    )


def _onestop_entry() -> CatalogEntry:
    return _entry(
        ONESTOP,
        "2 readers x 12 pages, 3,209 fixations on 1,307 words; fetches 3 MB, with word vectors 86 MB",
        "scanpaths, tested on unseen pages or readers",
        "CC-BY-4.0 (eye movements), CC-BY-SA-4.0 (texts and pictures)",
    )


def _size_of(name: str, image_size: int | None) -> int:
    """The picture size meant by a name and an option that may both hold one; 0 for a set without pictures."""
    if name in (WATCH, ONESTOP):
        if image_size is not None:
            why = "no pictures" if name == WATCH else "pictures of one size"
            raise ConfigError(f"{name} has {why}: leave image_size={image_size} out")
        return 0
    match = _FOLDER.fullmatch(name)
    if match is None and name != EMOJI:
        raise ConfigError(f"no set is called {name!r}: choose {EMOJI}, {EMOJI}-<size>, {WATCH} or {ONESTOP}")
    if match is not None and image_size not in (None, int(match[1])):
        raise ConfigError(f"{name} and image_size={image_size} disagree: give one of them")
    return int(match[1]) if match else EMOJI_SIZE if image_size is None else image_size


def _cores() -> int:
    # More would spend their time on starting: the whole set is ten seconds of one core.
    return min(os.cpu_count() or 1, 16)


def _command(folder_name: str) -> str:
    return f"vision-suite data prepare {EMOJI if folder_name == f'{EMOJI}-{EMOJI_SIZE}' else folder_name}"
