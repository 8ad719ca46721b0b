"""Settings of conversations that a checkpoint stores: pictures, tokenizer and chat format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from vision_suite.datasets.conversations.pictures import Appearance, Square
from vision_suite.datasets.files import read_lines
from vision_suite.datasets.pictures.images import Interpolation
from vision_suite.datasets.pictures.preprocessing import SCALE
from vision_suite.datasets.roots import resolve_root
from vision_suite.datasets.saved import SavedPreprocessing

if TYPE_CHECKING:
    from vision_suite.text.chat import ChatFormat

ChatTemplate = Literal["auto", "chatml", "plain"]


@dataclass(frozen=True)
class ChatSettings:
    """Settings of the chat format.

    Attributes:
        tokenizer: Prepared set, folder, .gguf file or hub name of a tokenizer, or a .txt file whose words are one.
        image_tokens: Tokens of one picture, 0 for a model that sees none.
        template: Chat template; see `vision_suite.text.chat.ChatFormat`.
        system: Text of the system's turn where a conversation has none; empty for no such turn.
    """

    tokenizer: str
    image_tokens: int
    template: ChatTemplate
    system: str | None

    def load(self) -> ChatFormat:
        """The chat format.

        Raises:
            DataError: There is no such tokenizer.
        """
        from vision_suite.text.chat import ChatFormat

        settings: dict[str, Any] = {
            "image_tokens": self.image_tokens, "template": self.template, "system": self.system
        }  # fmt: skip
        if Path(self.tokenizer).suffix == ".txt":
            from vision_suite.text.tokenizers import word_tokenizer

            return ChatFormat(word_tokenizer(read_lines(resolve_root(self.tokenizer))), **settings)
        return ChatFormat.load(self.tokenizer, **settings)


def stored_preprocessing(appearance: Appearance, chat: ChatSettings, max_length: int) -> dict[str, Any]:
    """Steps from a conversation to the network's input, in plain values; sizes are (h, w)."""
    return {
        "colour": "RGB",
        "square": appearance.square,
        "resize": list(appearance.size),
        "interpolation": appearance.interpolation,
        "scale": SCALE,
        "mean": list(appearance.mean),
        "std": list(appearance.std),
        "tokenizer": chat.tokenizer,
        "image_tokens": chat.image_tokens,
        "template": chat.template,
        "system": chat.system,
        "max_length": max_length,
    }


def stored_settings(saved: SavedPreprocessing) -> dict[str, Any]:
    """Arguments of the datamodule; `MISSING` for absent entries.

    Raises:
        CheckpointError: An entry has a wrong value.
    """
    saved.fixed("colour", "RGB")
    saved.fixed("scale", SCALE)
    return {
        "square": saved.choice("square", get_args(Square)),
        "image_size": saved.size("resize"),
        "interpolation": saved.choice("interpolation", get_args(Interpolation)),
        "mean": saved.numbers("mean", 3),
        "std": saved.numbers("std", 3, above=0),
        "tokenizer": saved.text("tokenizer"),
        "image_tokens": saved.whole("image_tokens"),
        "template": saved.choice("template", get_args(ChatTemplate)),
        "system": saved.text("system", unset=True),
        "max_length": saved.whole("max_length", 1),
    }
