"""A decoder as it was before training, beside the one that is trained."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from vision_suite.errors import DataError
from vision_suite.layers.decoders import load_decoder
from vision_suite.models.mllm import Mllm
from vision_suite.models.mllm.parts import select_rows
from vision_suite.models.wings.build import without_adapters
from vision_suite.ops.divergence import kl_to_reference
from vision_suite.prepared import language_folder
from vision_suite.types.instruct import IGNORED, InstructBatch


class Untouched:
    """The decoder before training: without wings and LoRA where its own weights are frozen, else a copy from its file.

    Args:
        model: Network that is trained.
        source: Folder, prepared set, hub name or ``.gguf`` file of the decoder.
        copy: The decoder's own weights change, so that a copy is needed. It is read at first use, and is no part of the
            module: checkpoints and optimisers do not see it.
    """

    def __init__(self, model: Mllm, source: str, copy: bool) -> None:
        self.model, self.source, self.copy = model, source, copy
        self._copied: Mllm | None = None

    @torch.no_grad()
    def states(self, batch: InstructBatch) -> tuple[Tensor, Tensor]:
        """Last hidden states (B, S, d) of a batch, and output embeddings (V, d)."""
        if not self.copy:
            with without_adapters(self.model):
                return self.model.hidden(batch), self.model.head_weight.detach()
        copied = self._read()
        return copied.hidden(batch), copied.head_weight

    @property
    def is_there(self) -> bool:
        """Tell whether nothing is to be read, or it may be found: of a hub's name only reading tells."""
        if not self.copy or self._copied is not None:
            return True
        try:
            language_folder(self.source)
        except DataError:
            return False
        return True

    def divergence(self, batch: InstructBatch, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of KL(untouched || network) at supervised ids of conversations without pictures, and their number.

        Args:
            batch: Training batch.
            hidden: (B, S, d) last hidden states of the network.
        """
        chosen = text_only(batch)[:, 1:] & (batch["labels"][:, 1:] != IGNORED)
        if not chosen.any():
            return hidden.sum() * 0.0, chosen.sum()
        rows = torch.nonzero(chosen.any(1))[:, 0].tolist()
        states, head = self.states(select_rows(batch, rows))
        kept = chosen[rows][:, : states.shape[1] - 1]
        kl = kl_to_reference(hidden[:, :-1][chosen], self.model.head_weight, states[:, :-1][kept], head)
        return kl, chosen.sum()

    def _read(self) -> Mllm:
        like = self.model.embedding.weight
        if self._copied is None:
            decoder = load_decoder(self.source, dtype=like.dtype).requires_grad_(False)
            self._copied = Mllm(decoder, self.model.tower, self.model.projector, self.model.image_token_id)
        if next(cast("Any", self._copied.decoder).parameters()).device != like.device:
            self._copied.decoder.to(like.device)
        return self._copied


def text_only(batch: InstructBatch) -> Tensor:
    """Tokens (B, S) bool of conversations without pictures; in packed rows by their segments."""
    pictures = batch["image_of_token"] >= 0
    if "segments" not in batch:
        return batch["attention_mask"].bool() & ~pictures.any(1, keepdim=True)
    segments = batch["segments"]
    # One number for each conversation of the batch.
    rows = torch.arange(len(segments), device=segments.device)[:, None] * segments.shape[1]
    numbers = (segments.clamp_min(0) + rows).flatten()
    seen = torch.zeros(segments.numel(), dtype=torch.int64, device=segments.device)
    seen.index_add_(0, numbers, (pictures & (segments >= 0)).flatten().long())
    return (segments >= 0) & (seen[numbers] == 0).view_as(segments)
