"""Conversations about pictures: messages, rows, batches and the chat format, the same whatever they are for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypedDict

if TYPE_CHECKING:
    from torch import Tensor

Speaker = Literal["system", "user", "assistant"]
IGNORED = -100  # label of a position without a loss


class Message(NamedTuple):
    """One turn of a conversation.

    Attributes:
        role: Speaker.
        parts: Texts, and numbers of pictures of the row, in their order.
    """

    role: Speaker
    parts: tuple[str | int, ...]


class ImageRef(NamedTuple):
    """A picture in a file, or a member of an archive or table.

    Attributes:
        path: File of the picture, or of the archive or table that holds it.
        start: Offset of its bytes in an archive, or its row in a table; -1 for a whole file.
        length: Number of bytes in an archive; 0 otherwise.
        column: Column and position of a table, and the folder that its paths are relative to, such as
            ``images:0@/data``; empty otherwise.
    """

    path: Path
    start: int = -1
    length: int = 0
    column: str = ""


@dataclass(frozen=True)
class Row:
    """One conversation, the same whatever file it is from.

    A row to train on ends with an assistant's turn. A row to evaluate ends with a user's turn and has `choices` and
    `answer`, or `reference`; a row of plain text has `text` and no messages.

    Attributes:
        id: Name in its file.
        messages: Turns.
        images: Pictures, by the numbers that messages use.
        source: Name of the file or task it is from.
        choices: Texts to choose from.
        answer: Index of the right choice, -1 if there are none.
        reference: Right answer in free text.
        text: Plain text, for perplexity.
        config: Kinds of the turns of a chain, such as ``TTV``; empty for a single question.
        lettered: True where the question lists its choices by letters and asks for one; else the texts of the choices
            are compared.
    """

    id: str
    messages: tuple[Message, ...] = ()
    images: tuple[ImageRef, ...] = ()
    source: str = ""
    choices: tuple[str, ...] = ()
    answer: int = -1
    reference: str = ""
    text: str = ""
    config: str = ""
    lettered: bool = True

    @property
    def is_chain(self) -> bool:
        """True for a row of a chain benchmark: it has several turns, or is a single one of a set of chains.

        Questions of other sets name the kind of their only turn too; those of a set of chains are numbered
        ``iit-000017``.

        Example:
            >>> Row("facts-1", config="T").is_chain, Row("iit-000001", config="T").is_chain
            (False, True)
        """
        return len(self.config) > 1 or (bool(self.config) and self.id.startswith("iit-"))


class InstructBatch(TypedDict, total=False):
    """Conversations as ids, padded on the right, or packed: several in a row, each with its own positions.

    ``input_ids`` (B, S) int64, a picture's placeholder repeated for each of its tokens. ``attention_mask`` (B, S) bool,
    true where kept. ``position_ids`` (B, S) int64, from 0 in each conversation. ``segments`` (B, S) int64, number of
    the conversation in its row, -1 for padding; only in packed batches. ``image_of_token`` (B, S) int64, index of the
    picture in ``image``, -1 for text. ``image`` (N, 3, H, W) float32, normalised, the pictures in the order of
    their placeholders; ``features`` (N, T, W) float32, a frozen tower's output, in its place. ``labels`` (B, S) int64,
    the id itself where it is supervised, `IGNORED` elsewhere (not shifted). ``index`` (B,) or, packed, (B, K) int64,
    index in the data set, -1 where there are fewer than K. ``source`` as ``index``: index of the source.
    ``step_targets`` () int64, supervised ids of the whole optimiser step, over its micro-batches and all processes.
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    segments: Tensor
    image_of_token: Tensor
    image: Tensor
    features: Tensor
    labels: Tensor
    index: Tensor
    source: Tensor
    step_targets: Tensor


class Prompt(Protocol):
    """Part of `vision_suite.text.token_ids.Encoded` that modules use."""

    @property
    def ids(self) -> list[int]:
        """(S,) ids."""

    @property
    def image_of_token(self) -> list[int]:
        """(S,) number of the picture, -1 for text."""


class Chat(Protocol):
    """Part of `vision_suite.text.chat.ChatFormat` that modules use: the one place where text becomes ids and back."""

    image_token_id: int
    image_tokens: int
    pad_id: int
    end_ids: tuple[int, ...]

    def answer(self, text: str, *, end_of_turn: bool = True) -> list[int]:
        """Ids of an assistant's answer that follows a prompt."""

    def decode(self, ids: list[int]) -> str:
        """Text of ids, without special tokens."""

    def spoken(self, ids: list[int]) -> str:
        """Text of a written answer that may stand in a conversation."""

    def prompt(self, messages: Sequence[Message]) -> Prompt:
        """Ids of a conversation that the assistant is to continue."""

    def fit(self, messages: Sequence[Message], max_length: int) -> tuple[list[Message], int] | None:
        """The longest end of a conversation that fits, and the number of turns left out."""
