"""Event frames of pymovements: rows ``name, onset, offset, duration`` with the place of each fixation.

Read from CSV, TSV or Parquet, or taken as a frame of pymovements (``Events``), polars or pandas. Fixations are the rows
whose name begins with "fixation". The place is ``location`` [x, y], or ``location_x`` and ``location_y``, in pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vision_suite.datasets.scanpath.importers.eyelink_report import PICTURE, of_one_eye, views_of
from vision_suite.datasets.scanpath.importers.recording import Eye, Recording
from vision_suite.datasets.scanpath.importers.sheets import Row, column_of, column_or_none, decimal, read_sheet
from vision_suite.errors import DataError, MissingDependencyError

SUBJECT = ("subject", "subject_id", "participant", "participant_id", "reader_id", "session")
TRIAL = ("trial", "trial_id", "trial_index")
PLACES = (("location_x", "location_y"), ("x", "y"), ("x_pix", "y_pix"), ("pixel_x", "pixel_y"))
PAIR = ("location", "pixel")


def read_events(
    source: object,
    name: str,
    *,
    subject: str | None = None,
    trial: str | None = None,
    picture: str | None = None,
    eye: Eye | None = None,
) -> Recording:
    """Read a file or a frame of events.

    Args:
        source: File, or frame.
        name: Name of the recording: the observer where no column names one, and in messages.
        subject: Column of the observer.
        trial: Column of the trial.
        picture: Column of the picture.
        eye: Eye to take of viewings with fixations of both; by default the right one.

    Raises:
        DataError: A column is missing or malformed, or there is no fixation.
        MissingDependencyError: A Parquet file cannot be read without pyarrow.
    """
    where = f"events {str(source) if isinstance(source, Path) else name!r}"
    events = _records(source, where)
    if not events:
        raise DataError(f"{where} have no rows")
    kind = column_of(events[0], ("name",), None, "kind of event", where)
    fixations = [row for row in events if str(row[kind]).lower().startswith("fixation")]
    found = Recording()
    for row in events:
        if not str(row[kind]).lower().startswith("fixation"):
            found.counts[f"events_{str(row[kind]).lower()}"] += 1
    if not fixations:
        kinds = ", ".join(sorted({str(row[kind]) for row in events}))
        raise DataError(f"{where} have no fixation (names: {kinds:.200}): detect fixations first")
    found.counts["fixations_detected_by_several_rules"] = len({str(row[kind]) for row in fixations}) - 1
    if found.counts["fixations_detected_by_several_rules"]:
        kinds = ", ".join(sorted({str(row[kind]) for row in fixations}))
        raise DataError(f"{where} have fixations of several detectors ({kinds:.200}): keep the rows of one")
    who = column_or_none(events[0], SUBJECT, subject)
    if who is None and subject is not None:
        raise DataError(f"{where} have no column {subject!r} for the subject: they have {', '.join(events[0]):.300}")
    shown = column_of(events[0], PICTURE, picture, "picture (--picture)", where)
    viewed = column_or_none(events[0], TRIAL, trial)
    if viewed is None and trial is not None:
        raise DataError(f"{where} have no column {trial!r} for the trial: they have {', '.join(events[0]):.300}")
    rows = [_row(row, where, index) for index, row in enumerate(fixations, start=1)]
    for row in rows:
        row["\0subject"] = row[who] if who is not None else name
        row["\0trial"] = row[viewed] if viewed is not None else row[shown]
    columns = {
        "subject": "\0subject",
        "trial": "\0trial",
        "picture": shown,
        "x": "\0x",
        "y": "\0y",
        "duration": "\0duration",
    }
    eyes = column_or_none(rows[0], ("eye", "eyes"))
    own, found.facts["eye"] = of_one_eye(rows, columns, eyes, eye, where, found.counts)
    runs = [key for key, _ in itertools.groupby((row["\0subject"], row[shown]) for row in own.values())]
    if viewed is None and len(runs) > len(set(runs)):
        double = next(key for index, key in enumerate(runs) if key in runs[:index])
        raise DataError(
            f"{where}: subject {double[0]!r} looks at {double[1]!r} twice, and no column tells the viewings apart: "
            "name one by --trial"
        )
    order = column_or_none(rows[0], ("onset",))
    found.views = views_of(own, columns, order, where, found.counts)
    found.facts["coordinates"] = "pixels of the screen, location of each event"
    found.facts["time_unit"] = "ms, as pymovements keeps times"
    found.facts["trials"] = f"by {who or 'the name of the file'}, {viewed or shown} and {shown}"
    return found


def _row(event: Mapping[str, Any], where: str, index: int) -> Row:
    """An event as text by column, with its place and its duration under names of their own."""
    place = f"{where} fixation {index}"
    row = {str(name): "" if value is None else str(value) for name, value in event.items()}
    pair = column_or_none(event, PAIR)
    if pair is not None:
        value = event[pair]
        if isinstance(value, str):  # a list in a CSV file
            value = value.strip("[]() ").split(",")
        if value is not None and (not hasattr(value, "__len__") or len(value) != 2):
            raise DataError(f"{place}: {pair} is {event[pair]!r:.60}: an x and a y are needed")
        x, y = (None, None) if value is None else value
    else:
        names = next((names for names in PLACES if all(name in event for name in names)), None)
        if names is None:
            raise DataError(
                f"{where} have no column location, or location_x and location_y: compute the property location "
                f"(they have {', '.join(row):.300})"
            )
        x, y = (event[name] for name in names)
    duration = event.get("duration")
    if duration is None:
        if "onset" not in event or "offset" not in event:
            raise DataError(f"{where} have no column duration, or onset and offset")
        duration = decimal(event["offset"], place, "offset") - decimal(event["onset"], place, "onset")
    return {**row, "\0x": str(_plain(x)), "\0y": str(_plain(y)), "\0duration": str(_plain(duration))}


def _plain(value: object) -> object:
    return "" if value is None else value


def _records(source: object, where: str) -> Sequence[dict[str, Any]]:
    """Rows of a file or frame."""
    if isinstance(source, Path):
        if source.suffix.lower() in (".parquet", ".feather"):
            return _arrow(source, where)
        return [dict(row) for row in read_sheet(source)]
    frame = getattr(source, "frame", source)
    if hasattr(frame, "to_dicts"):
        return list(frame.to_dicts())
    if hasattr(frame, "to_dict"):
        return list(frame.to_dict("records"))
    raise DataError(f"{where} are no frame of pymovements, polars or pandas: a {type(source).__name__} is given")


def _arrow(path: Path, where: str) -> list[dict[str, Any]]:
    try:
        from pyarrow import ArrowException, feather, parquet
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f"reading {path.name}", "pyarrow") from error
    try:
        table = parquet.read_table(path) if path.suffix.lower() == ".parquet" else feather.read_table(path)
    except (OSError, ArrowException, ValueError) as error:
        raise DataError(f"{where} cannot be read ({str(error).splitlines()[0][:160]}): export them again") from None
    return list(table.to_pylist())
