"""COCO-Search18 and COCO-FreeView with the boxes of COCO: scanpaths over objects on a screen of 1680 x 1050 pixels.

The fixation files are lists of ``{name, subject, task, condition, bbox, X, Y, T, length, fixOnTarget, correct, split}``
with T in milliseconds; condition is present, absent or freeview. Pictures were shown as large as fits, in the middle.
Objects are the instances of COCO that are no crowd, on the screen, no side below 8 pixels of the usual 512 x 320, at
most 100 of a picture; a fixation belongs to the smallest box that holds it, else to the nearest edge within reach.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Literal

import numpy as np

from vision_suite.datasets.files import JsonObject, finite, read_json
from vision_suite.datasets.scanpath.assign import AssignRule
from vision_suite.datasets.scanpath.geometry import letterbox, overlap
from vision_suite.datasets.scanpath.paths import PathBuilder
from vision_suite.datasets.scanpath.records import ScanpathSet, check_scene
from vision_suite.datasets.scanpath.times import FileUnit, Unit, file_unit
from vision_suite.datasets.scanpath.values import number
from vision_suite.errors import DataError
from vision_suite.listing import folder_files
from vision_suite.types import Condition, Scene, Trial

SCREEN = (1680, 1050)
SMALLEST = 8 * SCREEN[0] / 512  # 8 pixels of the 512 x 320 that published models see
MOST_OBJECTS = 100
SAME_BOX = (
    0.5  # overlap with an instance above which the target's box of the fixation file is taken to be that instance
)
CONDITIONS = {"present": Condition.PRESENT, "absent": Condition.ABSENT, "freeview": Condition.FREE}
SUBSETS = {"validation": "valid", "val": "valid"}
RULE = AssignRule("smallest_box")

MILLISECONDS = FileUnit("ms", "as the set is published")
WHERE, UNIT = "\0where", "\0unit"  # keys that a record gets here: its place for messages, and its file's unit

CocoLayout = Literal["coco_search18", "coco_freeview"]


def read_coco_scanpaths(
    folder: Path,
    layout: CocoLayout,
    files: list[str] | None = None,
    instances: list[str] | None = None,
    images: str = "images",
    rule: AssignRule = RULE,
    duration_unit: Unit | None = None,
) -> ScanpathSet:
    """Read fixation files and COCO's instances.

    A fixation outside the screen is left out, except that a first one is moved to the middle, where subjects were
    made to look; the first fixation is given, not predicted. All instances of the task's category count as found; the
    target is the one that the file's bbox names. Trials that search for what has no object are left out. Everything
    is counted.

    Args:
        folder: The data set's folder.
        layout: One of the two sets.
        files: Fixation files relative to it; by default every JSON file with fixations in its name.
        instances: COCO instance files relative to it; by default every ``instances*.json``, also in annotations/.
        images: Folder of the pictures relative to it, flat or with COCO's or the task's sub-folders.
        rule: Rule from pixels to objects.
        duration_unit: Unit of the durations, where it is not that of the published files.

    Raises:
        DataError: A file is missing or malformed, a picture is in no instance file, or the boxes of the two do not
            belong together.
    """
    fixation_files = _files(folder, files, "*fixations*.json", "fixation")
    instance_files = _files(folder, instances, "instances*.json", "COCO instance")
    records: list[JsonObject] = []
    units: dict[str, str] = {}
    for path in fixation_files:
        own = _records(path)
        times = [number(value, record[WHERE], "duration") for record in own for value in record.get("T") or ()]
        unit = file_unit(times, repr(str(path)), MILLISECONDS, duration_unit) or MILLISECONDS
        units |= {path.name: str(unit)} if times else {}
        records += [{**record, UNIT: unit.unit} for record in own]
    builder = PathBuilder(rule, drop_outside=True, first_to_middle=True)
    names = sorted({str(record["name"]) for record in records})
    pictures, passed_over = _pictures(folder / images)
    scenes = _scenes(instance_files, names, pictures, builder.problems)
    trials = []
    boxes = [0, 0]
    for record in _once(records, builder.problems):
        trial = _trial(record, scenes, builder, boxes)
        if trial is not None:
            trials.append(trial)
    if boxes[0] * 2 < boxes[1]:
        raise DataError(
            f"the target boxes of {boxes[1] - boxes[0]} of {boxes[1]} trials are no instance on the screen of "
            f"{SCREEN[0]} x {SCREEN[1]}: are the fixation files in other coordinates (512 x 320), or the instances "
            "another set's?"
        )
    trials.sort(key=lambda trial: (trial.scene, trial.task, int(trial.condition), trial.subject))
    notes: dict[str, object] = {
        "screen": list(SCREEN),
        "duration_unit": units,
        "boxes": f"COCO instances, no crowd, sides of {SMALLEST:g} pixels or more, the {MOST_OBJECTS} largest",
        "first_fixation": "given: the middle of the screen"
        + (", left out where it is on no object" if rule.unassigned == "drop" else ""),
        "pictures": f"{sum(bool(scene.image) for scene in scenes.values())} of {len(scenes)} present, else grey crops",
    }
    if passed_over:
        notes["files_passed_over"] = passed_over
    return builder.scanpath_set(layout, folder, scenes, trials, notes)


def _records(path: Path) -> list[JsonObject]:
    """Trials of a fixation file, each with its place for messages."""
    contents = read_json(path)
    if not isinstance(contents, list) or not all(isinstance(entry, dict) for entry in contents):
        raise DataError(f"{str(path)!r} is no list of trials: COCO-Search18's format is needed")
    for index, record in enumerate(contents):
        where = f"{str(path)!r} trial {index + 1}"
        if missing := [key for key in ("name", "subject", "condition", "X", "Y") if key not in record]:
            raise DataError(f"{where} has no {missing[0]!r}")
        for key in ("X", "Y", "T", "bbox"):
            if not isinstance(record.get(key, []), list) and not (record[key] is None and key in ("T", "bbox")):
                raise DataError(f"{where} on {record['name']!r} has {key}={record[key]!r:.60} where a list is expected")
    return [{**record, WHERE: f"{str(path)!r} trial {index + 1}"} for index, record in enumerate(contents)]


def _once(records: list[JsonObject], problems: Counter[str]) -> list[JsonObject]:
    """Each trial once: the set comes in files that overlap, such as its training part and that part dealt anew.

    Raises:
        DataError: A trial is in two of the authors' parts.
    """
    found: dict[str, JsonObject] = {}
    for record in records:
        key = repr([record.get(name) for name in ("name", "subject", "task", "condition", "X", "Y")])
        first = found.setdefault(key, record)
        problems["trials_read_twice"] += first is not record
        if first.get("split") != record.get("split"):
            raise DataError(
                f"a trial of subject {record['subject']} on {record['name']!r} is in the parts {first.get('split')!r} "
                f"and {record.get('split')!r} of two files: name those to read by --data.annotations"
            )
    return list(found.values())


def _trial(record: JsonObject, scenes: dict[str, Scene], builder: PathBuilder, boxes: list[int]) -> Trial | None:
    """One trial; ``boxes`` counts the target boxes that are an instance, and all of them."""
    problems = builder.problems
    condition = CONDITIONS.get(str(record["condition"]))
    if condition is None:
        known = ", ".join(CONDITIONS)
        raise DataError(f"a trial on {record['name']!r} has condition {record['condition']!r}: choose of {known}")
    scene = scenes.get(str(record["name"]))
    if scene is None:
        problems["trials_on_pictures_without_object"] += 1
        return None
    task = "" if condition is Condition.FREE else str(record.get("task", ""))
    targets = tuple(n for n, label in enumerate(scene.labels) if condition is not Condition.FREE and label == task)
    target = -1
    if condition is Condition.PRESENT:
        box = [finite(value) for value in record.get("bbox") or ()]
        if not targets:
            problems["trials_without_target_object"] += 1
            return None
        target = targets[0]
        if len(box) == 4 and np.isfinite(box).all():
            likeness = overlap(scene.boxes[list(targets)], [box[0], box[1], box[0] + box[2], box[1] + box[3]])
            target = targets[int(likeness.argmax())]
            boxes[0] += bool(likeness.max() >= SAME_BOX)
            boxes[1] += 1
            problems["target_boxes_unlike_any_instance"] += int(likeness.max() < SAME_BOX)
        else:
            problems["trials_without_target_box"] += 1
    elif targets:
        problems["absent_trials_with_target_object"] += 1  # COCO's annotation and the set's disagree
        targets = ()
    if "length" in record and finite(record["length"]) != len(record["X"]):
        problems["trials_of_other_length_than_stated"] += 1
    where = f"{record[WHERE]} on {scene.name!r}"
    x, y = ([number(value, where, "coordinate") for value in record[key]] for key in ("X", "Y"))
    times = None if record.get("T") is None else [number(value, where, "duration") for value in record["T"]]
    found = builder.from_pixels(scene, x, y, times, unit=record[UNIT], where=where)
    if found is None:
        return None
    subset = str(record.get("split", ""))
    subset = SUBSETS.get(subset, subset)
    return found.trial(scene.name, str(record["subject"]), task, condition, targets, target, given=1, subset=subset)


def _scenes(files: list[Path], names: list[str], pictures: dict[str, str], problems: Counter[str]) -> dict[str, Scene]:
    """The pictures of some names with their objects on the screen; pictures without any object are not among them."""
    sizes: dict[str, tuple[int, int]] = {}
    found: dict[str, list[tuple[list[float], str]]] = defaultdict(list)
    wanted = set(names)
    for path in files:
        contents = read_json(path)
        try:
            ids = {image["id"]: str(image["file_name"]) for image in contents["images"]}
            kinds = {category["id"]: str(category["name"]) for category in contents["categories"]}
            for image in contents["images"]:
                if image["file_name"] in wanted:
                    sizes[image["file_name"]] = (int(image["width"]), int(image["height"]))
            for note in contents["annotations"]:
                name = ids.get(note["image_id"], "")
                if name in wanted and not note.get("iscrowd"):
                    x, y, width, height = (float(value) for value in note["bbox"])
                    found[name].append(([x, y, x + width, y + height], kinds[note["category_id"]]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{str(path)!r} is no COCO instance file: it lacks or garbles {error}") from None
    if unknown := sorted(wanted - set(sizes)):
        raise DataError(
            f"{len(unknown)} of {len(names)} pictures are in no instance file (first: {unknown[0]!r}): "
            "give the instances of train2014 and val2014, or of train2017 and val2017"
        )
    scenes = {}
    for name in names:
        shown = letterbox(*sizes[name], SCREEN)
        boxes = shown.boxes(np.array([box for box, _ in found[name]], dtype=np.float64).reshape(-1, 4))
        sides = boxes[:, 2:] - boxes[:, :2]
        kept = np.flatnonzero((sides >= SMALLEST).all(axis=1))
        problems["objects_too_small"] += len(boxes) - len(kept)
        problems["objects_beyond_the_largest"] += max(0, len(kept) - MOST_OBJECTS)
        largest = kept[np.argsort(-np.prod(sides[kept], axis=1), kind="stable")[:MOST_OBJECTS]]
        order = np.sort(largest)
        if not len(order):
            problems["pictures_without_object"] += 1
            continue
        scenes[name] = check_scene(
            Scene(
                name=name,
                size=(float(SCREEN[0]), float(SCREEN[1])),
                boxes=boxes[order].astype(np.float32),
                labels=tuple(found[name][n][1] for n in order),
                image=pictures.get(name, ""),
                placement=(float(shown.dx), float(shown.dy), shown.scale),
            )
        )
    return scenes


def _pictures(folder: Path) -> tuple[dict[str, str], str]:
    """Pictures by file name, wherever below a folder they lie, and words about what is passed over."""
    if not folder.is_dir():
        return {}, ""
    listed = folder_files(folder, (".jpg",))
    return {path.name: str(path) for path in listed.files}, listed.note()


def _files(folder: Path, given: list[str] | None, pattern: str, kind: str) -> list[Path]:
    if given is not None:
        return [folder / name for name in given]
    matching = [*folder.glob(pattern), *folder.glob(f"annotations/{pattern}")]
    found = sorted(path for path in matching if not path.name.startswith("."))
    if not found:
        raise DataError(f"{str(folder)!r} holds no {kind} file ({pattern}): point --data.root at the data set")
    return found
