"""Boxes of objects read from a file, for pictures given to predict.

JSON: a list of boxes in pixels for each picture, each box with a label if wanted::

    {"desk.jpg": [[12, 40, 90, 160, "cup"], [200, 30, 420, 200]], "shelf/left.jpg": [[0, 0, 50, 80]]}

CSV: one row a box, ``image,x1,y1,x2,y2`` and if wanted ``label``. Corners are in pixels of the picture, from its upper
left corner: neither x, y, width, height nor shares of the picture. Pictures are named by their path relative to the
folder that is predicted on, or by their file name alone. Boxes are numbered from 0 in the file's order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.utilities import rank_zero_warn

from vision_suite.datasets.files import finite, read_json
from vision_suite.datasets.scanpath.readers.table_csv import box_rows
from vision_suite.datasets.scanpath.readers.table_scenes import check_pixels
from vision_suite.detectors.boxes import ObjectBoxes
from vision_suite.errors import DataError

FORM = "give [x1, y1, x2, y2] or [x1, y1, x2, y2, label] in pixels"


def boxes_of(rows: Sequence[Sequence[Any]], where: str) -> ObjectBoxes:
    """Boxes of rows ``[x1, y1, x2, y2]`` or ``[x1, y1, x2, y2, label]``.

    Args:
        rows: One row a box, in pixels.
        where: File and picture, for messages.

    Raises:
        DataError: A row has another form.
    """
    corners = np.zeros((len(rows), 4), dtype=np.float32)
    labels = []
    for number, row in enumerate(rows):
        if isinstance(row, str) or not isinstance(row, Sequence) or len(row) not in (4, 5):
            raise DataError(f"{where}: box {number} is {row!r}: {FORM}")
        corners[number] = [finite(side) for side in row[:4]]
        if not np.isfinite(corners[number]).all():
            raise DataError(f"{where}: box {number} {list(row[:4])} holds what is no number: {FORM}")
        labels.append(str(row[4]).strip() if len(row) == 5 and row[4] is not None else "")
    return ObjectBoxes(corners, tuple(labels), np.ones(len(rows), dtype=np.float32))


def read_boxes(file: str) -> dict[str, ObjectBoxes]:
    """Boxes by picture of a file in one of the two forms.

    Raises:
        DataError: It is missing or has another form, or all boxes of a picture are shares of it.
    """
    path = Path(file).expanduser()
    if not path.is_file() or path.suffix.lower() not in (".json", ".csv"):
        raise DataError(f"boxes {file!r}: no such .json or .csv file")
    if path.suffix.lower() == ".csv":
        rows, unread = box_rows(path)
        for line in unread:
            rank_zero_warn(line)
        contents: object = {
            row["image"]: [[*box, label] for box, label in zip(row["boxes"], row["labels"], strict=True)]
            for row in rows
        }
    else:
        contents = read_json(path)
    if not isinstance(contents, dict) or not all(isinstance(rows, list) for rows in contents.values()):
        raise DataError(f"boxes {file!r} do not map pictures to lists of boxes: write {{'desk.jpg': [[...], ...]}}")
    found = {str(name): boxes_of(rows, f"boxes {file!r} of {name!r}") for name, rows in contents.items()}
    for name, boxes in found.items():
        check_pixels(boxes.corners, f"boxes {file!r} of {name!r}")
    return found


def match_names(pictures: Sequence[str], named: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The entry of a file that belongs to each picture.

    Args:
        pictures: Paths relative to the folder, with slashes.
        named: Names of the file's entries.

    Returns:
        Names by picture, as far as there are any, and the names that belong to no picture.

    Raises:
        DataError: A bare file name could mean several pictures.
    """
    known, found = set(named), {}
    for picture in pictures:
        bare = Path(picture).name
        if picture in known:
            found[picture] = picture
        elif bare in known:
            same = [other for other in pictures if Path(other).name == bare and other not in known]
            if len(same) > 1:
                raise DataError(f"boxes of {bare!r} could be those of {same[0]!r} or {same[1]!r}: name them by path")
            found[picture] = bare
    used = set(found.values())
    return found, [name for name in named if name not in used]
