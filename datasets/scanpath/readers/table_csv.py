"""Boxes and fixations as CSV, one row each, gathered to one entry per scene and per trial."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from vision_suite.datasets.files import JsonObject, read_table
from vision_suite.datasets.scanpath.times import duration_column
from vision_suite.datasets.scanpath.values import number
from vision_suite.errors import DataError

ROWS = "\0rows"  # key of an entry: the number of each fixation's row in the file, for messages
BOX_COLUMNS = ("image", "x1", "y1", "x2", "y2", "label", "width", "height")
FIXATION_COLUMNS = ("image", "subject", "x", "y", "trial", "task", "condition", "target", "object", "subset")
TIMES = ("duration",)
INDEX, TIME = ("index", "order"), ("time", "start", "onset", "timestamp")  # columns that tell the order of fixations
SAME = ("target", "condition", "subset")  # columns whose value holds for a whole trial


@dataclass
class Viewing:
    """Rows of one trial.

    Attributes:
        rows: The rows by their number in the file.
        apart: Number of the first row that follows rows of another trial, 0 for none.
        subject_apart: The same, of another trial of the same subject.
    """

    rows: dict[int, dict[str, str]] = field(default_factory=dict)
    apart: int = 0
    subject_apart: int = 0


def unread_columns(names: Sequence[str], known: Sequence[str], where: str) -> list[str]:
    """A line about columns or keys that are not read; empty where there is none.

    Args:
        names: Columns or keys of the file.
        known: Those that are read.
        where: The file, for the message.
    """
    unread = [name for name in names if name not in known]
    return [f"{where}: not read: {', '.join(unread)} (known: {', '.join(known)})"] if unread else []


def box_rows(path: Path) -> tuple[list[JsonObject], list[str]]:
    """Rows of boxes as one entry per scene, and lines about what is not read.

    Raises:
        DataError: The file is missing or malformed, or the rows of a picture give it two sizes.
    """
    scenes: dict[str, JsonObject] = {}
    table = read_table(path, BOX_COLUMNS[:5])
    for row_number, row in enumerate(table, start=2):
        where = f"table {str(path)!r} row {row_number}"
        if not row["image"]:
            raise DataError(f"{where} has no image: name the picture")
        scene = scenes.setdefault(row["image"], {"image": row["image"], "boxes": [], "labels": []})
        scene["boxes"].append([number(row[side], where, side) for side in BOX_COLUMNS[1:5]])
        scene["labels"].append(row.get("label", ""))
        for side in ("width", "height"):
            if row.get(side):
                value = number(row[side], where, side)
                if scene.setdefault(side, value) != value:
                    raise DataError(
                        f"{where}: {side} is {value:g} and {scene[side]:g} in rows of {row['image']!r}: it is that of "
                        "the picture, not of the box (boxes are x1, y1, x2, y2)"
                    )
    return list(scenes.values()), unread_columns(list(table[0]), BOX_COLUMNS, f"table {str(path)!r}")


def fixation_rows(path: Path, problems: Counter[str]) -> tuple[list[JsonObject], list[str]]:
    """Rows of fixations as one entry per trial; image, subject, trial and task together tell one from another.

    Rows of a trial are in the order of the column index or time where there is one, else in the file's.

    Args:
        path: The table.
        problems: Counter of problems; trials that had to be sorted are counted.

    Returns:
        The trials, and lines about what is not read.

    Raises:
        DataError: The file is missing or malformed, or rows that look like one trial are two viewings.
    """
    where = f"table {str(path)!r}"
    table = read_table(path, FIXATION_COLUMNS[:4])
    columns = list(table[0])
    timed, unit = duration_column(columns, TIMES, where)
    order = next((name for name in (*INDEX, *TIME) if name in columns), None)
    viewings: dict[tuple[str, ...], Viewing] = {}
    last: tuple[str, ...] = ()
    lasts: dict[str, tuple[str, ...]] = {}  # by subject
    for row_number, row in enumerate(table, start=2):
        key = tuple(row.get(name, "") for name in ("image", "subject", "trial", "task"))
        viewing = viewings.setdefault(key, Viewing())
        if viewing.rows and key != last and not viewing.apart:
            viewing.apart = row_number
        if viewing.rows and key != lasts[row["subject"]] and not viewing.subject_apart:
            viewing.subject_apart = row_number
        viewing.rows[row_number] = row
        last = lasts[row["subject"]] = key
    clocks = set() if order is None else _one_clock(where, table, order)
    trials = []
    for viewing in viewings.values():
        _check_same(where, viewing)
        if order is None:
            if viewing.apart and not row_has(viewing, "trial"):
                raise DataError(
                    f"{where} rows {next(iter(viewing.rows))} and {viewing.apart}: {_who(viewing)} stands in rows with "
                    "others between them: tell two viewings apart by a column trial, or give the order of the "
                    "fixations of one by a column index"
                )
        else:
            apart = viewing.subject_apart
            if apart and viewing.rows[apart]["subject"] in clocks and not row_has(viewing, "trial"):
                raise DataError(
                    f"{where} rows {next(iter(viewing.rows))} and {apart}: {_who(viewing)} comes back to the picture "
                    f"after another one ({order} goes on through all rows of the subject): tell two viewings apart by "
                    "a column trial"
                )
            _sort(where, viewing, order, problems)
        first = next(iter(viewing.rows.values()))
        trial: JsonObject = {name: first[name] for name in ("image", "subject", "task", "condition", "subset", "trial")
                             if name in first}  # fmt: skip
        if first.get("target"):
            trial["target"] = first["target"]
        if unit is not None:
            trial["duration_unit"] = unit.unit
        trial["fixations"] = [
            [row["x"], row["y"], *([row[timed]] if timed is not None else [])] for row in viewing.rows.values()
        ]
        if "object" in first:
            trial["objects"] = [row["object"] for row in viewing.rows.values()]
        trial[ROWS] = list(viewing.rows)
        trials.append(trial)
    return trials, unread_columns(columns, [*FIXATION_COLUMNS, timed or TIMES[0], *INDEX, *TIME], where)


def _one_clock(where: str, table: Sequence[dict[str, str]], order: str) -> set[str]:
    """Subjects through all of whose rows the order grows, as the time of a whole recording does."""
    last: dict[str, float] = {}
    broken = set()
    for row_number, row in enumerate(table, start=2):
        value = number(row[order], f"{where} row {row_number}", order)
        if not value > last.get(row["subject"], -math.inf):
            broken.add(row["subject"])
        last[row["subject"]] = value
    return set(last) - broken


def row_has(viewing: Viewing, column: str) -> bool:
    """True if the rows of a trial have something in a column."""
    return bool(next(iter(viewing.rows.values())).get(column))


def _who(viewing: Viewing) -> str:
    first = next(iter(viewing.rows.values()))
    return f"subject {first['subject']!r} on {first['image']!r}"


def _check_same(where: str, viewing: Viewing) -> None:
    """Refuse rows of one trial that say different things about it."""
    first = next(iter(viewing.rows.values()))
    for row_number, row in viewing.rows.items():
        for name in SAME:
            if row.get(name) and row[name] != first[name]:
                raise DataError(
                    f"{where} row {row_number}: {name} is {first[name]!r} and {row[name]!r} in rows of one trial of "
                    f"{_who(viewing)}: repeat it, or tell trials apart by a column trial"
                )


def _sort(where: str, viewing: Viewing, order: str, problems: Counter[str]) -> None:
    """Bring rows into the order of a column, and count it.

    Raises:
        DataError: A value is missing or stands twice, or times go back where no column tells two viewings apart.
    """
    values = {n: number(row[order], f"{where} row {n}", order) for n, row in viewing.rows.items()}
    seen: dict[float, int] = {}
    for row_number, value in values.items():
        if math.isnan(value):
            raise DataError(f"{where} row {row_number}: {order} is missing: give it in every row, or in none")
        if value in seen:
            raise DataError(
                f"{where} rows {seen[value]} and {row_number}: {order} is {value:g} twice for {_who(viewing)}: tell "
                "two viewings apart by a column trial"
            )
        seen[value] = row_number
    numbers = list(values)
    back = next((b for a, b in pairwise(numbers) if values[b] < values[a]), None)
    if back is None:
        return
    if order in TIME and not row_has(viewing, "trial"):
        raise DataError(
            f"{where} row {back}: {order} goes back to {values[back]:g} for {_who(viewing)}: tell two viewings apart "
            f"by a column trial, or sort the rows of one by {order}"
        )
    viewing.rows = {n: viewing.rows[n] for n in sorted(numbers, key=values.__getitem__)}
    problems[f"trials_sorted_by_{order}"] += 1
