"""Log of a run: the rows of ``metrics.csv``, read over all parts of a run that was resumed."""

from __future__ import annotations

import csv
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
    series = {key: sorted(values.items()) for key, values in found.items()}
    arrays = {key: (np.array([s for s, _ in p]), np.array([v for _, v in p])) for key, p in series.items() if p}
    return RunLog(arrays, len(files), tuple(faults))


def _part(path: Path, faults: list[str]) -> tuple[Points, float]:
    """Values by column and step of one file, and the step at which it begins to count; faults are added to the list."""
    try:
        text = path.read_bytes()
    except OSError as error:
        faults.append(f"{path.name} cannot be read ({error.strerror})")
        return {}, np.inf
    end = text.rfind(b"\n") + 1
    if end < len(text):
        faults.append(f"{path.name}: its last line is cut off and left out")
    rows = csv.reader(text[:end].decode(errors="replace").splitlines())
    points: Points = {}
    begins, marked, unreadable = np.inf, False, 0
    try:
        names = next(rows, [])
        clock = "step" if "step" in names else "epoch"
        for row in rows:
            fields = dict(zip(names, row, strict=False))  # fields beyond the header belong to no column
            step = _number(fields.pop(clock, ""))
            fields.pop("epoch", None)
            if step is None or not np.isfinite(step):
                unreadable += bool(row)
                continue
            read = {key: _number(value) for key, value in fields.items() if key and value}
            values = {key: value for key, value in read.items() if value is not None}
            unreadable += len(read) - len(values)
            if not read and not marked:  # the mark of a resumed run
                begins, marked = step, True
            elif not marked:
                # Without the mark, of an older version, something of the first step may be in the part before alone.
                begins = min(begins, float(np.nextafter(step, np.inf)))
            for key, value in values.items():
                points.setdefault(key, {})[step] = value
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
