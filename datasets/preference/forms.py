"""Forms in which files write a pair: SENTINEL's two training routes, its generator, and TRL's.

SENTINEL (`run/generate_dataset.py` and the loaders of its repository): ``image_id``, ``image_path``, ``question``,
``context``, ``y_win``, ``y_lose``; the loaders also take ``win`` and ``lose``, and read ``hallu_objects_of_lose`` where
the generator writes ``hallu_objects_of_y_lose``. LLaMA-Factory: ``instruction``, ``context``, ``chosen``,
``rejected``, ``images``. TRL: ``prompt``, ``chosen``, ``rejected``, ``images``, texts or lists of messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vision_suite.datasets.conversations.llava import named_images
from vision_suite.datasets.conversations.rows import SHOWN, BadRow, Turn, name_of, number_markers, text_of
from vision_suite.datasets.pictures.records import PICTURE_SUFFIXES
from vision_suite.datasets.preference.trl import trl_row
from vision_suite.types.conversations import ImageRef, Message
from vision_suite.types.preference import PreferenceRow

# Keys of each side, the first one that is there counts.
CHOSEN, REJECTED = ("y_win", "win", "chosen"), ("y_lose", "lose", "rejected")
CHOSEN_OBJECTS = ("objects_of_y_win", "objects_of_win")
REJECTED_OBJECTS = ("objects_of_y_lose", "hallu_objects_of_y_lose", "hallu_objects_of_lose")


def pair_of(
    record: object, name: str, folder: Path, source: str, images: Sequence[ImageRef] | None = None
) -> PreferenceRow:
    """Row of a record of any form.

    Args:
        record: Record of a file.
        name: Name of the row if the record has no ``id``.
        folder: Folder that the names of pictures are relative to.
        source: Name of the source.
        images: Pictures that stand beside the record in a table or archive; None if it names them itself.

    Raises:
        BadRow: It cannot be used.
    """
    if isinstance(record, Mapping):
        if isinstance(record.get("id"), str | int):
            name = str(record["id"])
        elif isinstance(record.get("image_id"), str | int):
            name = f"{record['image_id']} {name}"
    try:
        name = name_of(name, "its id")
        if not isinstance(record, Mapping):
            raise BadRow("malformed", "it is no object")
        if record.get("question") is not None or record.get("instruction") is not None:
            row = _sentinel_row(record, name, folder, source, images)
        else:
            row = trl_row(record, name, named_images(record, folder) if images is None else images, source)
        return _checked(_with_facts(row, record))
    except BadRow as error:
        raise BadRow(error.reason, f"row {name[:SHOWN]!r}: {error}") from None


def _sentinel_row(
    record: Mapping[str, Any], name: str, folder: Path, source: str, images: Sequence[ImageRef] | None
) -> PreferenceRow:
    """Row of a single question with the beginning of its answer."""
    asked = record.get("question") if record.get("question") is not None else record.get("instruction")
    found = list(images) if images is not None else _pictures(record, folder)
    turns: list[Turn] = number_markers([("user", text_of(asked, "its question"))], len(found), Counter())
    return PreferenceRow(
        id=name,
        messages=tuple(Message(who, parts) for who, parts in turns),
        images=tuple(found),
        context=text_of(record.get("context") or "", "its context"),
        chosen=_side(record, CHOSEN, "its preferred answer"),
        rejected=_side(record, REJECTED, "its other answer"),
        source=source,
    )


def _side(record: Mapping[str, Any], keys: Sequence[str], what: str) -> str:
    """Text of one side."""
    value = _first(record, keys)
    if value is None:
        raise BadRow("malformed", f"{what} is missing: it has none of the keys {', '.join(keys)}")
    return text_of(value, what)


def _pictures(record: Mapping[str, Any], folder: Path) -> list[ImageRef]:
    """Pictures by ``image_path``, ``images`` or ``image``; else the file in the folder that ``image_id`` names."""
    path = record.get("image_path")
    if path:
        return [ImageRef(folder / text_of(path, "image_path of the row"))]
    named = named_images(record, folder)
    key = record.get("image_id")
    if named or key is None:
        return named
    file = folder / str(key)
    if file.suffix.lower() in PICTURE_SUFFIXES:
        return [ImageRef(file)]
    there = [file.with_name(file.name + ending) for ending in PICTURE_SUFFIXES]
    return [ImageRef(next((each for each in there if each.is_file()), there[0]))]


def _with_facts(row: PreferenceRow, record: Mapping[str, Any]) -> PreferenceRow:
    """The row with what a record of any form may also tell: ends of the answers and objects."""
    ends = [record.get(key) for key in ("chosen_ends", "rejected_ends")]
    if any(not (end is None or isinstance(end, bool)) for end in ends):
        raise BadRow("malformed", "chosen_ends or rejected_ends is neither true, false nor null")
    return replace(
        row,
        chosen_ends=ends[0],
        rejected_ends=ends[1],
        chosen_objects=_names(record, CHOSEN_OBJECTS),
        rejected_objects=_names(record, REJECTED_OBJECTS),
    )


def _checked(row: PreferenceRow) -> PreferenceRow:
    """The row without white space around its texts, which are joined by one blank.

    Raises:
        BadRow: A side is empty, or both are the same.
    """
    context, chosen, rejected = row.context.strip(), row.chosen.strip(), row.rejected.strip()
    if not chosen or not rejected:
        raise BadRow("no_targets", f"its {'preferred' if not chosen else 'other'} answer is empty")
    if chosen == rejected:
        raise BadRow("identical", "both answers are the same")
    return replace(row, context=context, chosen=chosen, rejected=rejected)


def _first(record: Mapping[str, Any], keys: Sequence[str]) -> object:
    return next((record[key] for key in keys if record.get(key) is not None), None)


def _names(record: Mapping[str, Any], keys: Sequence[str]) -> tuple[str, ...]:
    value = _first(record, keys)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise BadRow("malformed", f"{keys[0]} is no list of names")
    return tuple(text_of(each, "a name of an object") for each in value)
