"""What every prepared set has in common: a manifest, progress, and the outcome of checking it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vision_suite.datasets.prepare.archives import sha256_of
from vision_suite.datasets.prepare.fetch import Archive, building, locked
from vision_suite.errors import DataError

logger = logging.getLogger(__name__)
MANIFEST = "MANIFEST.json"

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class VerifyReport:
    """What a check looked at and what it found wrong, one line each; nothing wrong means an empty ``problems``."""

    path: Path
    lists: int
    files: int
    problems: tuple[str, ...]


def as_json(record: Mapping[str, Any]) -> str:
    """A manifest as text."""
    return json.dumps(record, indent=1)


def load_manifest(folder: Path, keys: set[str], command: str) -> dict[str, Any]:
    """The manifest of a prepared folder.

    Args:
        folder: The prepared folder.
        keys: What it must hold.
        command: What prepares the set.

    Raises:
        DataError: There is none, or it lacks a key.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if not keys <= set(manifest):
            raise ValueError("keys are missing")
    except FileNotFoundError:
        raise DataError(f"{folder} holds no {MANIFEST}: run `{command}`") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} cannot be read ({error}): delete the folder and prepare it again") from None
    return dict(manifest)


def source_of(archive: Archive) -> dict[str, Any]:
    """What a manifest says of an archive."""
    return {"client": archive.client, "package": archive.name, "version": archive.version, "sha256": archive.sha256}


def prepare_once(target: Path, why_not_ready: Callable[[Path], str | None], build: Callable[[Path], None]) -> Path:
    """Build a set unless it is there; other processes wait for the one that works, and see it whole or not at all.

    Args:
        target: The prepared folder.
        why_not_ready: What is wrong with it, None if nothing is.
        build: Writes the set into an empty path.
    """
    if why_not_ready(target) is None:
        return target
    with locked(target):
        reason = why_not_ready(target)
        if reason is None:
            return target
        if target.exists():
            logger.warning("%s: %s: preparing it again", target, reason)
        with building(target) as part:
            build(part)
    return target


def missing_file(folder: Path, manifest: Mapping[str, Any]) -> str | None:
    """The first file of a manifest's ``checksums`` that is not there, in words; None if all are."""
    missing = [name for name in manifest["checksums"] if not (folder / name).is_file()]
    return f"{missing[0]} is missing" if missing else None


def changed_files(folder: Path, manifest: Mapping[str, Any], progress: Progress) -> list[str]:
    """What is wrong with the files of a manifest's ``checksums``, each read whole; a line each."""
    checksums = manifest["checksums"]
    problems = []
    for done, (name, expected) in enumerate(checksums.items()):
        if not (folder / name).is_file() or sha256_of(folder / name) != expected:
            problems.append(f"{name}: missing or changed")
        progress("checking", done + 1, len(checksums))
    return problems


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """One bar per stage on the error stream; nothing when quiet."""
    if quiet:
        yield lambda stage, done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress, TaskID

    with Progress(console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show
