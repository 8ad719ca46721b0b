"""Texts as ids and back by a tokenizer with a placeholder of pictures; turns and templates come on top of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from vision_suite.errors import DataError
from vision_suite.text.tokenizers import refuse_halves, special_texts
from vision_suite.types.instruct import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Encoded(NamedTuple):
    """Ids of a conversation.

    Attributes:
        ids: Ids, a picture's placeholder repeated for each of its tokens.
        labels: The id itself where it is supervised, `IGNORED` elsewhere; not shifted.
        image_of_token: Number of the picture in the row, -1 for text.
    """

    ids: list[int]
    labels: list[int]
    image_of_token: list[int]


class TokenIds:
    """Ids of texts and pictures, without turns.

    Args:
        tokenizer: Tokenizer, in which the placeholder is a token.
        image_token_id: Id of the placeholder of pictures; -1 if there is none.
        image_tokens: Tokens of one picture; 0 for text only.

    Attributes:
        vocabulary_size: Number of ids, with the placeholder.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, image_token_id: int, image_tokens: int) -> None:
        self.tokenizer, self.image_token_id, self.image_tokens = tokenizer, image_token_id, image_tokens
        self._image_text = str(tokenizer.convert_ids_to_tokens(image_token_id)) if image_token_id >= 0 else ""
        self._forbidden = re.compile("|".join(map(re.escape, special_texts(tokenizer))) or "(?!)")
        self.vocabulary_size = max(tokenizer.get_vocab().values()) + 1

    def plain(self, text: str) -> Encoded:
        """Ids of plain text outside any conversation; every id but the first is supervised.

        Special tokens in the text are ordinary characters; the tokenizer's own beginning is kept.

        Raises:
            DataError: The text holds half of a character.
        """
        refuse_halves(text)
        ids: list[int] = list(self.tokenizer(text, split_special_tokens=True, verbose=False)["input_ids"])
        return Encoded(ids, [IGNORED, *ids[1:]] if ids else [], [-1] * len(ids))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, without special tokens, placeholders and ids below 0 or behind the vocabulary."""
        known = [int(id) for id in ids if 0 <= id < self.vocabulary_size and id != self.image_token_id]
        return str(self.tokenizer.decode(known, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def spoken(self, ids: Sequence[int]) -> str:
        """Text of a written answer that may stand in a conversation: also without special tokens that are spelt out."""
        return self._forbidden.sub("", self.decode(ids)).strip()

    def preview(self, encoded: Encoded) -> str:
        """One line with all tokens: supervised runs in double brackets, pictures as ``<picture 0 x5>``."""
        shown: list[str] = []
        before, placed = False, 0
        for id, label, picture in zip(*encoded, strict=True):
            supervised = label != IGNORED
            if supervised != before:
                shown.append("[[" if supervised else "]]")
            if picture < 0:
                shown.append(repr(self.tokenizer.decode([id]))[1:-1] + "|")
            elif placed % self.image_tokens == 0:
                shown.append(f"<picture {picture} x{self.image_tokens}>|")
            placed += picture >= 0
            before = supervised
        return "".join(shown).replace("|]]", "]]").rstrip("|") + ("]]" if before else "")

    def check_text(self, text: str) -> None:
        """Refuse a text that no turn may hold.

        Raises:
            DataError: It holds a special token, or half of a character.
        """
        refuse_halves(text)
        found = self._forbidden.search(text)
        if found is not None:
            raise DataError(f"a turn's text holds the special token {found[0]!r}: take it out of the text")

    def _extend(self, out: Encoded, ids: list[int], pictures: list[int], *, supervised: bool = True) -> None:
        """Append ids, each placeholder repeated for the tokens of its picture."""
        numbers = iter(pictures)
        for id in ids:
            if self._image_text and id == self.image_token_id:
                number = next(numbers, None)
                if number is None:
                    raise DataError("a text is cut into the placeholder of pictures: take it out of the text")
                out.ids.extend([id] * self.image_tokens)
                out.labels.extend([IGNORED] * self.image_tokens)
                out.image_of_token.extend([number] * self.image_tokens)
            else:
                out.ids.append(id)
                out.labels.append(id if supervised else IGNORED)
                out.image_of_token.append(-1)

    def _tokens(self, text: str) -> list[int]:
        ids: list[int] = list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        return ids

    def _following(self, before: str, text: str) -> list[int]:
        """Ids of a text as it follows another one; on its own where the border would merge into one token."""
        both, first = self._tokens(before + text), self._tokens(before)
        return both[len(first) :] if both[: len(first)] == first else self._tokens(text)
