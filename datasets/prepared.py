"""What every prepared set has in common: a manifest, progress, and the outcome of checking it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vision_suite.errors import DataError

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
