"""Log of a run: the rows of ``metrics.csv``, read over all parts of a run that was resumed."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vision_suite.types.curves import Series

Points = dict[str, dict[float, float]]
LOG = "metrics.csv"


@dataclass(frozen=True)
class RunLog:
    """Log of a run.

    Attributes:
        series: Steps (T,) and values (T,) by column.
        parts: Number of files: one more each time that the run was resumed and logged again.
        faults: What could not be read, a line each.
    """

    series: dict[str, Series]
    parts: int
    faults: tuple[str, ...] = ()


def read_log(folder: Path) -> dict[str, Series]:
    """Steps and values of each column of a run's ``metrics.csv``, after those of earlier parts: see `read_run_log`."""
    return read_run_log(folder).series


def read_run_log(folder: Path) -> RunLog:
    """Read a run's ``metrics.csv`` and those of its earlier parts (``metrics-1.csv`` ...).

    A part counts from its first step on: later steps of earlier parts were repeated by the run that wrote it. A line
    that was cut off by the end of a process is left out. A file without the column ``step`` is read by ``epoch``.

    Args:
        folder: Folder of the run.
    """
    earlier = sorted(folder.glob("metrics-*.csv"), key=lambda path: (len(path.name), path.name))
    files = [path for path in [*earlier, folder / LOG] if path.is_file()]
    found: Points = {}
    faults: list[str] = []
    for path in files:
        points, begins = _part(path, faults)
        for key, values in found.items():
            found[key] = {step: value for step, value in values.items() if step < begins}
        for key, values in points.items():
            found.setdefault(key, {}).update(values)
    series = {key: _series(values) for key, values in found.items() if values}
    return RunLog(series, len(files), tuple(faults))


def _series(values: dict[float, float]) -> Series:
    """Values in the order of their steps."""
    steps = np.fromiter(values, np.float64, len(values))
    order = np.argsort(steps)
    return steps[order], np.fromiter(values.values(), np.float64, len(values))[order]


def _part(path: Path, faults: list[str]) -> tuple[Points, float]:
    """Values by column and step of one file, and the step at which it begins to count; faults are added to the list."""
    try:
        text = path.read_bytes()
    except OSError as error:
        faults.append(f"{path.name} cannot be read ({error.strerror})")
        return {}, math.inf
    end = text.rfind(b"\n") + 1
    if end < len(text):
        faults.append(f"{path.name}: its last line is cut off and left out")
    rows = csv.reader(text[:end].decode(errors="replace").splitlines())
    points: Points = {}
    begins, marked, unreadable = math.inf, False, 0
    try:
        names = next(rows, [])
        clock = names.index("step") if "step" in names else names.index("epoch") if "epoch" in names else len(names)
        columns = [(place, key) for place, key in enumerate(names) if key not in ("", "step", "epoch")]
        for row in rows:
            step = _number(row[clock]) if clock < len(row) else None
            if step is None or not math.isfinite(step):
                unreadable += bool(row)
                continue
            # Fields beyond the header belong to no column.
            fields = [(key, row[place]) for place, key in columns if place < len(row) and row[place]]
            for key, field in fields:
                value = _number(field)
                if value is None:
                    unreadable += 1
                else:
                    points.setdefault(key, {})[step] = value
            if not fields and not marked:  # the mark of a resumed run
                begins, marked = step, True
            elif not marked:
                # Without the mark, of an older version, something of the first step may be in the part before alone.
                begins = min(begins, math.nextafter(step, math.inf))
    except csv.Error as error:
        faults.append(f"{path.name} is no CSV from line {rows.line_num} on ({error})")
    if unreadable:
        faults.append(f"{path.name}: {unreadable:,} fields are no numbers and left out")
    if not points:
        faults.append(f"{path.name} holds no values")
    return points, begins


def _number(text: str) -> float | None:
    """The number that a field holds; None if it holds none."""
    try:
        return float(text)
    except ValueError:
        return None
