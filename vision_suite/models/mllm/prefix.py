"""Prompts that are read once and continued in several ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from vision_suite.errors import ConfigError
from vision_suite.models.mllm.network import Mllm
from vision_suite.models.mllm.prompts import left_padded
from vision_suite.types.instruct import InstructBatch


class Prefix:
    """Prompts in the cache of a decoder, each of which several continuations follow.

    The prompts go through the decoder once. Continuations are rows of their own behind them: ``repeat`` n gives each
    prompt n neighbouring rows, and each call of `follow` reads further ids of all rows.

    Args:
        model: Network.
        batch: Prompts, padded on either side, not packed.
        repeat: Rows of each prompt.

    Attributes:
        last: (B repeat, d) last hidden state of each row, that which predicts its next id.

    Raises:
        ConfigError: The batch is packed.
    """

    def __init__(self, model: Mllm, batch: InstructBatch, repeat: int = 1) -> None:
        from transformers import DynamicCache

        if batch.get("segments") is not None:
            raise ConfigError("packed rows cannot be continued: give one prompt a row")
        self.model = model
        embeds, is_image = model.embed(batch["input_ids"], model.picture_embeddings(batch))
        kept = batch.get("attention_mask")
        kept = torch.ones_like(is_image) if kept is None else kept.bool()
        _, embeds, is_image, kept = left_padded(batch["input_ids"], embeds, is_image, kept)
        self._cache: Any = DynamicCache(config=model.decoder.config.get_text_config())
        self._kept = kept
        self._next = kept.sum(1)
        positions = (kept.cumsum(1) - 1).clamp_min(0)
        self.last = self._read(embeds, is_image, positions)[:, -1]
        if repeat > 1:
            self._cache.batch_repeat_interleave(repeat)
            self._kept, self._next, self.last = (
                each.repeat_interleave(repeat, 0) for each in (self._kept, self._next, self.last)
            )

    def follow(self, ids: Tensor, kept: Tensor | None = None) -> Tensor:
        """Read further ids of every row.

        Args:
            ids: (R, T) int64, padded on the right.
            kept: (R, T) bool, false for padding; by default nothing is.

        Returns:
            (R, T, d) last hidden states; `last` is that of each row's last id, unchanged where it has none.
        """
        kept = torch.ones_like(ids, dtype=torch.bool) if kept is None else kept
        positions = self._next[:, None] + (kept.cumsum(1) - 1).clamp_min(0)
        self._kept = torch.cat([self._kept, kept], 1)
        self._next = self._next + kept.sum(1)
        hidden = self._read(self.model.embedding(ids), torch.zeros_like(kept), positions)
        count = kept.sum(1)
        ends = hidden[torch.arange(len(ids), device=ids.device), (count - 1).clamp_min(0)]
        self.last = torch.where(count[:, None] > 0, ends, self.last)
        return hidden

    def select(self, rows: Sequence[int]) -> None:
        """Keep some rows only."""
        chosen = torch.as_tensor(rows, dtype=torch.int64, device=self._kept.device)
        self._cache.batch_select_indices(chosen)
        self._kept, self._next, self.last = self._kept[chosen], self._next[chosen], self.last[chosen]

    def _read(self, embeds: Tensor, is_image: Tensor, positions: Tensor) -> Tensor:
        output = self.model.text_model(
            inputs_embeds=embeds,
            is_image=is_image,
            attention_mask=self._kept,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
        )
        return cast("Tensor", output.last_hidden_state)
