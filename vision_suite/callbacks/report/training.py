"""The log of a training run, sorted into the panels of ``training.png``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from vision_suite.types.curves import CurvePanel, Series
from vision_suite.viz.training import Panel

IN_A_PANEL = 6  # curves without a place of their own


def panels(
    log: Mapping[str, Series], declared: Sequence[CurvePanel], tables: Collection[str] = (), *, averaged: bool = False
) -> list[Panel]:
    """Panels of a log: those that a method declares, then losses, and whatever else was logged under its own name.

    Args:
        log: Steps and values by metric key, see `runs.log.read_log`; one without any finite value has no curve.
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
