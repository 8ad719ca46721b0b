"""Scanpaths of your own: scenes and trials as JSON lines, or boxes and fixations as CSV.

JSON lines. ``scenes.jsonl``: ``image`` (path or name), ``width``, ``height`` (pixels; read from the picture if left
out), ``boxes`` [[x1, y1, x2, y2], ...], and if wanted ``labels`` [...], ``grid`` [rows, columns] (boxes then stand row
by row), ``features`` (.npy file of N vectors), ``fold`` (whole number), ``picture`` (false: there is none).
``trials.jsonl``: ``image``, ``subject``, and ``fixations`` [[x, y], ...] or [[x, y, duration], ...]; if wanted
``objects`` [...] (numbers from 0, -2 for the background; then no rule assigns them), ``task``, ``condition`` (present,
absent or free), ``target`` (number or list of numbers), ``target_object`` (the one to copy as the target token; by
default the only target), ``target_image``, ``target_features`` (.npy file of one vector), ``given``, ``terminated``,
``subset``.

CSV. ``boxes.csv``: ``image,x1,y1,x2,y2`` and if wanted ``label,width,height``. ``fixations.csv``, one row per fixation
in order: ``image,subject,x,y`` and if wanted ``duration,trial,task,condition,target,object,subset`` (targets separated
by blanks). Paths are relative to the folder. Durations are seconds or milliseconds; a median of 10 or more means the
latter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vision_suite.datasets.files import JsonObject, finite, read_json_lines, read_table
from vision_suite.datasets.pictures.images import open_picture
from vision_suite.datasets.scanpath.assign import AssignRule
from vision_suite.datasets.scanpath.paths import PathBuilder
from vision_suite.datasets.scanpath.records import ScanpathSet, check_scene
from vision_suite.errors import DataError
from vision_suite.types import Condition, Scene, Trial

CONDITIONS = {"present": Condition.PRESENT, "absent": Condition.ABSENT, "free": Condition.FREE}
RULE = AssignRule("smallest_box")
SCENES, TRIALS, BOXES, FIXATIONS = "scenes.jsonl", "trials.jsonl", "boxes.csv", "fixations.csv"


def read_scanpath_table(folder: Path, rule: AssignRule = RULE) -> ScanpathSet:
    """Read a folder in one of the two forms.

    Trials in unknown scenes, and present trials without a target, are errors; everything else that is wrong with
    single fixations is corrected or left out, and counted.

    Args:
        folder: The data set's folder.
        rule: Rule from pixels to objects, where the file does not name them.

    Raises:
        DataError: A file is missing or malformed.
    """
    lines = (folder / SCENES).is_file()
    if not lines and not (folder / BOXES).is_file():
        raise DataError(f"{str(folder)!r} holds neither {SCENES} with {TRIALS} nor {BOXES} with {FIXATIONS}: write one")
    builder = PathBuilder(rule, drop_outside=rule.kind == "smallest_box")
    scene_rows = read_json_lines(folder / SCENES) if lines else box_rows(folder / BOXES)
    trial_rows = read_json_lines(folder / TRIALS) if lines else _fixations(folder / FIXATIONS)
    scenes: dict[str, Scene] = {}
    for number, row in enumerate(scene_rows, start=1):
        scene = _scene(folder / (SCENES if lines else BOXES), number, row)
        if scene.name in scenes:
            raise DataError(f"{str(folder)!r}: scene {scene.name!r} is described twice")
        scenes[scene.name] = scene
    trials = []
    for number, row in enumerate(trial_rows, start=1):
        trial = _trial(folder, number, row, scenes, builder)
        if trial is not None:
            trials.append(trial)
    notes: dict[str, object] = {
        "pictures": f"{sum(bool(s.image) for s in scenes.values())} of {len(scenes)} present, else grey crops"
    }
    return ScanpathSet("table", folder, scenes, trials, builder.problems, builder.rules, notes)


def _scene(path: Path, number: int, row: JsonObject) -> Scene:
    folder, where = path.parent, f"{str(path)!r} scene {number}"
    try:
        name = str(row["image"])
        boxes = np.array(row["boxes"], dtype=np.float32).reshape(-1, 4)
        labels = tuple(str(label) for label in row.get("labels") or [""] * len(boxes))
        grid = None if row.get("grid") is None else (int(row["grid"][0]), int(row["grid"][1]))
        fold = int(row.get("fold", -1))
        size = (float(row.get("width") or "nan"), float(row.get("height") or "nan"))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"{where} lacks or garbles {error}: image and boxes [[x1, y1, x2, y2], ...] are needed"
        ) from None
    picture = folder / name
    has_picture = bool(row.get("picture", True)) and picture.is_file()
    if not (math.isfinite(size[0]) and math.isfinite(size[1])):
        if not has_picture:
            raise DataError(f"{where}: picture {name!r} is missing, so give width and height")
        opened = open_picture(str(picture))
        size = (float(opened.width), float(opened.height))
    outside = (boxes[:, 2:] <= 0).any(axis=1) | (boxes[:, :2] >= np.array(size)).any(axis=1)
    if outside.any():
        box = boxes[outside.argmax()].tolist()
        raise DataError(f"{where}: box {box} lies outside the picture of {size[0]:g} x {size[1]:g} pixels: correct it")
    features = _inside(folder, row.get("features"), where)
    image = str(picture) if has_picture else ""
    return check_scene(Scene(name, size, boxes, labels, image, grid=grid, features=features, fold=fold))


def _trial(
    folder: Path, number: int, row: JsonObject, scenes: Mapping[str, Scene], builder: PathBuilder
) -> Trial | None:
    where = f"{str(folder)!r} trial {number}"
    scene = scenes.get(str(row.get("image", "")))
    if scene is None:
        raise DataError(f"{where} is on {row.get('image')!r}, which no scene describes")
    word = str(row.get("condition") or "present")
    if word not in CONDITIONS:
        raise DataError(f"{where} has condition {word!r}: choose of {', '.join(CONDITIONS)}")
    condition = CONDITIONS[word]
    try:
        given = row.get("target")
        targets = () if given is None else tuple(_whole(n) for n in (given if isinstance(given, list) else [given]))
        fixations = [[finite(value) for value in fixation] for fixation in row.get("fixations") or ()]
        target = _whole(row.get("target_object", targets[0] if len(targets) == 1 else -1))
        objects = None if row.get("objects") is None else [_whole(n) for n in row["objects"]]
        first = _whole(row.get("given", 0))
    except (TypeError, ValueError) as error:
        raise DataError(f"{where} is garbled: {error}") from None
    if any(len(fixation) not in (2, 3) for fixation in fixations):
        raise DataError(f"{where} has a fixation that is neither [x, y] nor [x, y, duration]")
    if condition is Condition.PRESENT and not targets:
        raise DataError(f"{where} has no target: name its objects, or say condition absent or free")
    if min(targets, default=0) < 0 or target < -1:
        raise DataError(f"{where} has target {min(*targets, target)}: objects are numbered from 0")
    if first < 0:
        raise DataError(f"{where} has given={first}: it is the number of first fixations that are given")
    x, y = [f[0] for f in fixations], [f[1] for f in fixations]
    times = [f[2] if len(f) == 3 else math.nan for f in fixations] if any(len(f) == 3 for f in fixations) else None
    if objects is None:
        found = builder.from_pixels(scene, x, y, times)
    else:
        found = builder.from_objects(scene, objects, x if fixations else None, y if fixations else None, times)
    if found is None:
        return None
    return found.trial(
        scene.name,
        str(row.get("subject", "")),
        str(row.get("task") or ""),
        condition,
        targets,
        target,
        given=first,
        terminated=bool(row.get("terminated", True)),
        subset=str(row.get("subset") or ""),
        target_image=_inside(folder, row.get("target_image"), where),
        target_features=_inside(folder, row.get("target_features"), where),
    )


def _whole(value: float | str) -> int:
    """A whole number, also as text.

    Raises:
        ValueError: It is another number.
        TypeError: It is none.
    """
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"{value} is no whole number")
    return int(value)


def _inside(folder: Path, name: object, where: str) -> str:
    """The path of a file that a row names, empty where it names none."""
    if not name:
        return ""
    if not (folder / str(name)).is_file():
        raise DataError(f"{where} names {str(name)!r}, which is missing in {str(folder)!r}")
    return str(folder / str(name))


def box_rows(path: Path) -> list[JsonObject]:
    """Rows of boxes as one row per scene."""
    scenes: dict[str, JsonObject] = {}
    for row in read_table(path, ("image", "x1", "y1", "x2", "y2")):
        scene = scenes.setdefault(row["image"], {"image": row["image"], "boxes": [], "labels": []})
        scene["boxes"].append([finite(row[side]) for side in ("x1", "y1", "x2", "y2")])
        scene["labels"].append(row.get("label", ""))
        for side in ("width", "height"):
            if row.get(side):
                scene[side] = finite(row[side])
    return list(scenes.values())


def _fixations(path: Path) -> list[JsonObject]:
    """Rows of fixations as one row per trial: image, subject, trial and task together tell one from another."""
    trials: dict[Sequence[str], JsonObject] = {}
    first: dict[Sequence[str], dict[str, str]] = {}
    for row in read_table(path, ("image", "subject", "x", "y")):
        key = tuple(row.get(name, "") for name in ("image", "subject", "trial", "task"))
        trial = trials.get(key)
        first.setdefault(key, row)
        if trial is None:
            facts: JsonObject = {
                name: row[name] for name in ("image", "subject", "task", "condition", "subset") if name in row
            }
            trial = trials[key] = {**facts, "fixations": []}
            if row.get("target"):
                trial["target"] = row["target"].split()
            if "object" in row:
                trial["objects"] = []
        for name in ("target", "condition", "subset"):
            if row.get(name) and row[name] != first[key][name]:
                raise DataError(
                    f"table {str(path)!r}: {name} is {first[key][name]!r} and {row[name]!r} in rows of one trial of "
                    f"subject {row['subject']!r} on {row['image']!r}: repeat it, or tell trials apart by a column trial"
                )
        trial["fixations"].append([row["x"], row["y"], *([row["duration"]] if "duration" in row else [])])
        if "object" in row:
            trial["objects"].append(row["object"])
    return list(trials.values())
