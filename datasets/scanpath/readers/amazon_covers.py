"""Amazon book covers (Sattar et al.; annotations by DFKI, CC BY-NC-SA 4.0): 100 collages of 6 x 14 covers, 6 subjects.

Two layouts: that of OAT's authors, with pictures and masks, and the public annotation file alone. Subjects searched for
one of 5 covers; there are no durations. OAT's own preprocessing gave all six entries of a collage the last subject's
path (594 trials after the length filter, most of them copies); read correctly, 585 trials are left.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from vision_suite.datasets.files import is_file, read_json
from vision_suite.datasets.pictures.images import open_picture
from vision_suite.datasets.scanpath.assign import AssignRule
from vision_suite.datasets.scanpath.geometry import grid_boxes, overlap
from vision_suite.datasets.scanpath.paths import PathBuilder
from vision_suite.datasets.scanpath.records import ScanpathSet, check_scene
from vision_suite.datasets.scanpath.values import number
from vision_suite.errors import DataError
from vision_suite.types import Condition, Scene, Trial
from vision_suite.types.arrays import Floats32

ROWS, COLUMNS = 6, 14
LENGTH_DEVIATIONS = 3.0
RULE = AssignRule("first_box")
ANNOTATIONS = ("amazon_data.json", "Amazon.json")
MASK_LEVEL = 127


def read_amazon_covers(folder: Path, rule: AssignRule | None = None) -> ScanpathSet:
    """Read a folder of either layout, also one level below (``amazon_data/``, ``AmazonCovers/``).

    Boxes are the outlines of the masks ``binarymask/14x6-<image>`` where that folder is there, else the cells of a
    uniform grid. The target is the box that overlaps the annotated one most.

    Args:
        folder: The data set's folder.
        rule: Rule from pixels to objects; OAT's by default (first box, else nearest centre).

    Raises:
        DataError: A file is missing or malformed, or a mask does not show 84 covers.
    """
    path = _annotations(folder)
    contents = read_json(path)
    if not isinstance(contents, dict) or not contents:
        raise DataError(f"{str(path)!r} holds no collages: a JSON object by picture name is needed")
    root = path.parent
    masks, pictures, targets = root / "binarymask", root / "images", root / "target"
    builder = PathBuilder(RULE if rule is None else rule)
    scenes: dict[str, Scene] = {}
    trials: list[Trial] = []
    for name in sorted(contents, key=_number):
        entry = contents[name]
        try:
            size = (float(entry["size"]["width"]), float(entry["size"]["height"]))
            truth = [[float(box[side]) for side in ("xmin", "ymin", "xmax", "ymax")] for box in entry["ground_truth"]]
            target_name, fixations = str(entry["target"]), dict(entry["fixations"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{str(path)!r}: collage {name!r} lacks or garbles {error}") from None
        if len(truth) != 1:
            raise DataError(f"{str(path)!r}: collage {name!r} has {len(truth)} target boxes where one is expected")
        if masks.is_dir():
            boxes = mask_boxes(masks / f"{COLUMNS}x{ROWS}-{name}")
        else:
            boxes = grid_boxes(ROWS, COLUMNS, cell=(size[0] / COLUMNS, size[1] / ROWS))
        picture = pictures / name
        if pictures.is_dir() and not is_file(picture):
            builder.problems["pictures_missing"] += 1
        scenes[name] = check_scene(
            Scene(
                name=name,
                size=size,
                boxes=boxes,
                labels=("cover",) * len(boxes),
                image=str(picture) if is_file(picture) else "",
                grid=(ROWS, COLUMNS),
            )
        )
        shared = overlap(boxes, truth[0])
        if not shared.max() > 0:
            raise DataError(f"{str(path)!r}: the target box {truth[0]} of collage {name!r} is on none of its covers")
        target = int(shared.argmax())
        crop = targets / target_name
        for subject in sorted(fixations, key=_number):
            points = fixations[subject]
            if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
                raise DataError(
                    f"{str(path)!r}: subject {subject} of collage {name!r} has a fixation that is no [x, y]"
                )
            where = f"{str(path)!r}: subject {subject} of collage {name!r}"
            x, y = ([number(point[side], where, "coordinate") for point in points] for side in (0, 1))
            found = builder.from_pixels(scenes[name], x, y, where=where)
            if found is None:
                continue
            image = str(crop) if is_file(crop) else ""
            task = Path(target_name).stem
            trials.append(found.trial(name, subject, task, Condition.PRESENT, (target,), target, target_image=image))
    notes: dict[str, object] = {
        "boxes": "outlines of masks" if masks.is_dir() else f"uniform {ROWS} x {COLUMNS} grid: the masks are absent",
        "pictures": "absent: grey crops" if not any(scene.image for scene in scenes.values()) else "present",
    }
    return builder.scanpath_set("amazon_covers", root, scenes, trials, notes)


def mask_boxes(path: Path) -> Floats32:
    """Outlines of the covers in a mask, row by row: (84, 4) float32.

    OAT's order: by the upper edge in steps of 10 pixels, then from left to right.

    Raises:
        DataError: The mask is missing, cannot be read, or does not show 84 covers.
    """
    from scipy.ndimage import find_objects, label

    mask = np.asarray(open_picture(str(path)).convert("L")) > MASK_LEVEL
    regions, _ = label(mask, structure=np.ones((3, 3)))
    boxes = [(x.start, y.start, x.stop, y.stop) for y, x in find_objects(regions)]
    if len(boxes) != ROWS * COLUMNS:
        raise DataError(
            f"mask {str(path)!r} shows {len(boxes)} covers where {ROWS * COLUMNS} are expected: copy it again"
        )
    boxes.sort(key=lambda box: (box[1] // 10 * 10, box[0]))
    return np.array(boxes, dtype=np.float32)


def _annotations(folder: Path) -> Path:
    for candidate in (folder, folder / "amazon_data", folder / "AmazonCovers"):
        for name in ANNOTATIONS:
            if (candidate / name).is_file():
                return candidate / name
    raise DataError(
        f"{str(folder)!r} does not hold {' or '.join(ANNOTATIONS)}: point --data.root at the unpacked data set"
    )


def _number(name: str) -> tuple[int, str]:
    """Sorting key that puts 2.jpg before 10.jpg."""
    digits = re.match(r"\d+", name)
    return (int(digits[0]) if digits else -1, name)
