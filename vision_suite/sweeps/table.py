"""Table of a sweep's trials, from its events alone: without times, so that two tables can be compared."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from vision_suite.drafts import write_whole
from vision_suite.sweeps.events import FINISHED, STOPPED, SweepTrial, TrialEvents
from vision_suite.sweeps.settings import SweepFile

CSV, MARKDOWN, PICTURE = "table.csv", "table.md", "parallel.png"


def value_of(sweep: SweepFile, trial: SweepTrial) -> float | None:
    """The value that a trial is ranked by: its best, or its last where it was stopped early; None without one."""
    if sweep.metric is None or not trial.history or trial.state not in (FINISHED, STOPPED):
        return None
    if trial.state == STOPPED:
        return trial.history[-1]
    return min(trial.history, key=lambda value: sweep.metric.sign * value if sweep.metric else value)


def ranked(sweep: SweepFile, events: TrialEvents) -> list[SweepTrial]:
    """Trials from the best to the worst, then those without a value, in the order of their numbers."""

    def place(trial: SweepTrial) -> tuple[bool, float, int]:
        value, sign = value_of(sweep, trial), 1.0 if sweep.metric is None else sweep.metric.sign
        return value is None, 0.0 if value is None else sign * value, trial.number

    return sorted(events.trials.values(), key=place)


def rows(sweep: SweepFile, events: TrialEvents) -> tuple[list[str], list[list[Any]]]:
    """Heads and cells of the table, a row a trial, best first; a cell without a value is None."""
    names = [parameter.name for parameter in sweep.parameters]
    metric = [] if sweep.metric is None else [sweep.metric.name, "last", "values"]
    found = []
    for trial in ranked(sweep, events):
        last = trial.history[-1] if trial.history else None
        measured = [value_of(sweep, trial), last, len(trial.values)] if metric else []
        cells = [parameter.of(trial.args) for parameter in sweep.parameters]
        found.append([trial.number, trial.state, *measured, *cells])
    return ["trial", "state", *metric, *names], found


def write_tables(sweep: SweepFile, events: TrialEvents, folder: Path) -> str:
    """Write ``table.csv`` and ``table.md`` into a sweep's folder, and return the text of the latter."""
    heads, found = rows(sweep, events)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(found)
    write_whole(folder / CSV, text.getvalue())
    cells = [heads, ["---"] * len(heads), *([shown(cell) for cell in row] for row in found)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in cells)
    write_whole(folder / MARKDOWN, f"# {sweep.name}\n\n{table}\n")
    return table


def shown(cell: object) -> str:
    """A cell as text in Markdown."""
    if cell is None:
        return "-"
    text = f"{cell:.6g}" if isinstance(cell, float) else str(cell)
    return text.replace("|", "\\|").replace("\n", " ")
