"""The log of a training run: read over all its parts, and sorted into the panels of ``training.png``."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from vision_suite.types.curves import CurvePanel
from vision_suite.viz.training import Panel, Series

Points = dict[str, dict[float, float]]
IN_A_PANEL = 6  # curves without a place of their own


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


def panels(
    log: Mapping[str, Series], declared: Sequence[CurvePanel], tables: Collection[str] = (), *, averaged: bool = False
) -> list[Panel]:
    """Panels of a log: those that a method declares, then losses, and whatever else was logged under its own name.

    Args:
        log: Steps and values by metric key, see `read_log`; one without any finite value has no curve.
        declared: Panels of the method.
        tables: Further validation keys that the method shows in tables alone.
        averaged: Validation used an average of the weights.
    """
    log = {key: series for key, series in log.items() if np.isfinite(series[1]).any()}
    placed = {key for panel in declared for key in panel.curves}
    found = [_declared(panel, log, averaged) for panel in declared]
    rest = {key: log[key] for key in sorted(log) if key not in placed}
    scores = [key for key in rest if key.startswith("val/") and key not in tables]
    losses = [key for key in rest if key == "train/loss" or key.startswith("train/loss_")]
    rates = [key for key in rest if key == "lr" or key.startswith(("lr/", "lr-"))]
    other = [key for key in rest if key.startswith("train/") and key not in losses]
    weights = " (EMA)" if averaged else ""
    found += _own_names(f"Validation{weights}", "", scores, rest)
    found.append(Panel("Training loss", "loss", {_loss(key): rest[key] for key in losses}))
    found += _own_names("Training", "", other, rest)
    found.append(Panel("Learning rate", "rate", {_rate(key): rest[key] for key in rates}))
    return [panel for panel in found if panel.curves]


def _declared(panel: CurvePanel, log: Mapping[str, Series], averaged: bool) -> Panel:
    """A declared panel with the curves that the log holds."""
    factor = 100.0 if panel.share else 1.0
    held = {label: log[key] for key, label in panel.curves.items() if label and key in log}
    validated = averaged and any(key.startswith("val/") for key in panel.curves)
    return Panel(
        f"{panel.heading} (EMA)" if validated else panel.heading,
        "%" if panel.share else panel.unit,
        {label: (steps, factor * values) for label, (steps, values) in held.items()},
    )


def _own_names(heading: str, unit: str, keys: Sequence[str], log: Mapping[str, Series]) -> Iterable[Panel]:
    """Panels of curves under their own names."""
    for start in range(0, len(keys), IN_A_PANEL):
        curves = {key.partition("/")[2]: log[key] for key in keys[start : start + IN_A_PANEL]}
        yield Panel(heading if start == 0 else f"{heading}, continued", unit, curves)


def _loss(key: str) -> str:
    return "total" if key == "train/loss" else key.removeprefix("train/loss_")


def _rate(key: str) -> str:
    return key[3:] or "rate"


def _part(path: Path) -> tuple[Points, float]:
    """Values by column and step of one file, and the step at which it begins to count."""
    text = path.read_bytes()
    lines = text[: text.rfind(b"\n") + 1].decode(errors="replace").splitlines()
    points: Points = {}
    begins, marked = np.inf, False
    for row in csv.DictReader(lines):
        step = float(row.pop("step", None) or "nan")
        # Fields beyond the header have the key None.
        values = {key: float(value) for key, value in row.items() if key and value and key != "epoch"}
        if not values and not marked:  # the mark of a resumed run
            begins, marked = step, True
        elif not marked:
            # Without the mark, of an older version, something of the first step may be in the part before alone.
            begins = min(begins, np.nextafter(step, np.inf))
        for key, value in values.items():
            points.setdefault(key, {})[step] = value
    return points, begins
