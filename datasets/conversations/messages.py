"""Conversations as OpenAI and TRL write them: ``messages``, or ``prompt`` and ``completion``.

A message's ``content`` is a text, or a list of ``{"type": "text", "text": ...}`` and ``{"type": "image"}``; the
pictures are in a column of their own (``images``, an empty list for text), in the order of their places. Tables fill
the keys that a part does not use with null.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from vision_suite.datasets.conversations.rows import BadRow, Turn, conversation, number_markers, speaker, text_of
from vision_suite.types.conversations import ImageRef, Row, Speaker


def messages_row(
    record: Mapping[str, Any], name: str, images: Sequence[ImageRef], source: str, notes: Counter[str]
) -> Row:
    """Row of a record with ``messages``, or with ``prompt`` and ``completion``.

    Raises:
        BadRow: It is malformed, or its places of pictures are not as many as its pictures.
    """
    if record.get("messages") is not None:
        found = messages_of(record["messages"], "messages", "user")
    else:
        found = messages_of(record.get("prompt"), "prompt", "user")
        found += messages_of(record.get("completion"), "completion", "assistant")
    if not found:
        raise BadRow("no_answer", "its messages are empty")
    if any(isinstance(content, list) for _, content in found):
        return conversation(name, placed(found, len(images)), images, source, notes)
    turns = [(who, text_of(content, "content of a message")) for who, content in found]
    return conversation(name, number_markers(turns, len(images), notes), images, source, notes)


def messages_of(value: object, what: str, who: Speaker) -> list[tuple[Speaker, Any]]:
    """Speaker and content of each message; a plain text is one message."""
    if isinstance(value, str):
        return [(who, value)]
    if not isinstance(value, list) or not all(isinstance(message, Mapping) for message in value):
        raise BadRow("malformed", f"{what} is no list of messages")
    return [(speaker(message.get("role")), message.get("content")) for message in value]


def placed(found: Sequence[tuple[Speaker, Any]], images: int) -> list[Turn]:
    """Turns of messages that say themselves where pictures stand; their texts may speak of markers."""
    turns: list[Turn] = []
    used = 0
    for who, content in found:
        parts: list[str | int] = []
        for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            kind = part.get("type") if isinstance(part, Mapping) else None
            if kind == "text":
                parts.append(text_of(part.get("text"), "text of a message"))
            elif kind in ("image", "image_url") and who == "user":
                parts.append(used)
                used += 1
            elif kind in ("image", "image_url"):
                raise BadRow("marker_mismatch", f"a picture stands in a turn of the {who}, not of the user")
            else:
                raise BadRow("malformed", f"a part of a message is of type {str(kind)[:40]!r}, not text or image")
        turns.append((who, tuple(part for part in parts if part != "")))
    if used != images:
        raise BadRow("marker_mismatch", f"its messages have {used} places for pictures, and it has {images} pictures")
    return turns
