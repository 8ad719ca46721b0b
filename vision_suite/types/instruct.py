"""Instruction tuning: conversations about pictures, their batches and reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypedDict

from vision_suite.types import Report
from vision_suite.types.data import Data, EvaluationStage

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
    """Part of `vision_suite.text.chat.Encoded` that modules use."""

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


class InstructSource(Data, Protocol):
    """Facts of a datamodule of conversations.

    Attributes:
        chat: Format of its conversations.
        vocabulary_size: Number of ids of its tokenizer.
        image_tokens: Tokens of one picture.
        sources: Name of each source, by index.
    """

    chat: Chat
    vocabulary_size: int
    image_tokens: int
    sources: list[str]

    def rows(self, split: EvaluationStage | Literal["fit", "predict"]) -> list[Row]:
        """The rows of a split, by the index of batches."""


@dataclass(frozen=True)
class TaskScore:
    """Score of one task of an evaluation.

    Attributes:
        name: Name of the task.
        kind: ``choice`` (letter or text by likelihood), ``answer`` (text that is written) or ``text`` (perplexity).
        count: Number of questions, or of tokens of plain text.
        score: Share of right answers; perplexity for ``text``.
        error: Standard error of the score.
        chance: Score of guessing, NaN where there is none.
        counted: False where the score is within two standard errors of chance, and therefore in no mean.
    """

    name: str
    kind: Literal["choice", "answer", "text"]
    count: int
    score: float
    error: float
    chance: float
    counted: bool


class Answer(TypedDict):
    """One answered question: its index in the data set, what was asked, answered and right, and whether it is right."""

    index: int
    id: str
    task: str
    question: str
    answer: str
    reference: str
    right: bool


@dataclass(frozen=True)
class InstructReport(Report):
    """Result of an evaluation of a language model that reads pictures.

    Attributes:
        metrics: ``accuracy/<task>``, ``perplexity/<task>``, ``kl``, ``agreement``, ``attention_shift`` ... by name.
        protocol: Everything needed to read the numbers.
        tasks: Scores by task.
        answers: Answered questions.
        masses: (L, 4) mean share of attention of each layer on text before pictures, pictures, text between and after
            them; empty if it was not measured.
    """

    tasks: tuple[TaskScore, ...] = ()
    answers: tuple[Answer, ...] = ()
    masses: list[list[float]] = field(default_factory=list)


class InstructPrediction(TypedDict, total=False):
    """Return value of ``predict_step`` for a batch of B questions.

    ``index`` (B,) int64; ``answer_ids`` (B, T) int64, padded with -1; ``routing`` (B, L, T, 2) float32, weights of
    the visual and the textual wing for each written token and layer, NaN where there is none.
    """

    index: Tensor
    answer_ids: Tensor
    routing: Tensor
