"""Folder of a sweep, ``<runs>/sweeps/<name>``: its file, events and trials, and the lock of the process at work."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from vision_suite.drafts import write_whole
from vision_suite.errors import ConfigError, storage_error
from vision_suite.runs.record import process_identity
from vision_suite.sweeps.events import LOG
from vision_suite.sweeps.settings import SweepFile, folder_name, read_sweep

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SWEEPS, STORED, LOCK = "sweeps", "sweep.yaml", ".lock"


def store_file(folder: Path, file: Path) -> None:
    """Begin a sweep in its folder with a copy of its file; the caller holds the lock.

    Args:
        folder: Folder of the sweep.
        file: File of the sweep.

    Raises:
        ConfigError: The folder holds a sweep.
    """
    if (folder / LOG).exists():
        raise ConfigError(
            f"{folder} holds a sweep: go on with 'vision-suite sweep resume {file}', or give it another 'name:'"
        )
    write_whole(folder / STORED, file.read_bytes())


def folder_of(sweep: SweepFile, runs: Path) -> Path:
    """Folder of a sweep.

    Args:
        sweep: The sweep.
        runs: Folder of all runs.
    """
    return runs / SWEEPS / folder_name(sweep.name)


def known_folder(given: Path, runs: Path) -> Path:
    """The folder of a sweep that was started before.

    Args:
        given: The sweep's file, or its folder wherever it lies now.
        runs: Folder of all runs.

    Raises:
        ConfigError: There is none, or the file has changed since the sweep began; the differing keys are told.
    """
    if given.is_dir():
        folder = given
    else:
        sweep = read_sweep(given)
        folder = folder_of(sweep, runs)
    if not (folder / STORED).is_file() or not (folder / LOG).is_file():
        raise ConfigError(f"{folder} holds no sweep: start it with 'vision-suite sweep run', or name its folder")
    if not given.is_dir():
        changed = differing(read_sweep(folder / STORED).contents, sweep.contents)
        if changed:
            raise ConfigError(
                f"{given} was changed since {folder} began ({', '.join(changed)}): undo that, or start a sweep of "
                "another name"
            )
    return folder


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Keys of two mappings whose values differ, dotted where they are nested."""
    first, second = dict(_flat(before)), dict(_flat(after))
    return sorted(key for key in {*first, *second} if first.get(key, ...) != second.get(key, ...))


def locked(folder: Path) -> BinaryIO:
    """Take a sweep's folder, which is made if it is missing, until the returned file is closed or the process ends.

    Raises:
        ConfigError: Another process works on the sweep.
        StorageError: The folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / LOCK, "a+b")
    except OSError as error:
        raise storage_error(error, folder) from error
    left = _holder(file)
    try:
        if fcntl is not None:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        taken = False
    except (BlockingIOError, PermissionError):
        taken = True
    except OSError:  # a file system without locks
        taken = left is not None and left == process_identity(left.get("pid"))
    if taken:
        file.close()
        who = "" if left is None else f", process {left.get('pid')} on {left.get('host')}"
        raise ConfigError(f"{folder} is being worked on by another command{who}: stop that one first")
    file.truncate(0)
    file.write(json.dumps(process_identity()).encode())
    file.flush()
    os.fsync(file.fileno())
    return file


def _holder(file: BinaryIO) -> dict[str, Any] | None:
    """The process that a lock names."""
    file.seek(0)
    try:
        found = json.loads(file.read())
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings by dotted key."""
    for name, value in tree.items():
        key = f"{above}.{name}" if above else str(name)
        if isinstance(value, Mapping) and value:
            yield from _flat(value, key)
        else:
            yield key, value
