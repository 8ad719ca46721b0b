"""Prompts with pictures inside transformers' generation loop, which itself carries only ids."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn


class PromptEmbeddings:
    """Context in which a causal model reads a prompt by its embeddings.

    ``generate`` refuses keyword arguments that it does not know. So a forward pre-hook replaces the ids of prompt
    positions by the embeddings, and adds ``is_image``. Where a call's tokens lie is told by the cache's length, so
    chunked prefill, a loop without cache and assisted decoding need nothing further; rows repeated for beams or several
    answers take the embeddings of their prompt.

    Args:
        decoder: Causal model.
        embeds: (B, P, d) embeddings of the prompts.
        is_image: (B, P) bool, true at a picture's tokens.
    """

    def __init__(self, decoder: nn.Module, embeds: Tensor, is_image: Tensor) -> None:
        self.decoder, self.embeds, self.is_image = decoder, embeds, is_image

    def __enter__(self) -> None:
        # Before other hooks, which may read `is_image`.
        self._handle = self.decoder.register_forward_pre_hook(self._replace, with_kwargs=True, prepend=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.remove()

    def _replace(self, decoder: Any, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        ids: Tensor = given["input_ids"]
        cache = given.get("past_key_values")
        start = 0 if cache is None else int(cache.get_seq_length())
        prompt = self.embeds[:, start : start + ids.shape[1]]
        flags = self.is_image[:, start : start + ids.shape[1]]
        repeats, rest = ids.shape[0] // len(self.embeds), ids[:, prompt.shape[1] :]
        new = torch.zeros_like(ids, dtype=torch.bool)
        new[:, : flags.shape[1]] = flags.repeat_interleave(repeats, 0)
        given = {**given, "is_image": new}
        if prompt.shape[1]:
            following = decoder.get_input_embeddings()(rest)
            given["inputs_embeds"] = torch.cat([prompt.repeat_interleave(repeats, 0), following], 1)
            given["input_ids"] = None
        return args, given


def left_padded(ids: Tensor, embeds: Tensor, is_image: Tensor, kept: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Move every row's tokens to its right end, so that answers follow prompts directly.

    Args:
        ids: (B, P) int64.
        embeds: (B, P, d).
        is_image: (B, P) bool.
        kept: (B, P) bool, false for padding, which may lie anywhere.

    Returns:
        The four, reordered alike; tokens keep their order.
    """
    order = kept.to(torch.int8).argsort(dim=1, stable=True)
    moved = (each.gather(1, order) for each in (ids, is_image, kept))
    ids, is_image, kept = moved
    return ids, embeds.gather(1, order.unsqueeze(-1).expand_as(embeds)), is_image, kept
