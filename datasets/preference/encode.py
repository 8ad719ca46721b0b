"""Pairs as ids: prompt, context and continuations are encoded apart, and each follows the one before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Literal

import numpy as np

from vision_suite.datasets.conversations.encode import Sample, sample_of
from vision_suite.datasets.conversations.rows import SHOWN, BadRow
from vision_suite.errors import DataError
from vision_suite.types.arrays import Floats32, Ints
from vision_suite.types.conversations import ImageRef
from vision_suite.types.preference import PreferenceRow

if TYPE_CHECKING:
    from vision_suite.text.chat import ChatFormat
    from vision_suite.text.token_ids import Encoded

Unit = Literal["sentence", "caption"]


@dataclass(frozen=True)
class PairSample:
    """One pair as ids.

    Attributes:
        prefix: Prompt and context, nothing supervised.
        context: Number of ids of the context, the last ones of the prefix.
        branches: Ids of the continuations, the preferred one first, each with the id that ends the turn if it ends.
        unknown: True if it has words that the tokenizer does not know.
    """

    prefix: Sample
    context: int
    branches: tuple[Ints, Ints]
    unknown: bool = False

    @property
    def length(self) -> int:
        """Number of ids of the beginning and both continuations."""
        return self.prefix.length + self.targets

    @property
    def targets(self) -> int:
        """Number of ids of both continuations."""
        return sum(map(len, self.branches))

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """Its pictures."""
        return self.prefix.images

    @property
    def cut(self) -> bool:
        """False: nothing of a pair is ever cut."""
        return False

    def side(self, number: int) -> Encoded:
        """A continuation as lists, all of it supervised, as the chat format gives them.

        Args:
            number: 0 for the preferred one, 1 for the other.
        """
        from vision_suite.text.token_ids import Encoded

        ids: list[int] = self.branches[number].tolist()
        return Encoded(ids, list(ids), [-1] * len(ids))

    def swapped(self) -> PairSample:
        """The pair in the other order."""
        return PairSample(self.prefix, self.context, self.branches[::-1], self.unknown)


def pair_encoder(chat: ChatFormat, max_length: int, unit: Unit) -> Callable[[int, PreferenceRow], PairSample]:
    """Function that turns a pair of a source into ids.

    Args:
        chat: Format of conversations.
        max_length: Largest number of ids of the beginning with either continuation.
        unit: Continuations are single sentences behind the context, or whole answers that begin with it.
    """

    def encode(number: int, row: PreferenceRow) -> PairSample:
        try:
            return pair_sample(chat, row, max_length, unit)
        except DataError as error:  # of the chat format too, such as a special token within a text
            reason = error.reason if isinstance(error, BadRow) else "malformed"
            raise BadRow(reason, f"row {row.id[:SHOWN]!r}: {error}") from None

    return encode


def pair_sample(chat: ChatFormat, row: PreferenceRow, max_length: int, unit: Unit) -> PairSample:
    """A pair as ids; context and continuation are joined by one blank.

    A continuation ends the turn if the row says so; where it does not tell, as in the released files, it ends the turn
    if it begins the answer (`train/models/llava_utils/data.py` of SENTINEL).

    Args:
        chat: Format of conversations.
        row: The pair.
        max_length: Largest number of ids of the beginning with either continuation.
        unit: Continuations are single sentences behind the context, or whole answers that begin with it.

    Raises:
        BadRow: It is too long, has no target or the ids of both sides are the same.
    """
    whole = unit == "caption"
    before = row.context if not whole else ""
    joint = f"{row.context} " if row.context else ""
    branches = []
    for text, told in ((row.chosen, row.chosen_ends), (row.rejected, row.rejected_ends)):
        ends = not row.context if told is None else told
        written = joint + text if whole else f" {text}" if before else text
        branches.append(np.array(chat.answer(written, end_of_turn=ends, context=before), dtype=np.int64))
    bare = chat.prompt(row.messages)
    prefix = sample_of(chat, chat.prompt(row.messages, context=before), row.images)
    chosen, rejected = branches
    if not len(chosen) or not len(rejected):
        raise BadRow("no_targets", "one of its answers has no ids")
    if np.array_equal(chosen, rejected):
        raise BadRow("identical", "both answers have the same ids")
    if chat.image_token_id >= 0 and any((ids == chat.image_token_id).any() for ids in branches):
        raise BadRow("malformed", "an answer has the placeholder of pictures")
    longest = prefix.length + max(len(chosen), len(rejected))
    if longest > max_length:
        pictures = np.flatnonzero(prefix.image_of_token >= 0)
        if len(pictures) and pictures[-1] >= max_length:
            raise BadRow("pictures_cut", f"its pictures' tokens end at {pictures[-1] + 1}, max_length={max_length}")
        raise BadRow("over_length", f"it has {longest} ids, more than max_length={max_length}")
    unknown = chat.unknown_id not in (None, chat.pad_id, *chat.end_ids) and any(
        bool((ids == chat.unknown_id).any()) for ids in branches
    )
    return PairSample(prefix, prefix.length - len(bare.ids), (chosen, rejected), prefix.unknown or unknown)


def changed_weights(one: Ints, other: Ints, weight: float) -> Floats32:
    """Weights of the ids of a continuation whose sum is 1, those that the other one lacks so many times heavier.

    With them a sum of log-probabilities is DDPO's score: (1/N) (sum of unchanged + gamma * sum of changed), where N is
    the number of unchanged ids + gamma * that of changed ones (RLHF-V, section 3.1).

    Args:
        one: (T,) ids of the continuation.
        other: Ids of the one that it is compared with.
        weight: Weight gamma of a changed id.
    """
    weights = np.full(len(one), weight, dtype=np.float64)
    for block in SequenceMatcher(None, one.tolist(), other.tolist(), autojunk=False).get_matching_blocks():
        weights[block.a : block.a + block.size] = 1.0
    return np.asarray(weights / weights.sum(), dtype=np.float32)
