"""Log of a sweep's trial: one line of JSON for each validation and each epoch, in the file that a variable names.

``VISION_SUITE_TRIAL_LOG`` is set by ``vision-suite sweep``. Its folder is the folder of the trial, in which ``fit``
then trains. Any other program can write the file too: each line has ``step`` and ``metrics``, and ``epoch`` if there is
one. A line whose step was told before replaces the earlier value of its metrics.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vision_suite.errors import is_number

VARIABLE = "VISION_SUITE_TRIAL_LOG"
NAME = "values.jsonl"


class Logged(NamedTuple):
    """One logged value of a metric.

    Attributes:
        step: Step at which it was logged.
        epoch: Epoch, None where none is told.
        value: Value, None for one that is not finite.
    """

    step: int
    epoch: int | None
    value: float | None


def trial_folder() -> Path | None:
    """Folder of the trial that this process is, None outside a sweep."""
    log = os.environ.get(VARIABLE)
    return Path(log).parent if log else None


def log_values(metrics: Mapping[str, float], step: int, epoch: int | None) -> None:
    """Append a line to the trial's log; nothing is written outside a sweep.

    Args:
        metrics: Values by name.
        step: Number of optimiser steps so far.
        epoch: Epoch.
    """
    log = os.environ.get(VARIABLE)
    if not log or not metrics:
        return
    finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
    line = json.dumps({"step": step, "epoch": epoch, "metrics": finite})
    append_line(Path(log), line)


def append_line(path: Path, line: str) -> None:
    """Append a line and wait until it is on the disk; a torn line before it, of a killed writer, is ended first."""
    with path.open("a+b") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = f"\n{line}"
        file.write(f"{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())


def read_values(path: Path) -> list[dict[str, Any]]:
    """Lines of a trial's log, oldest first; torn ones and those of another form are left out."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    lines = []
    # What stands behind the last line end may still be written.
    for line in text.rpartition("\n")[0].splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and isinstance(found.get("metrics"), dict) and isinstance(found.get("step"), int):
            lines.append(found)
    return lines


def values_of(lines: list[dict[str, Any]], metric: str) -> list[Logged]:
    """Values of a metric in the order of their steps; of one step the last."""
    found: dict[int, Logged] = {}
    for line in lines:
        if metric in line["metrics"]:
            value, epoch = line["metrics"][metric], line.get("epoch")
            found[line["step"]] = Logged(
                line["step"], epoch if isinstance(epoch, int) else None, float(value) if is_number(value) else None
            )
    return [found[step] for step in sorted(found)]


def last_epoch(lines: list[dict[str, Any]]) -> int:
    """Greatest epoch that was logged, or step where no epoch is; -1 if nothing was."""
    epochs = [line["epoch"] for line in lines if isinstance(line.get("epoch"), int)]
    return max(epochs or [line["step"] for line in lines], default=-1)
