"""Conversations as ids and back: template, pictures' placeholders, labels. The one place where text becomes ids."""

from __future__ import annotations

import bisect
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from vision_suite.errors import DataError, check_choice, check_number
from vision_suite.text.placeholders import placeholder
from vision_suite.text.templates import Segment, Template, stripped
from vision_suite.text.token_ids import Encoded, TokenIds
from vision_suite.text.tokenizers import (
    TemplateName,
    fingerprint,
    load_tokenizer,
    vocabulary_sha256,
)
from vision_suite.types.instruct import IGNORED, Message, Speaker

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OBJECT = "\ufffc"  # stands for a picture where texts around it are looked through


class ChatFormat(TokenIds):
    """Format of conversations: a tokenizer, its chat template and the placeholder of pictures.

    An answer's ids always continue those of the prompt: ``encode(turns) = prompt(turns[:-1]) + answer(turns[-1])``.
    Texts that hold a special token are refused, since they would end turns or stand for pictures.

    Args:
        tokenizer: Tokenizer.
        image_tokens: Tokens of one picture; 0 for text only.
        template: ``auto``, ``chatml`` or ``plain``, see `Template`.
        system: Text of the system turn of conversations without one. None leaves it to the template, which may have
            its own (SmolLM2's has 21 tokens); an empty text leaves the system block out.
        image_token: Placeholder of a picture, as token or id. By default the tokenizer's own image token, else its
            first special token without a use, else a new token ``<image>`` behind the vocabulary.

    Attributes:
        image_tokens: Tokens of one picture.
        image_token_id: Id of the placeholder; -1 if pictures have no tokens and the tokenizer has no placeholder.
        pad_id: Id of padding.
        end_ids: Ids that end an answer.
        unknown_id: Id of unknown words, None if there is none.
        vocabulary_size: Number of ids, with a new placeholder.
        vocabulary_sha256: Checksum of the tokenizer's tokens, without a new placeholder.
        settings: Arguments as plain values, from which `load` makes the same format.

    Raises:
        ConfigError: A setting does not fit the tokenizer.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        image_tokens: int = 0,
        template: TemplateName = "auto",
        system: str | None = None,
        image_token: str | int | None = None,
    ) -> None:
        check_number("image_tokens", image_tokens, low=0, whole=True)
        check_choice("template", template, get_args(TemplateName))
        self.vocabulary_sha256 = vocabulary_sha256(tokenizer)
        self._template = Template(tokenizer, template, block=system != "")
        self._name = template
        self._system = system or None
        shown = f"{self._template.source}{tokenizer.chat_template}"
        self._shown = shown
        tokenizer, place = placeholder(tokenizer, image_token, template=shown, needed=image_tokens > 0)
        super().__init__(tokenizer, place, image_tokens)
        self.settings: dict[str, Any] = {
            "image_tokens": image_tokens,
            "template": template,
            "system": system,
            "image_token": self._image_text or None,
        }
        end, eos, pad = self._tokens(self._template.turn.end)[-1], tokenizer.eos_token_id, tokenizer.pad_token_id
        self.end_ids: tuple[int, ...] = (end,) if eos is None or eos == end else (end, eos)
        self.unknown_id: int | None = tokenizer.unk_token_id
        self.pad_id: int = pad if pad is not None else self.end_ids[-1]
        self._said = False
        if self._template.note:
            self._say(self._template.note)

    @classmethod
    def load(cls, source: str | Path, **settings: Any) -> ChatFormat:
        """Format with the tokenizer of a folder, prepared set, .gguf file or hub, see `load_tokenizer`."""
        return cls(load_tokenizer(source), **settings)

    def fingerprint(self) -> str:
        """Checksum of what decides about the ids of a conversation, but for the settings: tokenizer and template."""
        return fingerprint(self.tokenizer, self._shown)

    def encode(self, messages: Sequence[Message]) -> Encoded:
        """Ids and labels of a conversation to train on.

        Supervised are the assistant's texts, each with the token that ends it, and what the template writes behind
        that token if another turn follows.

        Raises:
            DataError: The template does not accept the turns, or a text holds a special token.
        """
        turns = self._with_system(messages)
        if not turns or turns[-1].role != "assistant":
            encoded = self._encoded(turns, generation=False)
            self._compare(turns)
            return encoded
        encoded = self._encoded(turns[:-1], generation=True)
        pictures = self._pictures(turns[-1])
        self._compare(turns)
        self._extend(encoded, self._answer(self._text(turns[-1])), pictures)
        return encoded

    def prompt(self, messages: Sequence[Message], *, context: str = "") -> Encoded:
        """Ids of a conversation that the assistant is to continue, nothing supervised.

        Args:
            messages: Turns, the last one not the assistant's.
            context: Beginning of the assistant's answer, which is continued.

        Raises:
            DataError: The last turn is the assistant's, or as for `encode`.
        """
        turns = self._with_system(messages)
        if not turns or turns[-1].role == "assistant":
            raise DataError("a prompt ends with a user's turn: give the beginning of an answer as context")
        encoded = self._encoded(turns, generation=True)
        ids = encoded.ids + (self.answer(context, end_of_turn=False) if context else [])
        return Encoded(ids, [IGNORED] * len(ids), encoded.image_of_token + [-1] * (len(ids) - len(encoded.ids)))

    def answer(self, text: str, *, end_of_turn: bool = True, context: str = "") -> list[int]:
        """Ids of an assistant's answer that follow a prompt.

        Args:
            text: Answer, or a part of it.
            end_of_turn: End the turn behind it.
            context: Beginning of the answer that the prompt holds already; the text follows it, with its blank.
        """
        self.check_text(context + text)
        return self._answer(text, end_of_turn=end_of_turn, context=context)

    def _answer(self, text: str, *, end_of_turn: bool = True, context: str = "") -> list[int]:
        turn = self._template.turn
        text = stripped(text, turn.left or bool(context), turn.right or not end_of_turn)
        if context:
            begin = turn.header + turn.lead + stripped(context, turn.left, True)
        else:
            begin, text = turn.header, turn.lead + text
        return self._following(begin, text + (turn.end if end_of_turn else ""))

    def fit(self, messages: Sequence[Message], max_length: int) -> tuple[list[Message], int] | None:
        """The longest end of a conversation that fits, cut between exchanges only, so that no picture is cut.

        Numbers of pictures stay those of the row. With ``plain`` nothing is left out.

        Args:
            messages: Turns; a last turn of the assistant is encoded, else a prompt is.
            max_length: Largest number of ids.

        Returns:
            Turns that fit, system turns among them, and the number of oldest turns left out; None if not even the last
            exchange fits.
        """
        system = [message for message in messages if message.role == "system"]
        turns = [message for message in messages if message.role != "system"]
        # An exchange begins with a user's turn that does not follow another one.
        new = [turn.role == "user" and before.role == "assistant" for before, turn in pairwise(turns)]
        starts = [number for number, begins in enumerate([True, *new][: len(turns)]) if begins]
        starts = starts[:1] if self._name == "plain" else starts

        def fits(start: int) -> bool:
            kept = [*system, *turns[start:]]
            encoded = self.encode(kept) if kept[-1].role == "assistant" else self.prompt(kept)
            return len(encoded.ids) <= max_length

        # Fewer turns are never longer, so that halving finds the first end that fits.
        found = bisect.bisect_left(starts, True, key=fits)
        return None if found == len(starts) else ([*system, *turns[starts[found] :]], starts[found])

    def _encoded(self, turns: Sequence[Message], *, generation: bool) -> Encoded:
        """Ids of a rendered conversation without a last answer."""
        pictures = [number for turn in turns for number in self._pictures(turn)]
        if self._name == "plain" and turns and not pictures:
            raise DataError("template=plain leaves out users' words, and this conversation has no picture: use auto")
        encoded = Encoded([], [], [])
        for segment in self._segments(turns, generation):
            ids = self._following(segment.before, segment.text)
            count = ids.count(self.image_token_id) if self._image_text else 0
            self._extend(encoded, ids, pictures[:count], supervised=segment.supervised)
            pictures = pictures[count:]
        return encoded

    def _segments(self, turns: Sequence[Message], generation: bool) -> list[Segment]:
        contents = [(self._text(turn), self._image_text * len(self._pictures(turn))) for turn in turns]
        return self._template.segments([turn.role for turn in turns], contents, generation=generation)

    def _text(self, message: Message) -> str:
        """Content of a turn with placeholders."""
        self.check_text("".join(part if isinstance(part, str) else OBJECT for part in message.parts))
        return "".join(part if isinstance(part, str) else self._image_text for part in message.parts)

    def _pictures(self, message: Message) -> list[int]:
        found = [part for part in message.parts if isinstance(part, int)]
        if found and not self.image_tokens:
            raise DataError("a conversation holds a picture, and image_tokens=0: give a picture's number of tokens")
        return found

    def _with_system(self, messages: Sequence[Message]) -> list[Message]:
        """The turns, with the format's system turn if they have none."""
        turns = list(messages)
        if self._system is None or self._name == "plain" or any(turn.role == "system" for turn in turns):
            return turns
        return [Message("system", (self._system,)), *turns]

    def _compare(self, turns: Sequence[Message]) -> None:
        """Say once if the template renders this conversation otherwise, because it looks at contents."""
        if self._said:
            return
        pairs: list[tuple[Speaker, str]] = [(turn.role, self._text(turn)) for turn in turns]
        whole = self._template.rendered(pairs)
        if whole is None:
            return
        last = turns[-1:] if turns and turns[-1].role == "assistant" else []
        own = "".join(segment.text for segment in self._segments(turns[: len(turns) - len(last)], bool(last)))
        if last:
            turn = self._template.turn
            own += turn.lead + stripped(self._text(last[0]), turn.left, turn.right) + turn.end
        if not whole.startswith(own):
            self._say("it renders this conversation otherwise as a whole than turn by turn")

    def _say(self, reason: str) -> None:
        self._said = True
        warnings.warn(f"chat template: {reason}; conversations are rendered turn by turn", stacklevel=4)
