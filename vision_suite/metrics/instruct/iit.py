"""Interleaved chains of text and picture questions (IIT): tasks by configuration, gold or written history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from vision_suite.errors import DataError
from vision_suite.types.instruct import Message, Row

History = Literal["gold", "model"]
CONFIGS = ("T", "TT", "TTT", "TTV", "TV", "V")  # Wings, section 4.2
FOLDER = "iit"
OWN = "/model-history"


def chain_task(config: str, history: History = "gold") -> str:
    """Name of the task of a configuration; only the last turn is scored.

    Args:
        config: Kinds of the turns, ``T`` for text and ``V`` for pictures.
        history: Answers that stand in the earlier turns: the right ones, or those that the model wrote.

    Raises:
        DataError: The configuration has no turn, or turns of another kind.

    Example:
        >>> chain_task("TTV"), chain_task("TTV", "model")
        ('iit/TTV', 'iit/TTV/model-history')
    """
    if not config or set(config) - {"T", "V"}:
        raise DataError(f"configuration {config!r} of a chain: give the kinds of its turns, such as TTV")
    return f"{FOLDER}/{config}" + (OWN if history == "model" else "")


def earlier_prompts(row: Row) -> list[tuple[Message, ...]]:
    """The conversation up to each earlier question of a chain; a model that answers them writes its own history.

    Each prompt holds the right answers to the questions before it; put the written ones in their place with
    `with_history` before the next is asked.

    Example:
        >>> turns = [("user", "1+1?"), ("assistant", "2"), ("user", "2+2?")]
        >>> row = Row("a", tuple(Message(role, (text,)) for role, text in turns))
        >>> [[message.role for message in prompt] for prompt in earlier_prompts(row)]
        [['user']]
    """
    return [row.messages[:place] for place, message in enumerate(row.messages) if message.role == "assistant"]


def with_history(messages: Sequence[Message], answers: Sequence[str]) -> tuple[Message, ...]:
    """A conversation with other answers in its first assistant's turns.

    Args:
        messages: Turns.
        answers: Answers, in their order, of at most as many turns as the assistant has.

    Raises:
        DataError: There are more answers than the assistant has turns.

    Example:
        >>> turns = [Message("user", ("1+1?",)), Message("assistant", ("2",)), Message("user", ("2+2?",))]
        >>> with_history(turns, ["3"])[1].parts
        ('3',)
    """
    left = list(answers)
    found = []
    for message in messages:
        found.append(Message("assistant", (left.pop(0),)) if message.role == "assistant" and left else message)
    if left:
        raise DataError(f"{len(answers)} answers for {len(answers) - len(left)} turns of the assistant: give one each")
    return tuple(found)
