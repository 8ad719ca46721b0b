"""Recordings of eye trackers to a set that ``--data.dataset table`` reads."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from vision_suite.datasets.scanpath.importers.events import read_events
from vision_suite.datasets.scanpath.importers.eyelink import read_asc
from vision_suite.datasets.scanpath.importers.eyelink_report import read_report
from vision_suite.datasets.scanpath.importers.pictures import (
    Origin,
    ShownPicture,
    file_of,
    find_pictures,
    objects_of,
    read_place,
    show,
)
from vision_suite.datasets.scanpath.importers.recording import Eye, Place, Recording, View
from vision_suite.datasets.scanpath.importers.tobii import read_tobii
from vision_suite.datasets.scanpath.predict.boxes import read_boxes
from vision_suite.datasets.scanpath.readers.table import BOXES, FIXATIONS
from vision_suite.datasets.scanpath.readers.table_csv import BOX_COLUMNS
from vision_suite.datasets.scanpath.times import FileUnit, Unit, file_unit
from vision_suite.drafts import write_whole
from vision_suite.errors import ConfigError, DataError, check_choice
from vision_suite.types.arrays import Floats

Tracker = Literal["eyelink", "eyelink-report", "tobii", "pymovements"]

PICTURES, ABOUT = "pictures", "import.json"


@dataclass(frozen=True)
class ImportSettings:
    """Settings of an import.

    Attributes:
        tracker: Kind of the recordings.
        images: Folder of the pictures, which are copied into the set.
        boxes: File of the pictures' objects, as for ``--data.boxes``.
        grid: Rows and columns of objects, in place of boxes.
        screen: Width and height of the screen, where the recording does not tell it.
        place: Place of all pictures on the screen, in place of what the recording tells: ``fill``, ``centre``, or left,
            top, width and height.
        origin: Origin of places of pymovements; the others have theirs.
        eye: Eye to take where both were recorded.
        subject: Column of the observer, or its name for an .asc file.
        trial: Column of the trial.
        picture: Column or trial variable that names the picture.
        target: Column or trial variable with the label or number of the target; without one pictures are viewed freely.
        trial_message: First word of the message with which an EyeLink trial begins.
        start_message: First word of the message with which its picture appears.
        duration_unit: Unit of the durations, where the recording does not keep to its program's.
    """

    tracker: Tracker
    images: Path | None = None
    boxes: Path | None = None
    grid: tuple[int, int] | None = None
    screen: tuple[float, float] | None = None
    place: str | None = None
    origin: Origin = "upper-left"
    eye: Eye | None = None
    subject: str | None = None
    trial: str | None = None
    picture: str | None = None
    target: str | None = None
    trial_message: str = "TRIALID"
    start_message: str | None = None
    duration_unit: Unit | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself or has no effect."""
        check_choice("from", self.tracker, get_args(Tracker))
        check_choice("origin", self.origin, get_args(Origin))
        asc = self.tracker == "eyelink"
        for name, value, useful in (
            ("eye", self.eye, self.tracker != "tobii"),
            ("trial-message", None if self.trial_message == "TRIALID" else self.trial_message, asc),
            ("start-message", self.start_message, asc),
            ("trial", self.trial, self.tracker in ("eyelink-report", "pymovements")),
            ("origin", None if self.origin == "upper-left" else self.origin, self.tracker == "pymovements"),
            ("subject", self.subject, self.tracker != "tobii"),
        ):
            if value is not None and not useful:
                raise ConfigError(f"--{name} {value} has no effect on recordings of {self.tracker}: leave it out")
        if self.boxes is not None and self.grid is not None:
            raise ConfigError("--boxes and --grid are both given: take the objects from one of them")
        if self.grid is not None and min(self.grid) < 1:
            raise ConfigError(f"--grid {self.grid[0]}x{self.grid[1]}: use 1 row and 1 column or more")
        if self.screen is not None and not min(self.screen) > 0:
            raise ConfigError(f"--screen {self.screen[0]:g}x{self.screen[1]:g}: use a width and a height above 0")
        if self.origin != "upper-left" and self.screen is None:
            raise ConfigError(f"--origin {self.origin} needs the size of the screen: give --screen WIDTHxHEIGHT")


def import_scanpaths(sources: Sequence[object], output: Path, settings: ImportSettings) -> dict[str, object]:
    """Read recordings and write a set: fixations.csv, boxes.csv if objects are known, pictures, and import.json.

    Args:
        sources: Files; for pymovements also frames.
        output: Folder of the set, which must be missing or empty.
        settings: Settings of the import.

    Returns:
        What import.json says: counts, coordinate system, time unit, eye, what is left out.

    Raises:
        ConfigError: The output is there already, or settings contradict each other.
        DataError: A recording is malformed, or the place of a picture is unknown.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"--output {str(output)!r} is there already: name a new folder")
    if not sources:
        raise ConfigError("no recording is given: name one file or more")
    if settings.subject is not None and settings.tracker == "eyelink" and len(sources) > 1:
        raise ConfigError(f"--subject {settings.subject} names {len(sources)} recordings: import them one by one")
    place = None if settings.place is None else read_place(settings.place)
    recording = Recording()
    for number, source in enumerate(sources, start=1):
        recording.add(_read(source, number, settings))
    times: Floats = _durations(recording)
    stated = FileUnit("ms", recording.facts["time_unit"])
    unit = file_unit(times, "the recordings", stated, settings.duration_unit, "--duration-unit")
    factor = {"s": 1000.0, "ms": 1.0, "us": 0.001}["ms" if unit is None else unit.unit]
    rows, boxes, images = _rows(recording, place, settings, factor)
    if not rows:
        left_out = ", ".join(f"{count} {kind}" for kind, count in recording.counts.items() if count) or "none"
        raise DataError(f"no fixation on a picture is left (left out: {left_out})")
    if settings.duration_unit is not None:
        recording.facts["time_unit"] = f"{settings.duration_unit}, by --duration-unit; written in ms"
    about: dict[str, object] = {
        "from": settings.tracker,
        "recordings": [
            str(source) if isinstance(source, Path) else f"frame {n + 1}" for n, source in enumerate(sources)
        ],
        "fixations": len(rows),
        "trials": len({(row["image"], row["subject"], row["trial"]) for row in rows}),
        "subjects": len({row["subject"] for row in rows}),
        "pictures": len({row["image"] for row in rows}),
        "objects": len(boxes),
        "recording": recording.facts,
        "screen": None if recording.screen is None else list(recording.screen),
        "place": settings.place or "as recorded",
        "written": {"coordinates": "pixels of the picture from its upper left corner", "time_unit": "ms (duration_ms)"},
        "left_out": {kind: count for kind, count in sorted(recording.counts.items()) if count},
    }
    _write(output, rows, boxes, images, about)
    return about


def _read(source: object, number: int, settings: ImportSettings) -> Recording:
    """One recording by the importer of its kind."""
    tracker = settings.tracker
    if tracker == "pymovements":
        name = source.stem if isinstance(source, Path) else f"frame {number}"
        columns = {"subject": settings.subject, "trial": settings.trial, "picture": settings.picture}
        found = read_events(source, name, eye=settings.eye, **columns)
        return _from_origin(found, settings)
    if not isinstance(source, Path):
        raise ConfigError(f"a recording of {tracker} is a file, not a {type(source).__name__}")
    if tracker == "eyelink":
        return read_asc(
            source,
            settings.subject or source.stem,
            eye=settings.eye,
            picture=settings.picture,
            trial_message=settings.trial_message,
            start_message=settings.start_message,
        )
    if tracker == "eyelink-report":
        columns = {"subject": settings.subject, "trial": settings.trial, "picture": settings.picture}
        return read_report(source, eye=settings.eye, **columns)
    return read_tobii(source, media=settings.picture)


def _from_origin(recording: Recording, settings: ImportSettings) -> Recording:
    """The recording with places counted from the upper left corner of the screen."""
    recording.facts["origin"] = settings.origin
    if settings.origin == "upper-left" or settings.screen is None:
        return recording
    width, height = settings.screen
    middle = settings.origin == "centre"
    for view in recording.views:
        view.fixations = [
            fix._replace(x=fix.x + (width / 2 if middle else 0), y=(height / 2 if middle else height) - fix.y)
            for fix in view.fixations
        ]
    return recording


def _durations(recording: Recording) -> Floats:
    import numpy as np

    return np.array([fix.duration for view in recording.views for fix in view.fixations], dtype=np.float64)


def _rows(
    recording: Recording, place: str | Place | None, settings: ImportSettings, factor: float
) -> tuple[list[dict[str, object]], list[dict[str, object]], dict[str, Path]]:
    """Rows of fixations and of boxes, and the pictures to copy."""
    if settings.screen is not None:
        if recording.screen is not None and recording.screen != settings.screen:
            raise ConfigError(
                f"--screen {settings.screen[0]:g}x{settings.screen[1]:g}, but the recording has a screen of "
                f"{recording.screen[0]:g}x{recording.screen[1]:g}: leave it out"
            )
        recording.screen = settings.screen
    counts = recording.counts
    pictures = {} if settings.images is None else find_pictures(settings.images, counts)
    given = None if settings.boxes is None else read_boxes(str(settings.boxes))
    rows: list[dict[str, object]] = []
    objects: dict[str, list[tuple[float, float, float, float, str]]] = {}
    sizes: dict[str, ShownPicture] = {}
    images: dict[str, Path] = {}
    for view in recording.views:
        if not view.fixations:
            counts["trials_without_fixation"] += 1
            continue
        file = file_of(pictures, view.picture)
        picture = view.picture if file is None else file.name
        if file is not None:
            images[picture] = file
        elif settings.images is not None:
            counts["trials_whose_picture_is_not_in_images"] += 1
        shown = show(view, file, place, recording.screen)
        own = objects_of(picture, shown, view.areas, given, settings.grid, counts)
        name = f"{PICTURES}/{picture}"
        if objects.setdefault(name, own) != own or sizes.setdefault(name, shown).size != shown.size:
            raise DataError(
                f"picture {view.picture!r} has other objects or another size in trial {view.trial!r} of subject "
                f"{view.subject!r} than before: give its objects by --boxes"
            )
        extra = _target(view, settings)
        for index, fix in enumerate(view.fixations, start=1):
            x, y = shown.xy(fix.x, fix.y)
            counts["fixations_outside_the_picture"] += not (0 <= x <= shown.size[0] and 0 <= y <= shown.size[1])
            where = {"image": name, "subject": view.subject, "trial": view.trial, "index": index}
            rows.append(
                {**where, "x": round(x, 2), "y": round(y, 2), "duration_ms": round(fix.duration * factor, 3), **extra}
            )
    boxes = [
        {**dict(zip(BOX_COLUMNS, (name, *(round(side, 2) for side in box[:4]), box[4]), strict=False)),
         "width": round(sizes[name].size[0]), "height": round(sizes[name].size[1])}
        for name, own in objects.items()
        for box in own
    ]  # fmt: skip
    empty = [name for name, own in objects.items() if not own]
    if boxes and empty:
        raise DataError(
            f"{len(empty)} of {len(objects)} pictures have no objects (first: {empty[0]!r}): give --boxes or --grid"
        )
    return rows, boxes, images


def _target(view: View, settings: ImportSettings) -> dict[str, object]:
    """Columns of a trial's task."""
    if settings.target is None:
        return {"condition": "free"}
    word = view.variables.get(settings.target, "")
    if not word:
        known = ", ".join(sorted(name for name in view.variables if not name.startswith("\0"))) or "none"
        raise DataError(
            f"trial {view.trial!r} of subject {view.subject!r} has no {settings.target!r} for the target: it "
            f"has {known:.300}"
        )
    return {"condition": "present", "task": word, "target": word}


def _write(
    output: Path,
    rows: list[dict[str, object]],
    boxes: list[dict[str, object]],
    images: dict[str, Path],
    about: dict[str, object],
) -> None:
    (output / PICTURES).mkdir(parents=True, exist_ok=True)
    for name, path in images.items():
        shutil.copyfile(path, output / PICTURES / name)
    if boxes:
        write_whole(output / BOXES, _csv(boxes))
    write_whole(output / FIXATIONS, _csv(rows))
    write_whole(output / ABOUT, json.dumps(about, indent=2) + "\n")


def _csv(rows: list[dict[str, object]]) -> str:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
