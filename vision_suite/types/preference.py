"""Preference learning at sentences, and objects that a text makes up: rows, batches and reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict

from vision_suite.types import Report
from vision_suite.types.conversations import Chat, ImageRef, Message, Row
from vision_suite.types.data import Data, EvaluationStage, Stage

if TYPE_CHECKING:
    from torch import Tensor

HallucinationKind = Literal["chair", "object_halbench", "amber", "amber_question", "pope"]


@dataclass(frozen=True)
class PreferenceRow:
    """Two continuations of the same beginning of an answer, one preferred (SENTINEL, section 3).

    Attributes:
        id: Name in its file.
        messages: Turns up to the user's last one.
        images: Pictures, by the numbers that messages use.
        context: Beginning of the answer, before both continuations; empty where they begin it.
        chosen: Preferred continuation.
        rejected: The other one.
        chosen_ends: The model ended its answer behind the preferred continuation; None if that was not recorded.
        rejected_ends: As `chosen_ends`, of the other one.
        source: Name of the file or run it is from.
        chosen_objects: Objects that the preferred continuation names, if known.
        rejected_objects: Objects that the other one names, if known.
    """

    id: str
    messages: tuple[Message, ...]
    images: tuple[ImageRef, ...]
    context: str
    chosen: str
    rejected: str
    chosen_ends: bool | None = None
    rejected_ends: bool | None = None
    source: str = ""
    chosen_objects: tuple[str, ...] = ()
    rejected_objects: tuple[str, ...] = ()


class PreferenceBatch(TypedDict, total=False):
    """Beginnings of answers and their continuations, kept apart; pairs have two, the preferred one first.

    The beginning (prompt and context), as in `vision_suite.types.conversations.InstructBatch`, padded on the right:
    ``input_ids`` (B, P) int64, ``attention_mask`` (B, P) bool, ``position_ids`` (B, P) int64, ``image_of_token``
    (B, P) int64, ``image`` (N, 3, H, W) float32 or ``features`` (N, T, W) float32. The continuations:
    ``branch_ids`` (B, n, T) int64, padded on the right, and ``branch_mask`` (B, n, T) bool, true where an id counts.
    ``branch_weights`` (B, n, T) float32, weights of single ids, only for losses that need them (DDPO).
    ``reference_logps`` (B, n) float64, of the model before training, where they are known. ``context_length`` (B,)
    int64, ids of the context. ``index`` (B,) int64, index in the data set; ``source`` (B,) int64.
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    image_of_token: Tensor
    image: Tensor
    features: Tensor
    branch_ids: Tensor
    branch_mask: Tensor
    branch_weights: Tensor
    reference_logps: Tensor
    context_length: Tensor
    index: Tensor
    source: Tensor


@dataclass(frozen=True)
class HallucinationItem:
    """Truth about one picture, or about one question on it.

    Attributes:
        id: Name of the picture, or of the question.
        kind: Rules by which the answer is judged.
        task: Name of the benchmark or split, by which results are told apart.
        objects: Names of the objects in the picture (CHAIR, Object HalBench: representatives; AMBER: its words).
        hallucinated: Words that AMBER expects models to make up.
        answer: Right answer, ``yes`` or ``no``; empty for a caption.
        type: AMBER's kind of question; empty elsewhere.
        picture: Path of the picture, for reports.
        boxes: Names and boxes (x, y, width, height) in pixels, where they are known, for pictures of results.
    """

    id: str
    kind: HallucinationKind
    task: str
    objects: tuple[str, ...] = ()
    hallucinated: tuple[str, ...] = ()
    answer: str = ""
    type: str = ""
    picture: str = ""
    boxes: tuple[tuple[str, tuple[float, float, float, float]], ...] = ()


class MadeUp(TypedDict):
    """One judged answer.

    ``index`` in the data set, ``id`` of the item, ``task``, ``text`` as written, ``named`` objects in the order of
    mention, ``made_up`` those of them that are not in the picture, ``missed`` objects of the picture that are not
    named, and ``sentences``: for each sentence the number of factual and of made-up objects.
    """

    index: int
    id: str
    task: str
    text: str
    named: list[str]
    made_up: list[str]
    missed: list[str]
    sentences: list[tuple[int, int]]


@dataclass(frozen=True)
class HallucinationReport(Report):
    """Result of an evaluation of captions and answers.

    Attributes:
        metrics: ``chair_i/<task>``, ``chair_s/<task>``, ``recall/<task>``, ``words/<task>``, ``sentences/<task>``,
            ``amber_chair/<task>``, ``pope_f1/<task>`` ... by name.
        protocol: Everything needed to read the numbers.
        answers: Judged answers.
        positions: Counts by task: for each sentence position, the number of factual and of made-up mentions.
        items: Items by index, for pictures.
    """

    answers: tuple[MadeUp, ...] = ()
    positions: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    items: tuple[HallucinationItem, ...] = ()


class PreferenceSource(Data, Protocol):
    """Facts of a datamodule of pairs, whose evaluation splits hold questions with the truth about their pictures.

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

    def rows(self, split: Stage) -> list[Row]:
        """The questions of a split, by the index of batches."""

    def hallucination_items(self, split: EvaluationStage) -> list[HallucinationItem]:
        """The truth about each row of a split, by the index of batches."""

    def lexicons(self, split: EvaluationStage) -> Mapping[str, Any]:
        """Vocabulary that finds objects in texts by name of the evaluation, where it is not its kind's own."""

    def use_reference(self, logps: Callable[[PreferenceBatch], Tensor], weights: str) -> None:
        """Give ``reference_logps`` in batches of training, stored ones where they are of these weights.

        Args:
            logps: Function from a batch to the log-probabilities (B, n) of its continuations.
            weights: Checksum of the network's weights.
        """
