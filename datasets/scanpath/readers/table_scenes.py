"""Scenes of a table: a picture's boxes, labels, size and vectors, each checked."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from vision_suite.datasets.files import JsonObject, is_file
from vision_suite.datasets.pictures.images import open_picture
from vision_suite.datasets.scanpath.paths import SMALLEST
from vision_suite.datasets.scanpath.records import check_scene, check_size
from vision_suite.datasets.scanpath.values import flag, list_of, number, text, whole_number
from vision_suite.errors import DataError
from vision_suite.types import Scene
from vision_suite.types.arrays import Floats32

SCENE_KEYS = ("image", "width", "height", "boxes", "labels", "grid", "features", "fold", "picture")


def scene_of(path: Path, count: int, row: JsonObject, problems: Counter[str]) -> Scene:
    """The scene that a row describes.

    Args:
        path: File of the row; pictures and vectors are relative to its folder.
        count: Number of the scene in the file, for messages.
        row: Values by key.
        problems: Counter of problems; boxes that reach beyond the picture are counted.

    Raises:
        DataError: A value is missing or malformed, a box is no box of the picture, or the picture has another size.
    """
    folder, where = path.parent, f"{str(path)!r} scene {count}"
    try:
        name = text(row["image"], "image")
        boxes = _boxes(list_of(row["boxes"], "boxes"), where)
        labels = tuple(text(label, "label") for label in list_of(row.get("labels"), "labels") or [""] * len(boxes))
        grid = None if row.get("grid") is None else (int(row["grid"][0]), int(row["grid"][1]))
        fold = whole_number(row.get("fold", -1), "fold")
        given_size = [number(row.get(side), where, side) for side in ("width", "height")]
        pictured = flag(row.get("picture", True), "picture")
    except (KeyError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{where} lacks or garbles {error}: image and boxes [[x1, y1, x2, y2], ...] are needed"
        ) from None
    if not name:
        raise DataError(f"{where} has no image: name the picture")
    picture = folder / name
    has_picture = pictured and is_file(picture)
    size = (given_size[0], given_size[1])
    told = math.isfinite(size[0]) and math.isfinite(size[1])
    if not told:
        if not has_picture:
            raise DataError(f"{where}: picture {name!r} is missing, so give width and height")
        opened = open_picture(str(picture))
        size = (float(opened.width), float(opened.height))
    if not max(size) <= SMALLEST:
        check_pixels(boxes, where)
    outside = (boxes[:, 2:] <= 0).any(axis=1) | (boxes[:, :2] >= np.array(size)).any(axis=1)
    if outside.any():
        box = boxes[outside.argmax()].tolist()
        raise DataError(
            f"{where}: box {int(outside.argmax())} {box} lies outside the picture of {size[0]:g} x {size[1]:g} pixels: "
            f"correct it ({int(outside.sum())} of {len(boxes)} boxes do)"
        )
    beyond = (boxes[:, :2] < -1).any(axis=1) | (boxes[:, 2:] > np.array(size) + 1).any(axis=1)
    problems["boxes_beyond_the_border"] += int(beyond.sum())
    features = inside(folder, row.get("features"), where)
    image = str(picture) if has_picture else ""
    scene = check_scene(Scene(name, size, boxes, labels, image, grid=grid, features=features, fold=fold))
    if told and image:
        with contextlib.suppress(OSError), Image.open(image) as header:  # unreadable: refused where it is needed
            # Pictures are shown upright; Pillow tells the upright size of TIFF files alone.
            turned = header.format != "TIFF" and header.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
            check_size(scene, header.size[::-1] if turned else header.size)
    return scene


def _boxes(rows: list[object], where: str) -> Floats32:
    """(N, 4) corners.

    Raises:
        DataError: A row is something else.
    """
    for index, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != 4:
            raise DataError(f"{where}: box {index} is {row!r:.60}: boxes [x1, y1, x2, y2] in pixels are needed")
    corners = [
        [number(side, f"{where}: box {index}", "corner") for side in list_of(row, "box")]
        for index, row in enumerate(rows)
    ]
    return np.array(corners, dtype=np.float32).reshape(-1, 4)


def check_pixels(boxes: Floats32, where: str) -> None:
    """Refuse boxes that are all within 0..1.

    Args:
        boxes: (N, 4) corners.
        where: File and picture, for the message.

    Raises:
        DataError: They are.
    """
    if len(boxes) and (boxes >= 0).all() and (boxes <= 1).all() and not np.isin(boxes, (0, 1)).all():
        raise DataError(
            f"{where}: all {len(boxes)} boxes have corners within 0..1, but pixels of the picture are needed: multiply "
            "x by the picture's width and y by its height"
        )


def inside(folder: Path, name: object, where: str) -> str:
    """The path of a file that a row names, empty where it names none.

    Args:
        folder: Folder that it is relative to.
        name: Name of the file.
        where: File and row, for the message.

    Raises:
        DataError: It is missing.
    """
    if not name:
        return ""
    if not isinstance(name, str) or not is_file(folder / name):
        raise DataError(f"{where} names {name!r:.100}, which is missing in {str(folder)!r}")
    return str(folder / name)
