"""Rows as ids: what a batch is made of, within the longest length allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vision_suite.datasets.conversations.rows import BadRow
from vision_suite.types.arrays import Ints
from vision_suite.types.conversations import IGNORED, ImageRef, Message, Row

if TYPE_CHECKING:
    from vision_suite.text.chat import ChatFormat
    from vision_suite.text.token_ids import Encoded


@dataclass(frozen=True)
class Sample:
    """One row as ids.

    Attributes:
        ids: (S,) ids.
        labels: (S,) the id where it is supervised, `IGNORED` elsewhere; never supervised at the first position, whose
            id nothing predicts.
        image_of_token: (S,) index into `images`, -1 for text.
        images: Pictures in the order of their placeholders.
        cut: True if the row was longer and lost its first turns, or the end of a plain text.
        unknown: True if it has words that the tokenizer does not know.
    """

    ids: Ints
    labels: Ints
    image_of_token: Ints
    images: tuple[ImageRef, ...]
    cut: bool = False
    unknown: bool = False

    @property
    def length(self) -> int:
        """Number of ids."""
        return len(self.ids)

    @property
    def targets(self) -> int:
        """Number of supervised ids."""
        return int((self.labels != IGNORED).sum())

    def encoded(self) -> Encoded:
        """The same as lists, as the chat format gives them."""
        from vision_suite.text.token_ids import Encoded

        return Encoded(self.ids.tolist(), self.labels.tolist(), self.image_of_token.tolist())


def training_sample(chat: ChatFormat, row: Row, max_length: int) -> Sample:
    """A row to train on; one that is too long loses its oldest turns, a plain text its end.

    Args:
        chat: Format of conversations.
        row: Row that ends with an answer, or plain text.
        max_length: Largest number of ids, those of pictures included.

    Raises:
        BadRow: It does not fit even with its last turns only, or nothing of it is supervised.
    """
    if row.text:
        return _supervised(_plain(chat, row, max_length))
    encoded = chat.encode(row.messages)
    cut = len(encoded.ids) > max_length
    if cut:
        encoded = chat.encode(_fitting(chat, row.messages, max_length, len(encoded.ids)))
    return _supervised(sample_of(chat, encoded, row.images, cut))


def prompt_sample(chat: ChatFormat, row: Row, max_length: int) -> Sample:
    """A question up to the place where its answer begins, or plain text.

    Args:
        chat: Format of conversations.
        row: Row that ends with a question, or plain text.
        max_length: Largest number of ids, those of pictures included.

    Raises:
        BadRow: It does not fit even with its last question only.
    """
    if row.text:
        return _supervised(_plain(chat, row, max_length))
    encoded = chat.prompt(row.messages)
    cut = len(encoded.ids) > max_length
    if cut:
        encoded = chat.prompt(_fitting(chat, row.messages, max_length, len(encoded.ids)))
    return sample_of(chat, encoded, row.images, cut)


def _plain(chat: ChatFormat, row: Row, max_length: int) -> Sample:
    whole = chat.plain(row.text)
    encoded = type(whole)(*(part[:max_length] for part in whole))
    return sample_of(chat, encoded, (), len(whole.ids) > max_length)


def _fitting(chat: ChatFormat, messages: Sequence[Message], max_length: int, length: int) -> list[Message]:
    found = chat.fit(messages, max_length)
    if found is None:
        raise BadRow("over_length", f"its last turns alone are longer than max_length={max_length} (whole: {length})")
    return found[0]


def sample_of(chat: ChatFormat, encoded: Encoded, images: Sequence[ImageRef], cut: bool = False) -> Sample:
    """Arrays of an encoded row, with its pictures numbered anew in the order of their placeholders.

    Args:
        chat: Format of conversations.
        encoded: Ids of the row.
        images: Pictures of the row, by the numbers in the ids.
        cut: True if the row was longer.

    Raises:
        BadRow: The placeholders are not as many as the tokens of its pictures.
    """
    labels, numbers = np.array(encoded.labels, dtype=np.int64), np.array(encoded.image_of_token, dtype=np.int64)
    labels[:1] = IGNORED
    used = list(dict.fromkeys(numbers[numbers >= 0].tolist()))
    for number in used:
        if (count := int((numbers == number).sum())) != chat.image_tokens:
            raise BadRow("marker_mismatch", f"a picture has {count} placeholders, not {chat.image_tokens}")
    renumbered = np.full(len(numbers), -1, dtype=np.int64)
    for new, number in enumerate(used):
        renumbered[numbers == number] = new
    ids = np.array(encoded.ids, dtype=np.int64)
    # Some tokenizers have one token for unknown words and for ends.
    unknown = chat.unknown_id not in (None, chat.pad_id, *chat.end_ids) and bool((ids == chat.unknown_id).any())
    return Sample(ids, labels, renumbered, tuple(images[n] for n in used), cut, unknown)


def _supervised(sample: Sample) -> Sample:
    if not sample.targets:
        raise BadRow("no_targets", "nothing of it is supervised")
    return sample
