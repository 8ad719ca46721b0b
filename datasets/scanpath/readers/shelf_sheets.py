"""Spreadsheets of the shelf searches collected for OAT: yogurt and wine (and shampoo, which OAT recorded but left out).

One row per fixation with the columns ID (trial), Sub_ID, Question (layout, such as Q3_21), Target (such as T3_1),
T_Package (slot of the target, from 1), Choice (slot looked at, from 1), X, Y; on a screen of 1680 x 1050 pixels. A
column T or Duration is read where there is one; the published description names none.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from vision_suite.datasets.files import finite, whole
from vision_suite.datasets.pictures.records import PICTURE_SUFFIXES
from vision_suite.datasets.scanpath.assign import AssignRule
from vision_suite.datasets.scanpath.geometry import grid_boxes
from vision_suite.datasets.scanpath.paths import PathBuilder
from vision_suite.datasets.scanpath.readers.files import read_spreadsheet
from vision_suite.datasets.scanpath.records import ScanpathSet, check_scene
from vision_suite.errors import DataError
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


def read_shelf_sheets(folder: Path, files: list[str] | None = None, images: str = "images") -> ScanpathSet:
    """Read spreadsheets, CSV or XLSX.

    Slots come from the columns Choice and T_Package, never from X and Y. Rows whose Choice is empty or no slot of the
    shelf are left out and counted. Pictures of whole shelves are ``<images>/<Question>.png`` (or .jpg ...).

    Args:
        folder: The data set's folder.
        files: Spreadsheets relative to it; every .csv and .xlsx file by default.
        images: Folder of the shelves' pictures relative to it.

    Raises:
        DataError: A file is missing or malformed, or a trial contradicts itself.
    """
    names = (
        sorted(p.name for p in folder.iterdir() if p.suffix.lower() in (".csv", ".xlsx")) if files is None else files
    )
    if not names:
        raise DataError(f"{str(folder)!r} holds no spreadsheet (.csv or .xlsx): give --data.annotations")
    builder = PathBuilder(AssignRule("first_box"))
    scenes: dict[str, Scene] = {}
    trials: list[Trial] = []
    for name in names:
        path = folder / name
        groups: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
        for row in read_spreadsheet(path, COLUMNS):
            groups[row["Sub_ID"], row["ID"]].append(row)
        for (subject, number), rows in groups.items():
            trial = _trial(path, subject, number, rows, scenes, builder, folder / images)
            if trial is not None:
                trials.append(trial)
    trials.sort(key=lambda trial: (trial.scene, trial.task, trial.subject))
    notes = {"pictures": "present" if any(scene.image for scene in scenes.values()) else "absent: grey crops"}
    return ScanpathSet("shelf_sheets", folder, scenes, trials, builder.problems, builder.rules, dict(notes))


def _trial(
    path: Path,
    subject: str,
    number: str,
    rows: list[dict[str, str]],
    scenes: dict[str, Scene],
    builder: PathBuilder,
    images: Path,
) -> Trial | None:
    facts = {column: {row[column] for row in rows} for column in ("Question", "Target", "T_Package")}
    for column, values in facts.items():
        if len(values) > 1:
            raise DataError(
                f"table {str(path)!r}: trial {number} of subject {subject} has {len(values)} values of {column}: "
                "give each trial its own ID"
            )
    layout, task, slot = (values.pop() for values in facts.values())
    scene = scenes.setdefault(layout, _scene(path, layout, images))
    target = whole(slot, path, "T_Package") - 1
    if not 0 <= target < len(scene.boxes):
        builder.problems["trials_without_target_slot"] += 1
        return None
    choices = [finite(row["Choice"]) for row in rows]
    objects = [int(c) - 1 if c >= 1 and c.is_integer() else len(scene.boxes) for c in choices]
    timed = next((name for name in DURATIONS if name in rows[0]), None)
    found = builder.from_objects(
        scene,
        objects,
        [finite(row["X"]) for row in rows],
        [finite(row["Y"]) for row in rows],
        None if timed is None else [finite(row[timed]) for row in rows],
    )
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
