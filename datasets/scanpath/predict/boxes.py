"""Boxes of objects in pictures of your own: read from a file, checked against the picture, found again by name.

JSON: by picture a list of boxes in pixels, each with a label if wanted::

    {"desk.jpg": [[12, 40, 90, 160, "cup"], [200, 30, 420, 200]], "shelf/left.jpg": [[0, 0, 50, 80]]}

CSV: one row a box, ``image,x1,y1,x2,y2`` and if wanted ``label``. Pictures are named by their path relative to the
folder that is predicted on, or by their file name alone. Boxes are numbered from 0 in the file's order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vision_suite.datasets.scanpath.readers.files import finite, read_json
from vision_suite.datasets.scanpath.readers.table import box_rows
from vision_suite.errors import DataError
from vision_suite.types.arrays import Floats32

FORM = "give [x1, y1, x2, y2] or [x1, y1, x2, y2, label] in pixels"


@dataclass(frozen=True, eq=False)
class Boxes:
    """Objects of one picture.

    Attributes:
        corners: (N, 4) float32 x1, y1, x2, y2 in pixels.
        labels: N names, empty where unknown.
        scores: (N,) float32 of a detector, 1 where a file gives the boxes.
        notes: What was left out or changed, by kind, and how often.
    """

    corners: Floats32
    labels: tuple[str, ...]
    scores: Floats32
    notes: Mapping[str, int] = field(default_factory=dict)

    def labelled(self, word: str) -> tuple[int, ...]:
        """Objects with a label, best score first and then in order; case and outer blanks do not count."""
        wanted = _plain(word)
        found = [number for number, label in enumerate(self.labels) if _plain(label) == wanted]
        return tuple(sorted(found, key=lambda number: -float(self.scores[number])))

    def inside(self, size: tuple[int, int], name: str) -> Boxes:
        """The boxes cut off at the picture's border, which is counted as ``boxes_cut_at_the_border``.

        Args:
            size: Width and height of the picture.
            name: The picture, for messages.

        Raises:
            DataError: There is none, or one has no area, or lies outside the picture.
        """
        if not len(self.corners):
            raise DataError(f"picture {name!r} has no box: a scanpath needs one object or more")
        low, high = np.zeros(4, dtype=np.float32), np.array([*size, *size], dtype=np.float32)
        for number, box in enumerate(self.corners):
            where = f"box {number} {[round(float(side), 2) for side in box]} of {name!r}"
            if not np.isfinite(box).all() or (box[2:] <= box[:2]).any():
                raise DataError(f"{where} is no x1, y1, x2, y2 with x1 < x2 and y1 < y2 (not x, y, width, height)")
            if (box[2:] <= 0).any() or (box[:2] >= high[:2]).any():
                raise DataError(f"{where} lies outside the picture of {size[0]} x {size[1]} pixels: mend or remove it")
        cut = np.clip(self.corners, low, high)
        changed = int((np.abs(cut - self.corners) > 0.5).any(axis=1).sum())  # rounding is nothing to report
        return Boxes(cut, self.labels, self.scores, {**self.notes, "boxes_cut_at_the_border": changed})


def boxes_of(rows: Sequence[Sequence[Any]], where: str) -> Boxes:
    """Boxes of rows ``[x1, y1, x2, y2]`` or ``[x1, y1, x2, y2, label]``.

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
    return Boxes(corners, tuple(labels), np.ones(len(rows), dtype=np.float32))


def read_boxes(file: str) -> dict[str, Boxes]:
    """Boxes by picture of a file in one of the two forms.

    Raises:
        DataError: It is missing or has another form.
    """
    path = Path(file).expanduser()
    if not path.is_file() or path.suffix.lower() not in (".json", ".csv"):
        raise DataError(f"boxes {file!r}: no such .json or .csv file")
    if path.suffix.lower() == ".csv":
        contents: Any = {
            row["image"]: [[*box, label] for box, label in zip(row["boxes"], row["labels"], strict=True)]
            for row in box_rows(path)
        }
    else:
        contents = read_json(path)
    if not isinstance(contents, dict) or not all(isinstance(rows, list) for rows in contents.values()):
        raise DataError(f"boxes {file!r} do not map pictures to lists of boxes: write {{'desk.jpg': [[...], ...]}}")
    return {str(name): boxes_of(rows, f"boxes {file!r} of {name!r}") for name, rows in contents.items()}


def match_names(pictures: Sequence[str], named: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Which entry of a file each picture has.

    Args:
        pictures: Paths relative to the folder, with slashes.
        named: Names in the file.

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


def _plain(label: str) -> str:
    return " ".join(label.split()).casefold()
