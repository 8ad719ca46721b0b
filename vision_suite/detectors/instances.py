"""COCO's instances files: which objects each picture shows, and where (Lin et al., ECCV 2014)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vision_suite.errors import DataError

Box = tuple[float, float, float, float]  # x, y, width, height in pixels


@dataclass(frozen=True)
class Instance:
    """One object.

    Attributes:
        name: Index of its name.
        box: x, y, width, height in pixels.
        crowd: It stands for a group of objects.
    """

    name: int
    box: Box
    crowd: bool


@dataclass(frozen=True)
class InstancePicture:
    """One picture.

    Attributes:
        path: Its file.
        objects: Its objects.
        facts: Texts and whole numbers that the file tells of it, such as ``design`` or ``license``.
    """

    path: Path
    objects: tuple[Instance, ...]
    facts: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Instances:
    """Contents of an instances file.

    Attributes:
        path: The file.
        names: Names of the categories in the order of their ids.
        pictures: Its pictures in the file's order, those without objects too.
    """

    path: Path
    names: tuple[str, ...]
    pictures: tuple[InstancePicture, ...]


def read_instances(path: Path, image_root: Path | None = None) -> Instances:
    """Read an instances file; pictures are not opened.

    Args:
        path: The JSON file.
        image_root: Folder that its file names are relative to; by default its own.

    Raises:
        DataError: It is missing or no instances file, or names a picture or category that it does not list.
    """
    table = _table(path)
    root = path.parent if image_root is None else image_root
    try:
        categories = sorted((int(each["id"]), str(each["name"])) for each in table["categories"])
        images = {int(each["id"]): each for each in table["images"]}
        annotations = [
            (int(each["image_id"]), int(each["category_id"]), _box(each), bool(each.get("iscrowd", 0)))
            for each in table["annotations"]
        ]
        files = {number: root / str(each["file_name"]) for number, each in images.items()}
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{str(path)!r} is no COCO instances file ({error!r} in an entry): get it again") from None
    index = {number: place for place, (number, _) in enumerate(categories)}
    names = tuple(name for _, name in categories)
    _check_unique(path, "category id", len(index), len(categories))
    _check_unique(path, "category name", len(set(names)), len(names))
    _check_unique(path, "image id", len(images), len(table["images"]))
    unknown = [row for row in annotations if row[0] not in images or row[1] not in index]
    if unknown:
        raise DataError(
            f"{str(path)!r}: {len(unknown)} of {len(annotations)} annotations name an image or category that it does "
            f"not list, such as image {unknown[0][0]}, category {unknown[0][1]}: get the whole file"
        )
    objects: dict[int, list[Instance]] = {number: [] for number in images}
    for image, category, box, crowd in annotations:
        objects[image].append(Instance(index[category], box, crowd))
    pictures = [
        InstancePicture(files[number], tuple(objects[number]), _facts(entry)) for number, entry in images.items()
    ]
    return Instances(path, names, tuple(pictures))


def _table(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"instances file {str(path)!r} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0][:100]
        raise DataError(f"instances file {str(path)!r} is not JSON ({reason}): get it again") from None
    missing = [
        key for key in ("images", "annotations", "categories")
        if not isinstance(table, dict) or not isinstance(table.get(key), list)
    ]  # fmt: skip
    if missing:
        raise DataError(f"{str(path)!r} has no list {', '.join(missing)}: give a COCO instances file")
    found: dict[str, Any] = table
    return found


def _box(entry: Mapping[str, Any]) -> Box:
    x, y, width, height = (float(side) for side in entry["bbox"])
    return x, y, width, height


def _facts(entry: Mapping[str, Any]) -> dict[str, str | int]:
    """Plain values of an image's entry, without those that have a meaning of their own."""
    own = ("id", "file_name", "width", "height")
    return {
        str(key): value
        for key, value in entry.items()
        if key not in own and isinstance(value, str | int) and not isinstance(value, bool)
    }


def _check_unique(path: Path, what: str, different: int, total: int) -> None:
    if different != total:
        raise DataError(f"{str(path)!r} has {total - different} {what}s twice: get the file again")
