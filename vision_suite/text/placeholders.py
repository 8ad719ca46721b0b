"""The special token that stands for a picture among the ids."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from vision_suite.errors import ConfigError
from vision_suite.text.tokenizers import IMAGE, special_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Tokens that tokenizers of vision-language models have for a picture.
IMAGE_TOKENS = (IMAGE, "<|image_pad|>", "<|image|>", "<image_soft_token>", "[IMG]")
# Special tokens with a use, even where a tokenizer's settings do not name them.
ENDS_OF_TEXT = ("<s>", "</s>", "<unk>", "<pad>", "<mask>", "<|endoftext|>", "<|end_of_text|>")


def placeholder(
    tokenizer: PreTrainedTokenizerBase, chosen: str | int | None, *, template: str, needed: bool
) -> tuple[PreTrainedTokenizerBase, int]:
    """Find the placeholder of pictures: a special token, so that it is never merged with the text around it.

    It is the chosen token; else the tokenizer's own image token; else a special token without a use, a reserved one
    first; else, where one is needed, a new token ``<image>`` behind the vocabulary.

    Args:
        tokenizer: Tokenizer.
        chosen: Token or id; None to look for one.
        template: Text of the chat templates, whose tokens have a use.
        needed: Make a new token if there is none.

    Returns:
        The tokenizer, or a copy of it that has the new token, and the id; -1 if none is needed and none is there.

    Raises:
        ConfigError: The chosen token is no special token of the tokenizer.
    """
    known, special = tokenizer.get_vocab(), set(special_texts(tokenizer))
    if isinstance(chosen, int):
        chosen = next((token for token, number in known.items() if number == chosen), f"id {chosen}")
    if chosen is not None:
        if chosen in special:
            return tokenizer, known[chosen]
        if chosen not in known and chosen == IMAGE:
            return _extended(tokenizer)
        raise ConfigError(f"image_token={chosen!r} is no special token of the tokenizer: give one, or leave it unset")
    for token in (getattr(tokenizer, "image_token", None), *IMAGE_TOKENS):
        if isinstance(token, str) and token in special:
            return tokenizer, known[token]
    used = {*tokenizer.all_special_tokens, *ENDS_OF_TEXT}
    free = [token for token in special - used if token not in template]
    reserved = [token for token in free if "reserved" in token or "unused" in token]
    if free:
        return tokenizer, min(known[token] for token in reserved or free)
    return _extended(tokenizer) if needed else (tokenizer, -1)


def _extended(tokenizer: PreTrainedTokenizerBase) -> tuple[PreTrainedTokenizerBase, int]:
    """A copy of the tokenizer with a token behind its vocabulary."""
    extended = copy.deepcopy(tokenizer)
    extended.add_tokens([IMAGE], special_tokens=True)
    return extended, extended.get_vocab()[IMAGE]
