"""Fixation reports of EyeLink's Data Viewer: a table with a row for each fixation.

Places are pixels of the screen from its upper left corner and durations are milliseconds, as Data Viewer writes them.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from vision_suite.datasets.scanpath.importers.recording import Fixation, Recording, View, fixation_or_none
from vision_suite.datasets.scanpath.importers.sheets import Row, column_of, column_or_none, decimal, read_sheet

SUBJECT = ("RECORDING_SESSION_LABEL", "DATA_FILE")
TRIAL = ("TRIAL_INDEX", "TRIAL_LABEL")
PICTURE = ("image", "picture", "stimulus", "imagename", "image_name", "img", "imagefile", "image_file")
EYES = ("EYE_USED", "CURRENT_FIX_EYE", "EYE_REPORTED")


def read_report(
    path: Path, *, subject: str | None = None, picture: str | None = None, trial: str | None = None
) -> Recording:
    """Read a fixation report.

    Args:
        path: The file, separated by tabs or commas.
        subject: Column of the observer.
        picture: Column of the picture, a variable of the experiment.
        trial: Column of the trial.

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
    found.views = views_of(rows, columns, order, where, found.counts)
    eyes = column_or_none(rows[0], EYES)
    found.facts["eye"] = "as reported" if eyes is None else f"as reported: {', '.join(sorted({r[eyes] for r in rows}))}"
    found.facts["coordinates"] = "pixels of the screen from its upper left corner, CURRENT_FIX_X and CURRENT_FIX_Y"
    found.facts["time_unit"] = "ms, as Data Viewer writes"
    found.facts["trials"] = f"by {columns['subject']}, {columns['trial']} and {columns['picture']}"
    return found


def views_of(
    rows: Sequence[Row], columns: dict[str, str], order: str | None, where: str, counts: Counter[str]
) -> list[View]:
    """Viewings of a table with a row for each fixation.

    Args:
        rows: Rows of the table.
        columns: Columns of subject, trial, picture, x, y and duration.
        order: Column that tells the order of fixations; None takes the file's.
        where: The file, for messages.
        counts: Counter of what is left out.
    """
    groups: dict[tuple[str, str, str], list[Fixation]] = defaultdict(list)
    first: dict[tuple[str, str, str], Row] = {}
    for row_number, row in enumerate(rows, start=2):
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
