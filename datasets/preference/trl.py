"""Pairs as TRL writes them: ``prompt``, ``chosen`` and ``rejected``, each a text or a list of messages.

A last message of the assistant in the prompt is the beginning of the answer, which both sides continue. Without a
prompt, the messages that both sides begin with are one. Pictures stand in a column of their own (``images``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from vision_suite.datasets.conversations.messages import messages_of, placed
from vision_suite.datasets.conversations.rows import BadRow, Turn, join_neighbours, number_markers, text_of
from vision_suite.types.conversations import ImageRef, Message, Speaker
from vision_suite.types.preference import PreferenceRow

Said = tuple[Speaker, Any]  # speaker and content of a message


def trl_row(record: Mapping[str, Any], name: str, images: Sequence[ImageRef], source: str) -> PreferenceRow:
    """Row of a record with ``chosen`` and ``rejected``.

    Args:
        record: Record of a file.
        name: Name of the row.
        images: Its pictures.
        source: Name of its source.

    Raises:
        BadRow: It is malformed, or its places of pictures are not as many as its pictures.
    """
    if record.get("chosen") is None or record.get("rejected") is None:
        raise BadRow("malformed", "it has neither question with y_win and y_lose, nor prompt with chosen and rejected")
    sides = [messages_of(record[side], side, "assistant") for side in ("chosen", "rejected")]
    if record.get("prompt") is not None:
        asked = messages_of(record["prompt"], "prompt", "user")
    else:
        asked, sides = _shared(*sides)
    if isinstance(record.get("prompt"), str) and isinstance(record.get("context"), str):
        asked = [*asked, ("assistant", record["context"])]
    context = _text(asked.pop()) if asked and asked[-1][0] == "assistant" else ""
    turns = join_neighbours(_turns(asked, images), Counter())
    if not turns or turns[-1][0] != "user":
        raise BadRow("malformed", "its prompt has no question")
    for side in sides:
        if len(side) != 1 or side[0][0] != "assistant":
            raise BadRow("malformed", "chosen and rejected must be one answer each, behind the same prompt")
    messages = tuple(Message(who, parts) for who, parts in turns)
    return PreferenceRow(name, messages, tuple(images), context, _text(sides[0][0]), _text(sides[1][0]), source=source)


def _shared(chosen: list[Said], rejected: list[Said]) -> tuple[list[Said], list[list[Said]]]:
    """Messages that both sides begin with, and the rest of each."""
    count = 0
    while count < min(len(chosen), len(rejected)) - 1 and chosen[count] == rejected[count]:
        count += 1
    return chosen[:count], [chosen[count:], rejected[count:]]


def _turns(asked: Sequence[Said], images: Sequence[ImageRef]) -> list[Turn]:
    """Turns of the prompt; texts may hold markers of pictures, lists of parts say themselves where they stand."""
    if any(isinstance(content, list) for _, content in asked):
        return placed(asked, len(images))
    turns = [(who, text_of(content, "content of a message")) for who, content in asked]
    return number_markers(turns, len(images), Counter())


def _text(said: Said) -> str:
    """Text of an answer, without pictures."""
    content = said[1]
    if not isinstance(content, list):
        return text_of(content, "content of a message")
    if any(not isinstance(part, Mapping) or part.get("type") != "text" for part in content):
        raise BadRow("malformed", "an answer has a part that is no text")
    return "".join(text_of(part.get("text"), "text of a message") for part in content)
