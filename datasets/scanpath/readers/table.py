"""Scanpaths of your own: scenes and trials as JSON lines, or boxes and fixations as CSV.

JSON lines. ``scenes.jsonl``: ``image`` (path or name), ``width``, ``height`` (pixels; read from the picture if left
out), ``boxes`` [[x1, y1, x2, y2], ...] in pixels (neither x, y, width, height nor shares of the picture), and if
wanted ``labels`` [...], ``grid`` [rows, columns] (boxes then stand row by row), ``features`` (.npy file of N vectors),
``fold`` (whole number), ``picture`` (false: there is none).
``trials.jsonl``: ``image``, ``subject``, and ``fixations`` [[x, y], ...] or [[x, y, duration], ...]; if wanted
``objects`` [...] (numbers from 0, -2 for the background; then no rule assigns them), ``task``, ``condition`` (present,
absent or free), ``target`` (number, label of one object, or list of them), ``target_object`` (the one to copy as the
target token; by default the only target), ``target_image``, ``target_features`` (.npy file of one vector), ``given``,
``terminated``, ``subset``, ``duration_unit`` (s, ms or us), ``trial`` (name of the viewing).

CSV. ``boxes.csv``: ``image,x1,y1,x2,y2`` and if wanted ``label,width,height``, the size of the picture.
``fixations.csv``, one row per fixation in order: ``image,subject,x,y`` and if wanted
``duration,trial,task,condition,target,object,subset`` (targets are numbers separated by blanks, or a label), and
``index`` or ``time``, by which the rows of a trial are sorted. Two viewings of a picture by one subject need ``trial``.
Paths are relative to the folder. Durations have one unit in the whole file: ``duration_s``, ``duration_ms`` and
``duration_us`` name it, else the median of all durations tells it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from vision_suite.datasets.files import JsonObject, read_json_lines
from vision_suite.datasets.scanpath.assign import AssignRule
from vision_suite.datasets.scanpath.paths import PathBuilder
from vision_suite.datasets.scanpath.readers.table_csv import ROWS, box_rows, fixation_rows, unread_columns
from vision_suite.datasets.scanpath.readers.table_scenes import SCENE_KEYS, inside, scene_of
from vision_suite.datasets.scanpath.records import ScanpathSet
from vision_suite.datasets.scanpath.times import FileUnit, Unit, file_unit
from vision_suite.datasets.scanpath.values import flag, list_of, number, text, whole_number
from vision_suite.errors import DataError
from vision_suite.types import Condition, Scene, Trial

CONDITIONS = {"present": Condition.PRESENT, "absent": Condition.ABSENT, "free": Condition.FREE}
RULE = AssignRule("smallest_box")
SCENES, TRIALS, BOXES, FIXATIONS = "scenes.jsonl", "trials.jsonl", "boxes.csv", "fixations.csv"
TRIAL_KEYS = (
    "image", "subject", "fixations", "objects", "task", "condition", "target", "target_object", "target_image",
    "target_features", "given", "terminated", "subset", "duration_unit", "trial",
)  # fmt: skip


def read_scanpath_table(folder: Path, rule: AssignRule = RULE, duration_unit: Unit | None = None) -> ScanpathSet:
    """Read a folder in one of the two forms.

    Trials in unknown scenes, present trials without a target, and values of a wrong kind are errors; everything else
    that is wrong with single fixations is corrected or left out, and counted.

    Args:
        folder: The data set's folder.
        rule: Rule from pixels to objects, where the file does not name them.
        duration_unit: Unit of the durations, where the file does not name it.

    Raises:
        DataError: A file is missing or malformed.
    """
    lines = (folder / SCENES).is_file()
    if not lines and not (folder / BOXES).is_file():
        raise DataError(f"{str(folder)!r} holds neither {SCENES} with {TRIALS} nor {BOXES} with {FIXATIONS}: write one")
    builder = PathBuilder(rule, drop_outside=rule.kind == "smallest_box")
    path = folder / (TRIALS if lines else FIXATIONS)
    if lines:
        scene_rows, trial_rows = read_json_lines(folder / SCENES), read_json_lines(path)
        warnings = [
            *_unread(scene_rows, SCENE_KEYS, repr(str(folder / SCENES))),
            *_unread(trial_rows, TRIAL_KEYS, repr(str(path))),
        ]
    else:
        scene_rows, unread = box_rows(folder / BOXES)
        trial_rows, warnings = fixation_rows(path, builder.problems)
        warnings = [*unread, *warnings]
    scenes: dict[str, Scene] = {}
    for count, row in enumerate(scene_rows, start=1):
        scene = scene_of(folder / (SCENES if lines else BOXES), count, row, builder.problems)
        if scene.name in scenes:
            raise DataError(f"{str(folder)!r}: scene {scene.name!r} is described twice")
        scenes[scene.name] = scene
    places = [_place(path, count, row) for count, row in enumerate(trial_rows, start=1)]
    paths = [_fixations(where, row) for where, row in zip(places, trial_rows, strict=True)]
    times = [fixation[2] for path_ in paths for fixation in path_ if len(fixation) == 3]
    unit = file_unit(times, repr(str(path)), _stated(places, trial_rows, lines), duration_unit)
    trials = []
    known: dict[str, str] = {}
    for where, row, fixations in zip(places, trial_rows, paths, strict=True):
        content = repr([row.get(key) for key in TRIAL_KEYS])
        if content in known:
            builder.problems["trials_read_twice"] += 1
            continue
        known[content] = where
        trial = _trial(where, folder, row, fixations, scenes, builder, "s" if unit is None else unit.unit)
        if trial is not None:
            trials.append(trial)
    notes: dict[str, object] = {
        "pictures": f"{sum(bool(s.image) for s in scenes.values())} of {len(scenes)} present, else grey crops",
        **({} if unit is None else {"duration_unit": {path.name: str(unit)}}),
    }
    found = builder.scanpath_set("table", folder, scenes, trials, notes)
    found.warnings += warnings
    return found


def _unread(rows: Sequence[JsonObject], known: Sequence[str], where: str) -> list[str]:
    return unread_columns(list(dict.fromkeys(key for row in rows for key in row)), known, where)


def _place(path: Path, count: int, row: JsonObject) -> str:
    """Name of a trial for messages: its row, or the table and the picture where it has several rows."""
    return f"table {str(path)!r}" if ROWS in row else f"{str(path)!r} trial {count}"


def _stated(places: Sequence[str], rows: Sequence[JsonObject], lines: bool) -> FileUnit | None:
    """The unit that the rows state.

    Raises:
        DataError: It is none, or another one in other rows.
    """
    values = [row.get("duration_unit") for row in rows]
    stated = {
        value if value is None or isinstance(value, str) else repr(value): where
        for where, value in zip(places, values, strict=True)
    }
    if not any(stated):
        return None
    for word, where in stated.items():
        if word not in get_args(Unit):
            raise DataError(f"{where} has duration_unit {word!r}: write s, ms or us, the same in each row of the file")
    if len(stated) > 1:
        raise DataError(
            f"{places[0].split(' trial ')[0]}: duration_unit is {' and '.join(map(str, stated))}: one a file"
        )
    unit: Unit = next(known for known in get_args(Unit) if known in stated)
    basis = "by duration_unit in the file" if lines else f"by the name of the column duration_{unit}"
    return FileUnit(unit, basis)


def _fixations(where: str, row: JsonObject) -> list[list[float]]:
    """Fixations of a trial as numbers, NaN where missing.

    Raises:
        DataError: They are no list of [x, y] or [x, y, duration].
    """
    rows, found = row.get(ROWS), []
    given = row.get("fixations")
    if given is not None and not isinstance(given, list):
        raise DataError(f"{where} has fixations {given!r:.60}: write a list of [x, y] or [x, y, duration]")
    for index, fixation in enumerate(given or ()):
        place = f"{where} row {rows[index]}" if rows else f"{where} fixation {index + 1}"
        if not isinstance(fixation, list) or len(fixation) not in (2, 3):
            raise DataError(f"{place} {fixation!r:.60} is neither [x, y] nor [x, y, duration]")
        found.append(
            [number(value, place, what) for value, what in zip(fixation, ("x", "y", "duration"), strict=False)]
        )
    return found


def _trial(
    where: str,
    folder: Path,
    row: JsonObject,
    fixations: list[list[float]],
    scenes: Mapping[str, Scene],
    builder: PathBuilder,
    unit: Unit,
) -> Trial | None:
    name = row.get("image", "")
    scene = scenes.get(name) if isinstance(name, str) else None
    rows = row.get(ROWS, ())
    if rows:
        where = f"{where} rows from {rows[0]}" if len(rows) > 1 else f"{where} row {rows[0]}"
    if scene is None:
        raise DataError(f"{where} is on {name!r:.100}, which no scene describes")
    word = row.get("condition") or "present"
    if not isinstance(word, str) or word not in CONDITIONS:
        raise DataError(f"{where} has condition {word!r}: choose of {', '.join(CONDITIONS)}")
    condition = CONDITIONS[word]
    try:
        targets = _targets(row.get("target"), scene)
        target = whole_number(row.get("target_object", targets[0] if len(targets) == 1 else -1), "target_object")
        objects = None
        if row.get("objects") is not None:
            objects = [whole_number(n, "object") for n in list_of(row["objects"], "objects")]
        first = whole_number(row.get("given", 0), "given")
        terminated = flag(row.get("terminated", True), "terminated")
        subject, task, subset = (text(row.get(key), key) for key in ("subject", "task", "subset"))
    except ValueError as error:
        raise DataError(f"{where} is garbled: {error}") from None
    if condition is Condition.PRESENT and not targets:
        raise DataError(f"{where} has no target: name its objects, or say condition absent or free")
    if min(targets, default=0) < 0 or target < -1:
        raise DataError(f"{where} has target {min(*targets, target)}: objects are numbered from 0")
    if max(*targets, target, -1) >= len(scene.boxes):
        raise DataError(
            f"{where} has target {max(*targets, target)}, but {scene.name!r} has objects 0 to {len(scene.boxes) - 1}"
        )
    if first < 0:
        raise DataError(f"{where} has given={first}: it is the number of first fixations that are given")
    x, y = [f[0] for f in fixations], [f[1] for f in fixations]
    times = [f[2] if len(f) == 3 else math.nan for f in fixations] if any(len(f) == 3 for f in fixations) else None
    place = where.split(" row")[0] if rows else where
    if objects is None:
        found = builder.from_pixels(scene, x, y, times, unit=unit, where=place, rows=rows)
    else:
        no = not fixations
        found = builder.from_objects(
            scene, objects, None if no else x, None if no else y, times, unit=unit, where=place, rows=rows
        )
    if found is None:
        return None
    return found.trial(
        scene.name,
        subject,
        task,
        condition,
        targets,
        target,
        given=first,
        terminated=terminated,
        subset=subset,
        target_image=inside(folder, row.get("target_image"), where),
        target_features=inside(folder, row.get("target_features"), where),
    )


def _targets(given: object, scene: Scene) -> tuple[int, ...]:
    """Objects that a trial names as targets: numbers, or the label of an object.

    Args:
        given: A number, a label, or a list of them; numbers may stand in one text with blanks between them.
        scene: Scene of the trial.

    Raises:
        ValueError: A label belongs to no object, to several, or could be a number as well.
    """
    if given is None or given == "":
        return ()
    found: list[int] = []
    for one in given if isinstance(given, list) else [given]:
        labelled = [n for n, label in enumerate(scene.labels) if isinstance(one, str) and _plain(label) == _plain(one)]
        parts = one.split() if isinstance(one, str) else [one]
        try:
            numbers = [whole_number(part, "target") for part in parts]
        except ValueError:
            if not isinstance(one, str):
                raise
            numbers = []
        if labelled and numbers and labelled != numbers:
            raise ValueError(
                f"target {one!r} is the label of object {labelled[0]} and the number of another of {scene.name!r}: "
                "rename the label"
            )
        if len(labelled) > 1:
            raise ValueError(
                f"target {one!r} is the label of {len(labelled)} objects of {scene.name!r}: give their numbers, "
                f"{' '.join(map(str, labelled))} if all count as found"
            )
        if not labelled and not numbers:
            known = ", ".join(sorted({label for label in scene.labels if label})) or "none"
            raise ValueError(
                f"target {one!r} is neither a whole number nor a label of {scene.name!r} (labels: {known:.200})"
            )
        found += labelled or numbers
    return tuple(found)


def _plain(label: str) -> str:
    return " ".join(label.split()).casefold()
