"""Instruction tuning: datamodule, scores, answers and reports; what is common to conversations is handed on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypedDict

from vision_suite.types import Report
from vision_suite.types.conversations import IGNORED as IGNORED
from vision_suite.types.conversations import Chat as Chat
from vision_suite.types.conversations import ImageRef as ImageRef
from vision_suite.types.conversations import InstructBatch as InstructBatch
from vision_suite.types.conversations import Message as Message
from vision_suite.types.conversations import Prompt as Prompt
from vision_suite.types.conversations import Row as Row
from vision_suite.types.conversations import Speaker as Speaker
from vision_suite.types.data import Data, EvaluationStage

if TYPE_CHECKING:
    from torch import Tensor


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
