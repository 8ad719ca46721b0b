"""Exports of Tobii Pro Lab: tables separated by tabs, with a row for each sample.

A fixation is the run of rows with one "Eye movement type index"; its place is "Fixation point X / Y" in pixels of the
screen, its duration "Gaze event duration" in milliseconds. "Presented Media" names the picture and its place on the
screen. Columns may carry their unit, ``[ms]`` or ``(DACSpx)``, also twice: ``(DACSpx) [DACS px]``.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter, defaultdict
from pathlib import Path

from vision_suite.datasets.scanpath.importers.recording import Place, Recording, View, fixation_or_none
from vision_suite.datasets.scanpath.importers.sheets import Row, decimal, read_sheet
from vision_suite.errors import DataError

_UNITS = re.compile(r"(?:\s*[\[(][^\])]*[\])])*\s*$")
MILLISECONDS = {"": 1.0, "ms": 1.0, "s": 1000.0, "us": 0.001, "µs": 0.001, "μs": 0.001}
NEEDED = {
    "participant name": "the participant",
    "eye movement type": "fixations",
    "eye movement type index": "fixations",
    "fixation point x": "places",
    "fixation point y": "places",
}
DURATIONS = ("gaze event duration", "eye movement event duration")
MEDIA = ("presented media name", "presented stimulus name")


def read_tobii(path: Path, *, media: str | None = None) -> Recording:
    """Read an export.

    Args:
        path: The file.
        media: Column of the picture; by default "Presented Media name", else "Presented Stimulus name".

    Raises:
        DataError: The file is malformed or lacks a column.
    """
    rows, where = read_sheet(path), f"export {str(path)!r}"
    names = _columns(rows[0])
    if missing := next((name for name in NEEDED if name not in names), None):
        raise DataError(
            f"{where} has no column {missing.capitalize()!r}: export {NEEDED[missing]} from Pro Lab with it "
            f"(it has {', '.join(rows[0]):.300})"
        )
    timed = next((name for name in DURATIONS if name in names), None)
    if timed is None:
        raise DataError(f"{where} has no column 'Gaze event duration': export it from Pro Lab")
    shown = media or next((names[name][0] for name in MEDIA if name in names), None)
    if shown is None or shown not in rows[0]:
        raise DataError(f"{where} has no column {media or 'Presented Media name'!r} for the picture")
    column, unit = names[timed]
    if unit not in MILLISECONDS:
        raise DataError(f"{where}: column {column!r} is in {unit!r}, which is no unit of time")
    found = Recording()
    pixels = {names[name][1] for name in ("fixation point x", "fixation point y")}
    if pixels - {"", "DACSpx", "DACS px", "px"}:
        raise DataError(f"{where}: fixation points are in {', '.join(sorted(pixels))}: export them in DACS pixels")
    found.screen = _screen(rows, names, where)
    found.views = _views(rows, names, (column, MILLISECONDS[unit]), shown, where, found.counts)
    found.facts["eye"] = "as Pro Lab exported (fixations are of both eyes together unless one was chosen there)"
    found.facts["coordinates"] = "pixels of the screen from its upper left corner (DACS)"
    found.facts["time_unit"] = f"{unit or 'ms'} ({'by the header' if unit else 'as Pro Lab writes'})"
    found.facts["trials"] = f"runs of one {shown}"
    return found


def _columns(row: Row) -> dict[str, tuple[str, str]]:
    """Columns by their name without a unit, in lower case: the name in the file, and the unit.

    Of "Fixation point X" and "Fixation point X (MCSnorm)" the first counts.
    """
    found: dict[str, tuple[str, str]] = {}
    for column in row:
        name = _UNITS.sub("", column).strip().lower()
        units = re.findall(r"[\[(]([^\])]*)", column[len(name) :])
        if name not in found or found[name][1].startswith("MCS"):
            found[name] = (column, units[-1].strip() if units else "")
    return found


def _screen(rows: list[Row], names: dict[str, tuple[str, str]], where: str) -> tuple[float, float] | None:
    sides = [names.get(f"recording resolution {side}") for side in ("width", "height")]
    found = {
        tuple(decimal(row[side[0]], where, side[0]) for side in sides if side is not None)
        for row in rows
        if None not in sides
    }
    real = {size for size in found if all(math.isfinite(side) for side in size)}
    if len(real) > 1:
        raise DataError(f"{where} holds recordings of {len(real)} resolutions: export them one by one")
    return next(((size[0], size[1]) for size in real), None)


def _views(
    rows: list[Row],
    names: dict[str, tuple[str, str]],
    timed: tuple[str, float],
    shown: str,
    where: str,
    counts: Counter[str],
) -> list[View]:
    """Viewings: runs of rows of one participant, recording and picture, whatever stands between two samples."""
    who, kind, number_of, x, y = (names[name][0] for name in NEEDED)
    recording = names.get("recording name", (who, ""))[0]
    sensor = names.get("sensor", ("", ""))[0]
    numbered = [
        (count, row)
        for count, row in enumerate(rows, start=2)
        if row[kind] and (not sensor or row[sensor] in ("", "Eye Tracker"))  # other rows are events and mouse places
    ]
    counts["rows_without_gaze"] += len(rows) - len(numbered)
    views: list[View] = []
    shows: Counter[tuple[str, str]] = Counter()
    seen: set[tuple[str, ...]] = set()
    for (subject, session, name), run in itertools.groupby(
        numbered, key=lambda pair: (pair[1][who], pair[1][recording], pair[1][shown])
    ):
        samples = list(run)
        fixations: dict[str, list[tuple[int, Row]]] = defaultdict(list)
        for count, row in samples:
            if row[kind].lower() == "fixation":
                fixations[row[number_of]].append((count, row))
            elif (key := (subject, session, row[kind], row[number_of])) not in seen:
                seen.add(key)
                counts[f"events_{row[kind].lower().replace(' ', '_')}"] += 1
        if not name:
            counts["fixations_without_picture"] += len(fixations)
            continue
        shows[subject, session] += 1
        trial = (
            f"{shows[subject, session]}"
            if session == subject or not session
            else f"{session} {shows[subject, session]}"
        )
        place, size = _shown(samples, names, where)
        view = View(subject, trial, Path(name.replace("\\", "/")).name, place=place, size=size)
        for index, own in fixations.items():
            if (key := (subject, session, "Fixation", index)) in seen:
                counts["fixations_that_go_on_from_another_picture"] += 1
                continue
            seen.add(key)
            at = f"{where} row {own[0][0]}"
            values = [_first(own, column, where) for column in (x, y, timed[0])]
            fixation = fixation_or_none(values[0], values[1], values[2] * timed[1], own[0][0], counts)
            if fixation is not None:
                _check_one(own, timed[0], at)
                view.fixations.append(fixation)
        views.append(view)
    return views


def _first(rows: list[tuple[int, Row]], column: str, where: str) -> float:
    """The first value of a column that is there, NaN where there is none."""
    values = (decimal(row[column], f"{where} row {count}", column) for count, row in rows)
    return next((value for value in values if math.isfinite(value)), math.nan)


def _check_one(rows: list[tuple[int, Row]], column: str, at: str) -> None:
    """Refuse rows of one index that are not one fixation, as of two exports in one file."""
    if len({row[column] for _, row in rows if row[column]}) > 1:
        raise DataError(f"{at}: rows of one fixation have several values of {column!r}: are two exports joined?")


def _shown(
    samples: list[tuple[int, Row]], names: dict[str, tuple[str, str]], where: str
) -> tuple[Place | None, tuple[float, float] | None]:
    """Place of the picture on the screen, and the size of its file, None where the export does not tell them."""
    wanted = ("media position x", "media position y", "media width", "media height")
    sides = [names.get(f"presented {name}") for name in wanted]
    place = None
    if all(side is not None for side in sides):
        values = [_first(samples, side[0], where) for side in sides if side is not None]
        known = all(math.isfinite(value) for value in values)
        place = Place(values[0], values[1], values[2], values[3]) if known else None
    natural = [names.get(f"original media {side}") for side in ("width", "height")]
    size = [_first(samples, side[0], where) for side in natural if side is not None]
    return place, (size[0], size[1]) if len(size) == 2 and all(math.isfinite(side) for side in size) else None
