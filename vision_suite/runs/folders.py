"""Names of run folders: each run claims a folder of its own, however many start at once."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import BinaryIO

from vision_suite.errors import CheckpointError, ConfigError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

CHECKPOINTS = "checkpoints"
LAST = "last.ckpt"
LOCK = ".lock"


def claim(parent: Path) -> Path:
    """Make the next free folder ``version_<n>``; of several processes that ask at once, each gets another one.

    Args:
        parent: Folder of an experiment's runs; made if it is missing.

    Raises:
        ConfigError: The folder cannot be made.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except (NotADirectoryError, FileExistsError) as error:
        raise ConfigError(f"{parent} is no folder: give another --trainer.default_root_dir") from error
    number = 1 + max((found for name in os.listdir(parent) if (found := _number(name)) is not None), default=-1)
    while True:
        folder = parent / f"version_{number}"
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1


def release(folder: Path) -> None:
    """Remove a claimed folder in which nothing was written."""
    with contextlib.suppress(OSError):  # not empty, or gone
        if {path.name for path in folder.iterdir()} <= {LOCK}:
            (folder / LOCK).unlink(missing_ok=True)
            folder.rmdir()


def occupy(folder: Path) -> BinaryIO:
    """Keep other processes from training in a folder, until the returned file is closed or the process ends.

    Raises:
        CheckpointError: Another process trains in it.
    """
    file = open(folder / LOCK, "ab")
    try:
        if fcntl is not None:
            # A record lock, which workers forked by this process do not hold beyond its end.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.close()
        raise CheckpointError(f"{folder} is being trained by another process: stop that one first") from error
    except OSError:
        return file  # a file system without locks
    return file


def _number(name: str) -> int | None:
    """The number of a folder named ``version_<n>``."""
    match = re.fullmatch(r"version_(\d+)", name)
    return None if match is None else int(match.group(1))
