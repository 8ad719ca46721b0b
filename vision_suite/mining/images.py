"""Lists of pictures to mine: the authors' JSON lines, or COCO's instances."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vision_suite.datasets.files import numbered_lines, parse_json, read_json
from vision_suite.errors import DataError
from vision_suite.mining.step import MiningImage


def read_images(path: Path, question: str, *, root: Path | None = None, limit: int | None = None) -> list[MiningImage]:
    """Pictures of a list, in its order.

    Args:
        path: JSON lines with ``image_id``, ``image_path`` and, if it differs, ``question`` (released
            ``image_data.jsonl``); or a JSON file whose ``images`` have ``id`` and ``file_name`` (COCO).
        question: What is asked about pictures without a question of their own.
        root: Folder of the pictures; None for that of the list.
        limit: Number of pictures from the beginning; None for all.

    Raises:
        DataError: The list is missing, malformed or empty, or has an id twice.
    """
    folder = (root or path.parent).absolute()
    entries = list(_lines(path) if path.suffix == ".jsonl" else _coco(path))
    found: dict[str, MiningImage] = {}
    for where, image_id, name, asked in entries:
        if not isinstance(image_id, int | str) or isinstance(image_id, bool) or not isinstance(name, str) or not name:
            raise DataError(f"{where}: a picture needs an id and the name of its file")
        if not isinstance(asked, str | None):
            raise DataError(f"{where}: the question is no text")
        if str(image_id) in found:
            raise DataError(f"{where}: id {image_id!r} is there twice: each picture needs its own")
        found[str(image_id)] = MiningImage(str(image_id), str(folder / name), asked or question)
    if not found:
        raise DataError(f"{path}: no pictures: give a list with some")
    return list(found.values())[:limit]


def _lines(path: Path) -> Iterable[tuple[str, Any, Any, Any]]:
    for number, line in numbered_lines(path):
        where = f"{path}:{number}"
        try:
            entry = parse_json(line)
        except ValueError as error:
            raise DataError(f"{where}: not JSON ({error})") from None
        if not isinstance(entry, dict):
            raise DataError(f"{where}: no object with image_id and image_path")
        yield where, entry.get("image_id"), entry.get("image_path"), entry.get("question")


def _coco(path: Path) -> Iterable[tuple[str, Any, Any, Any]]:
    contents = read_json(path)
    images = contents.get("images") if isinstance(contents, dict) else None
    if not isinstance(images, list) or not all(isinstance(entry, dict) for entry in images):
        raise DataError(f"{path}: no list `images`: give COCO's instances, or JSON lines with image_id and image_path")
    for number, entry in enumerate(images):
        yield f"{path}: images[{number}]", entry.get("id"), entry.get("file_name"), None
