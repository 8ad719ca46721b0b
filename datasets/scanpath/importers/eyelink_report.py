"""Fixation reports of EyeLink's Data Viewer: a table with a row for each fixation.

Places are pixels of the screen from its upper left corner and durations are milliseconds, as Data Viewer writes them.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from vision_suite.datasets.scanpath.importers.recording import Eye, Fixation, Recording, View, fixation_or_none
from vision_suite.datasets.scanpath.importers.sheets import Row, column_of, column_or_none, decimal, read_sheet
from vision_suite.errors import DataError

SUBJECT = ("RECORDING_SESSION_LABEL", "DATA_FILE")
TRIAL = ("TRIAL_INDEX", "TRIAL_LABEL")
PICTURE = ("image", "picture", "stimulus", "imagename", "image_name", "img", "imagefile", "image_file")
EYES = ("EYE_USED", "CURRENT_FIX_EYE", "EYE_REPORTED")
_SIDES = {"left": "left", "l": "left", "right": "right", "r": "right"}


def read_report(
    path: Path,
    *,
    subject: str | None = None,
    picture: str | None = None,
    trial: str | None = None,
    eye: Eye | None = None,
) -> Recording:
    """Read a fixation report.

    Args:
        path: The file, separated by tabs or commas.
        subject: Column of the observer.
        picture: Column of the picture, a variable of the experiment.
        trial: Column of the trial.
        eye: Eye to take of trials with fixations of both; by default the right one.

    Raises:
        DataError: The file is malformed or lacks a column.
    """
    rows, where = read_sheet(path), f"report {str(path)!r}"
    columns = {
        "subject": column_of(rows[0], SUBJECT, subject, "subject", where),
        "trial": column_of(rows[0], TRIAL, trial, "trial", where),
        "picture": column_of(rows[0], PICTURE, picture, "picture (--picture)", where),
        "x": column_of(rows[0], ("CURRENT_FIX_X",), None, "place", where),
        "y": column_of(rows[0], ("CURRENT_FIX_Y",), None, "place", where),
        "duration": column_of(rows[0], ("CURRENT_FIX_DURATION",), None, "duration", where),
    }
    order = column_or_none(rows[0], ("CURRENT_FIX_START", "CURRENT_FIX_INDEX"))
    found = Recording()
    eyes = column_or_none(rows[0], EYES)
    own, found.facts["eye"] = of_one_eye(rows, columns, eyes, eye, where, found.counts)
    found.views = views_of(own, columns, order, where, found.counts)
    found.facts["coordinates"] = "pixels of the screen from its upper left corner, CURRENT_FIX_X and CURRENT_FIX_Y"
    found.facts["time_unit"] = "ms, as Data Viewer writes"
    found.facts["trials"] = f"by {columns['subject']}, {columns['trial']} and {columns['picture']}"
    return found


def of_one_eye(
    rows: Sequence[Row],
    columns: Mapping[str, str],
    column: str | None,
    eye: Eye | None,
    where: str,
    counts: Counter[str],
) -> tuple[dict[int, Row], str]:
    """Rows by number in the file, of one eye in viewings that have fixations of both, and words about the eye.

    Args:
        rows: Rows of the table.
        columns: Columns of subject, trial and picture.
        column: Column that names the eye, None for none.
        eye: Eye to take; None takes the right one where there are both.
        where: The file, for messages.
        counts: Counter of what is left out.

    Raises:
        DataError: An eye is asked for that the file does not have or name.
    """
    sides = ["" if column is None else _SIDES.get(row[column].strip().lower(), "") for row in rows]
    named = sorted({side for side in sides if side})
    if eye is not None and eye not in named:
        raise DataError(f"{where} names no fixations of the {eye} eye (it has {', '.join(named) or 'no eye'}): leave "
                        "--eye out")  # fmt: skip
    keys = [tuple(row[columns[name]] for name in ("subject", "trial", "picture")) for row in rows]
    eyes: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for key, side in zip(keys, sides, strict=True):
        eyes[key].add(side)
    both = {key for key, own in eyes.items() if {"left", "right"} <= own}
    taken = eye or "right"
    kept = {
        row_number: row
        for row_number, (row, key, side) in enumerate(zip(rows, keys, sides, strict=True), start=2)
        if key not in both or side in ("", taken)
    }
    counts["fixations_of_the_other_eye"] += len(rows) - len(kept)
    words = f"as reported: {', '.join(named)}" if named else "as reported"
    return kept, words + (f" ({taken} where both are{'' if eye else '; --eye chooses'})" if both else "")


def views_of(
    rows: Mapping[int, Row], columns: Mapping[str, str], order: str | None, where: str, counts: Counter[str]
) -> list[View]:
    """Viewings of a table with a row for each fixation.

    Args:
        rows: Rows of the table by their number in the file.
        columns: Columns of subject, trial, picture, x, y and duration.
        order: Column that tells the order of fixations; None takes the file's.
        where: The file, for messages.
        counts: Counter of what is left out.
    """
    groups: dict[tuple[str, str, str], list[Fixation]] = defaultdict(list)
    first: dict[tuple[str, str, str], Row] = {}
    for row_number, row in rows.items():
        place = f"{where} row {row_number}"
        key = (row[columns["subject"]], row[columns["trial"]], Path(row[columns["picture"]].replace("\\", "/")).name)
        if key[2].lower() in ("", ".", "undefined", "undefinednull", "nan", "none", "null"):
            counts["fixations_without_picture"] += 1
            continue
        x, y, duration = (decimal(row[columns[name]], place, columns[name]) for name in ("x", "y", "duration"))
        start = math.nan if order is None else decimal(row[order], place, order)
        fixation = fixation_or_none(x, y, duration, row_number if math.isnan(start) else start, counts)
        first.setdefault(key, row)
        if fixation is not None:
            groups[key].append(fixation)
    views = []
    for key, row in first.items():
        own = sorted(groups[key], key=lambda fixation: fixation.start)
        counts["trials_sorted"] += own != groups[key]
        views.append(View(key[0], key[1], key[2], own, variables=dict(row)))
    return views
