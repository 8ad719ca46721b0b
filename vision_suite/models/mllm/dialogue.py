"""A conversation with a model that reads pictures, turn by turn, written as it comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from vision_suite.errors import ConfigError, DataError
from vision_suite.models.mllm.network import Mllm
from vision_suite.text.chat import ChatFormat
from vision_suite.types.instruct import InstructBatch, Message

MARKER = "<image>"  # what stands for a picture in a user's text
UNFINISHED = "\ufffd"  # what a tokenizer writes for the first bytes of a character


class Dialogue:
    """Turns so far, with their pictures; each picture goes through the tower once.

    Args:
        net: Model.
        chat: Format of conversations, with the model's number of tokens of a picture.
        max_length: Longest row in tokens, answer included; oldest turns are left out beyond it.
        max_new_tokens: Longest answer in tokens.
        system: Text of a system turn; None leaves it to the format.
        settings: Further arguments of transformers' ``generate``.

    Attributes:
        messages: Turns so far.
        left_out: Number of oldest turns that the last prompt had no room for.

    Raises:
        ConfigError: There is no room for a prompt beside an answer.
    """

    def __init__(
        self,
        net: Mllm,
        chat: ChatFormat,
        *,
        max_length: int = 2048,
        max_new_tokens: int = 256,
        system: str | None = None,
        **settings: Any,
    ) -> None:
        if max_new_tokens >= max_length:
            raise ConfigError(f"max_new_tokens={max_new_tokens} must be below max_length={max_length}")
        self.net, self.chat = net, chat
        self.room, self.settings = max_length - max_new_tokens, {"max_new_tokens": max_new_tokens, **settings}
        self._begin = [Message("system", (system,))] if system else []
        self._features: list[Tensor] = []
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self.messages: list[Message] = list(self._begin)
        self.left_out = 0
        self._features = []

    def say(self, text: str, images: Sequence[Tensor] = (), write: Callable[[str], None] | None = None) -> str:
        """Answer a turn of the user.

        Args:
            text: What the user says; ``<image>`` stands for a picture, and pictures without one come first, each on
                a line of its own.
            images: (3, H, W) pictures, normalised as the tower wants them.
            write: Receives the answer piece by piece while it is written.

        Returns:
            The answer.

        Raises:
            DataError: The text has more markers than there are pictures, or the turn alone is too long.
            ConfigError: The model reads no pictures.
        """
        turn = Message("user", user_parts(text, len(self._features), len(images)))
        features = [self.net.tower_features(image.unsqueeze(0))[0] for image in images]
        fitted = self.chat.fit([*self.messages, turn], self.room)
        if fitted is None:
            raise DataError(f"the turn alone is longer than the {self.room} tokens that the model has room for")
        kept, self.left_out = fitted
        known = [*self._features, *features]
        prompt = self.chat.prompt(kept)
        used = list(dict.fromkeys(number for number in prompt.image_of_token if number >= 0))
        device = self.net.embedding.weight.device
        batch: InstructBatch = {"input_ids": torch.tensor([prompt.ids], device=device)}
        if used:
            batch["features"] = torch.stack([known[number] for number in used])
        stream = TextStream(self.chat, write) if write is not None else None
        written = self.net.generate(
            batch, streamer=stream, eos_token_id=list(self.chat.end_ids), pad_token_id=self.chat.pad_id, **self.settings
        )
        answer = self.chat.decode(written[0].tolist())
        # Only now: a turn that failed leaves no trace.
        self.messages += [turn, Message("assistant", (answer,))]
        self._features = known
        return answer


def user_parts(text: str, first: int, count: int) -> tuple[str | int, ...]:
    r"""Parts of a user's turn: its text, with numbers of pictures in the place of their markers.

    Args:
        text: Text with up to `count` markers; missing ones are put before it.
        first: Number of the first picture.
        count: Number of pictures.

    Raises:
        DataError: There are more markers than pictures.

    >>> user_parts("What is this?", 3, 1)
    (3, '\nWhat is this?')
    """
    missing = count - text.count(MARKER)
    if missing < 0:
        raise DataError(f"the text has {count - missing} {MARKER} markers, and {count} pictures were given")
    pieces = (f"{MARKER}\n" * missing + text).split(MARKER)
    parts: list[str | int] = []
    for number, piece in enumerate(pieces):
        parts += [first + number - 1] if number else []
        parts += [piece] if piece else []
    return tuple(parts)


class TextStream:
    """Receiver of ids in transformers' form, which hands their text on as soon as it is sure.

    Args:
        chat: Format of conversations.
        write: Receives each new piece of text.
    """

    def __init__(self, chat: ChatFormat, write: Callable[[str], None]) -> None:
        self.chat, self.write = chat, write
        self.ids: list[int] | None = None
        self.text = ""

    def put(self, value: Tensor) -> None:
        """Take the next ids; those that come first are the prompt's."""
        if self.ids is None:
            self.ids = []
            return
        self.ids += value.flatten().tolist()
        text = self.chat.decode(self.ids)
        if not text.endswith(UNFINISHED):
            self._hand_on(text)

    def end(self) -> None:
        """Hand on what is left."""
        self._hand_on(self.chat.decode(self.ids or []))

    def _hand_on(self, text: str) -> None:
        if len(text) > len(self.text) and text.startswith(self.text):
            self.write(text[len(self.text) :])
            self.text = text
