"""The log of a training run, read over all its parts."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from vision_suite.viz.training import Series

Points = dict[str, dict[float, float]]


def read_log(folder: Path) -> dict[str, Series]:
    """Steps and values of each column of a run's ``metrics.csv``, after those of earlier parts (``metrics-1.csv`` ...).

    A part counts from its first step on: later steps of earlier parts were repeated by the run that wrote it. A line
    that was cut off by the end of a process is left out.
    """
    parts = sorted(folder.glob("metrics-*.csv"), key=lambda path: (len(path.name), path.name))
    found: Points = {}
    for path in [*parts, folder / "metrics.csv"]:
        points, begins = _part(path) if path.is_file() else ({}, np.inf)
        for key, values in found.items():
            found[key] = {step: value for step, value in values.items() if step < begins}
        for key, values in points.items():
            found.setdefault(key, {}).update(values)
    series = {key: sorted(values.items()) for key, values in found.items()}
    return {key: (np.array([s for s, _ in p]), np.array([v for _, v in p])) for key, p in series.items() if p}


def _part(path: Path) -> tuple[Points, float]:
    """Values by column and step of one file, and the step at which it begins to count."""
    text = path.read_bytes()
    lines = text[: text.rfind(b"\n") + 1].decode(errors="replace").splitlines()
    points: Points = {}
    begins, marked = np.inf, False
    for row in csv.DictReader(lines):
        step = float(row.pop("step", None) or "nan")
        values = {key: float(value) for key, value in row.items() if value and key != "epoch"}
        if not values and not marked:  # the mark of a resumed run
            begins, marked = step, True
        elif not marked:
            # Without the mark, of an older version, something of the first step may be in the part before alone.
            begins = min(begins, np.nextafter(step, np.inf))
        for key, value in values.items():
            points.setdefault(key, {})[step] = value
    return points, begins
