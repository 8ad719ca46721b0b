"""Questions to evaluate on: one JSON object a line, with choices or a free answer, alone or as a chain of turns.

``{"id", "config", "turns": [{"kind": "T" | "V", "source", "question", "choices", "answer": "B", "images"}]}``. Without
``choices`` the ``answer`` is free text; to predict, the last turn needs none. Earlier turns of a chain are answered as
the file says (gold history). ``config`` is the kinds of a chain's turns, such as ``TTV``. A line ``{"id", "text"}`` is
plain text, for perplexity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from vision_suite.datasets.conversations.rows import MARKER, BadRow, name_of, split_markers, text_of
from vision_suite.text.choices import LETTERS, listed_choices
from vision_suite.types.conversations import ImageRef, Message, Row

Choices = Literal["letters", "texts"]


def question_row(
    record: Mapping[str, Any], name: str, folder: Path, source: str, notes: Counter[str], choices: Choices
) -> Row:
    """Row of a record with ``turns``.

    Args:
        record: Record of the file.
        name: Name of the row.
        folder: Folder that the names of pictures are relative to.
        source: Name of the row's source if its last turn has none.
        notes: Takes the numbers of rows that were changed, by kind.
        choices: Ask for letters, which the question lists, or for the texts themselves, which it does not.

    Raises:
        BadRow: It is malformed.
    """
    turns = record.get("turns")
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, Mapping) for turn in turns):
        raise BadRow("malformed", "turns is no list of questions")
    messages: list[Message] = []
    images: list[ImageRef] = []
    row = Row("")
    for turn in turns:
        if messages and not is_answered(row):
            raise BadRow("empty_answer", "an earlier turn has no answer")
        if messages:
            messages.append(Message("assistant", (_reply(row),)))
        row = _turn(turn, choices)
        own = [folder / text_of(each, "a picture's name") for each in _list(turn, "images")]
        messages.append(Message("user", _parts(row.text, own, len(images), notes)))
        images += [ImageRef(path) for path in own]
    task = name_of(turns[-1].get("source") or source, "source")
    config = text_of(record.get("config") or "", "config")
    if config and (kinds := "".join(str(turn.get("kind", "")) for turn in turns)) and kinds != config:
        raise BadRow("malformed", f"config is {config[:40]!r} and the kinds of its turns are {kinds[:40]!r}")
    if len(turns) > 1 and set(config) - set("TV"):
        raise BadRow("malformed", f"config {config[:40]!r} of a chain is not made of T and V")
    return replace(row, id=name, messages=tuple(messages), images=tuple(images), source=task, text="", config=config)


def text_row(record: Mapping[str, Any], name: str, source: str) -> Row:
    """Row of plain text.

    Raises:
        BadRow: The text is empty.
    """
    text = text_of(record.get("text"), "text")
    if not text.strip():
        raise BadRow("empty_answer", "its text is empty")
    task = name_of(record.get("source") or source, "source")
    return Row(name, text=text, source=task)


def as_question(row: Row) -> Row:
    """A row to train on as a question: its last answer becomes the reference. Other rows stay as they are."""
    if not row.messages or row.messages[-1].role != "assistant":
        return row
    return replace(row, messages=row.messages[:-1], reference="".join(map(str, row.messages[-1].parts)))


def with_answer(row: Row) -> Row:
    """A question as a row to train on: its right answer becomes the last turn. Other rows stay as they are."""
    if not row.messages or row.messages[-1].role == "assistant" or not is_answered(row):
        return row
    return replace(row, messages=(*row.messages, Message("assistant", (_reply(row),))))


def is_answered(row: Row) -> bool:
    """Tell whether the right answer of a question is known."""
    return row.answer >= 0 or bool(row.reference.strip())


def _turn(turn: Mapping[str, Any], choices: Choices) -> Row:
    """Choices, answer and reference of one turn, with the question as its text."""
    asked, answer = text_of(turn.get("question"), "question"), text_of(turn.get("answer") or "", "answer")
    listed = [text_of(each, "a choice") for each in _list(turn, "choices")]
    if not asked.strip():
        raise BadRow("malformed", "a question is empty")
    if not listed:
        return Row("", reference=answer, text=asked)
    known = ("", *LETTERS[: len(listed)])
    if not 2 <= len(listed) <= len(LETTERS) or answer not in known:
        raise BadRow("malformed", f"answer {answer[:40]!r} is no letter of its {len(listed)} choices")
    if len(set(listed)) < len(listed):
        raise BadRow("malformed", "a choice is there twice")
    letters = choices == "letters"
    text = listed_choices(asked, listed) if letters else asked
    return Row("", choices=tuple(listed), answer=known.index(answer) - 1, text=text, lettered=letters)


def _reply(row: Row) -> str:
    """Text of the right answer."""
    if not row.choices:
        return row.reference
    return LETTERS[row.answer] if row.lettered else row.choices[row.answer]


def _parts(text: str, images: Sequence[Path], first: int, notes: Counter[str]) -> tuple[str | int, ...]:
    """Parts of a question; pictures without any marker are put before it."""
    count = text.count(MARKER)
    if images and not count:
        notes["images_without_marker_put_first"] += 1
        text = f"{MARKER}\n" * len(images) + text
    elif count != len(images):
        raise BadRow("marker_mismatch", f"a question has {count} markers {MARKER} and {len(images)} pictures")
    return split_markers(text, first)


def _list(turn: Mapping[str, Any], key: str) -> list[Any]:
    value = turn.get(key) or []
    if not isinstance(value, list):
        raise BadRow("malformed", f"{key} is no list")
    return value
