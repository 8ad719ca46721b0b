"""Names of run folders: each run claims a folder of its own, however many start at once."""

from __future__ import annotations

import os
import re
from pathlib import Path

from vision_suite.errors import ConfigError

CHECKPOINTS = "checkpoints"
LAST = "last.ckpt"


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
    try:
        folder.rmdir()
    except OSError:
        return  # not empty, or gone


def _number(name: str) -> int | None:
    """The number of a folder named ``version_<n>``."""
    match = re.fullmatch(r"version_(\d+)", name)
    return None if match is None else int(match.group(1))
