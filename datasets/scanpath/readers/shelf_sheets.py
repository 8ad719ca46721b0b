"""Spreadsheets of the shelf searches collected for OAT: yogurt and wine (and shampoo, which OAT recorded but left out).

One row per fixation with the columns ID (trial), Sub_ID, Question (layout, such as Q3_21), Target (such as T3_1),
T_Package (slot of the target, from 1), Choice (slot looked at, from 1), X, Y; on a screen of 1680 x 1050 pixels. A
column T or Duration (T_ms, Duration_s ...) is read where there is one; the published description names none.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vision_suite.datasets.files import finite, whole
from vision_suite.datasets.pictures.records import PICTURE_SUFFIXES
from vision_suite.datasets.scanpath.assign import AssignRule
from vision_suite.datasets.scanpath.geometry import grid_boxes
from vision_suite.datasets.scanpath.paths import PathBuilder
from vision_suite.datasets.scanpath.readers.files import read_spreadsheet
from vision_suite.datasets.scanpath.readers.table_csv import unread_columns
from vision_suite.datasets.scanpath.records import ScanpathSet, check_scene
from vision_suite.datasets.scanpath.times import Unit, duration_column, file_unit
from vision_suite.datasets.scanpath.values import number
from vision_suite.errors import DataError
from vision_suite.listing import folder_files
from vision_suite.types import Condition, Scene, Trial

SCREEN = (1680, 1050)
COLUMNS = ("ID", "Sub_ID", "Question", "Target", "T_Package", "Choice", "X", "Y")
DURATIONS = ("T", "Duration")


@dataclass(frozen=True)
class Shelf:
    """A grid of slots below a strip with the title; the height and width of a slot in pixels."""

    product: str
    rows: int
    columns: int
    height: int
    width: int

    @property
    def top(self) -> int:
        """Height of the title strip: what the rows leave of the screen (152, 165 and 135 pixels)."""
        return SCREEN[1] - self.rows * self.height


SHELVES = {
    "Q1": Shelf("wine", 2, 11, 449, 152),
    "Q2": Shelf("shampoo", 3, 9, 295, 186),
    "Q3": Shelf("yogurt", 3, 9, 305, 186),
}


class Sheet(NamedTuple):
    """A spreadsheet that is read.

    Attributes:
        path: The file.
        timed: Column of durations, None for none.
        unit: Unit of the durations.
    """

    path: Path
    timed: str | None
    unit: Unit


def read_shelf_sheets(
    folder: Path, files: list[str] | None = None, images: str = "images", duration_unit: Unit | None = None
) -> ScanpathSet:
    """Read spreadsheets, CSV or XLSX.

    Slots come from the columns Choice and T_Package, never from X and Y. Rows whose Choice is empty or no slot of the
    shelf are left out and counted. Pictures of whole shelves are ``<images>/<Question>.png`` (or .jpg ...).

    Args:
        folder: The data set's folder.
        files: Spreadsheets relative to it; every .csv and .xlsx file by default.
        images: Folder of the shelves' pictures relative to it.
        duration_unit: Unit of the durations, where the column's name does not tell it.

    Raises:
        DataError: A file is missing or malformed, or a trial contradicts itself.
    """
    listed = folder_files(folder, (".csv", ".xlsx"), deep=False)
    names = [path.name for path in listed.files] if files is None else files
    if not names:
        raise DataError(f"{str(folder)!r} holds no spreadsheet (.csv or .xlsx): give --data.annotations")
    builder = PathBuilder(AssignRule("first_box"))
    scenes: dict[str, Scene] = {}
    trials: list[Trial] = []
    units: dict[str, str] = {}
    unread: list[str] = []
    for name in names:
        path, where = folder / name, f"table {str(folder / name)!r}"
        table = read_spreadsheet(path, COLUMNS)
        timed, stated = duration_column(table[0], DURATIONS, where)
        times = [] if timed is None else [number(row[timed], f"{where} row {n}", timed) for n, row in numbered(table)]
        unit = file_unit(times, where, stated, duration_unit)
        units |= {} if unit is None else {name: str(unit)}
        sheet = Sheet(path, timed, "s" if unit is None else unit.unit)
        unread += unread_columns(list(table[0]), [*COLUMNS, timed or DURATIONS[0]], where)
        groups: dict[tuple[str, str], list[tuple[int, dict[str, str]]]] = defaultdict(list)
        for n, row in numbered(table):
            groups[row["Sub_ID"], row["ID"]].append((n, row))
        for (subject, key), rows in groups.items():
            trial = _trial(sheet, subject, key, rows, scenes, builder, folder / images)
            if trial is not None:
                trials.append(trial)
    trials.sort(key=lambda trial: (trial.scene, trial.task, trial.subject))
    pictures = "present" if any(scene.image for scene in scenes.values()) else "absent: grey crops"
    notes: dict[str, object] = {"pictures": pictures, "duration_unit": units}
    if files is None and listed.number_passed_over:
        notes["files_passed_over"] = listed.note()
    found = builder.scanpath_set("shelf_sheets", folder, scenes, trials, notes)
    found.warnings += unread
    return found


def numbered(table: list[dict[str, str]]) -> list[tuple[int, dict[str, str]]]:
    """Rows with their numbers in the file, where the header is row 1."""
    return list(enumerate(table, start=2))


def _trial(
    sheet: Sheet,
    subject: str,
    key: str,
    rows: list[tuple[int, dict[str, str]]],
    scenes: dict[str, Scene],
    builder: PathBuilder,
    images: Path,
) -> Trial | None:
    path, where = sheet.path, f"table {str(sheet.path)!r}"
    facts = {column: {row[column] for _, row in rows} for column in ("Question", "Target", "T_Package")}
    for column, values in facts.items():
        if len(values) > 1:
            raise DataError(
                f"{where}: trial {key} of subject {subject} has {len(values)} values of {column}: "
                "give each trial its own ID"
            )
    layout, task, slot = (values.pop() for values in facts.values())
    scene = scenes.setdefault(layout, _scene(path, layout, images))
    target = whole(slot, path, "T_Package") - 1
    if not 0 <= target < len(scene.boxes):
        builder.problems["trials_without_target_slot"] += 1
        return None
    choices = [finite(row["Choice"]) for _, row in rows]
    objects = [int(c) - 1 if c >= 1 and c.is_integer() else len(scene.boxes) for c in choices]
    x, y = ([number(row[side], f"{where} row {n}", side) for n, row in rows] for side in ("X", "Y"))
    times = None
    if sheet.timed is not None:
        times = [number(row[sheet.timed], f"{where} row {n}", sheet.timed) for n, row in rows]
    numbers = [n for n, _ in rows]
    found = builder.from_objects(scene, objects, x, y, times, unit=sheet.unit, where=where, rows=numbers)
    if found is None:
        return None
    return found.trial(layout, subject, task, Condition.PRESENT, (target,), target)


def _scene(path: Path, layout: str, images: Path) -> Scene:
    shelf = SHELVES.get(layout.split("_")[0])
    if shelf is None:
        raise DataError(f"table {str(path)!r}: Question={layout!r} begins with none of {', '.join(SHELVES)}")
    boxes = grid_boxes(shelf.rows, shelf.columns, cell=(shelf.width, shelf.height), top=shelf.top)
    pictures = [images / f"{layout}{suffix}" for suffix in PICTURE_SUFFIXES]
    return check_scene(
        Scene(
            name=layout,
            size=(float(SCREEN[0]), float(SCREEN[1])),
            boxes=boxes,
            labels=(shelf.product,) * len(boxes),
            image=next((str(picture) for picture in pictures if picture.is_file()), ""),
            grid=(shelf.rows, shelf.columns),
        )
    )
