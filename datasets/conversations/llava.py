"""Conversations as LLaVA, ShareGPT and Alpaca write them.

LLaVA (`docs/Finetune_Custom_Data.md` of its repository): ``id``, ``image`` (a path below the folder of pictures,
absent for text, a list for several) and ``conversations``, a list of ``{"from": "human" | "gpt" | "system", "value":
text}``. ShareGPT is the same without pictures. Alpaca: ``instruction``, ``input``, ``output``, and ``history`` in some
copies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vision_suite.datasets.conversations.rows import BadRow, conversation, number_markers, speaker, text_of
from vision_suite.types.conversations import ImageRef, Row, Speaker


def named_images(record: Mapping[str, Any], folder: Path) -> list[ImageRef]:
    """Pictures that a record names under ``image`` or ``images``, by their paths below a folder.

    Raises:
        BadRow: A name is no text.
    """
    found: list[ImageRef] = []
    for key in ("image", "images"):
        value = record.get(key)
        names = value if isinstance(value, list) else [] if value in (None, "") else [value]
        found += [ImageRef(folder / text_of(name, f"{key} of the row")) for name in names]
    return found


def llava_row(
    record: Mapping[str, Any], name: str, images: Sequence[ImageRef], source: str, notes: Counter[str]
) -> Row:
    """Row of a record with ``conversations``.

    Raises:
        BadRow: It is malformed, or its markers do not match its pictures.
    """
    turns: list[tuple[Speaker, str]] = []
    for turn in _list(record.get("conversations"), "conversations"):
        if not isinstance(turn, Mapping):
            raise BadRow("malformed", "a turn is no object with from and value")
        turns.append((speaker(turn.get("from", turn.get("role"))), text_of(turn.get("value"), "value of a turn")))
    if not turns:
        raise BadRow("no_answer", "its conversations are empty")
    return conversation(name, number_markers(turns, len(images), notes), images, source, notes)


def alpaca_row(
    record: Mapping[str, Any], name: str, images: Sequence[ImageRef], source: str, notes: Counter[str]
) -> Row:
    """Row of a record with ``instruction`` and ``output``; ``input`` follows the instruction after an empty line.

    Raises:
        BadRow: It is malformed.
    """
    turns: list[tuple[Speaker, str]] = []
    if record.get("system"):
        turns.append(("system", text_of(record["system"], "system")))
    for pair in _list(record.get("history") or [], "history"):
        if not isinstance(pair, list) or len(pair) != 2:
            raise BadRow("malformed", "history is no list of questions and answers")
        turns += [("user", text_of(pair[0], "question")), ("assistant", text_of(pair[1], "answer"))]
    asked = text_of(record.get("instruction"), "instruction")
    extra = text_of(record.get("input") or "", "input")
    turns.append(("user", f"{asked}\n\n{extra}" if extra.strip() else asked))
    turns.append(("assistant", text_of(record.get("output"), "output")))
    return conversation(name, number_markers(turns, len(images), notes), images, source, notes)


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadRow("malformed", f"{what} is no list")
    return value
