"""A step of decoding: keys and values of one new token for all layers at once, both wings in one attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from vision_suite.models.wings.cache import WingsCache
from vision_suite.models.wings.learner import rotate
from vision_suite.models.wings.state import WingsState, wide

if TYPE_CHECKING:
    from vision_suite.models.wings.layer import Wings


class StepWeights:
    """Weights of all layers with wings side by side, made once for a cache.

    Args:
        wings: Wings of each layer, K = 2 of them in stage 2 and 1 in stage 1.
    """

    def __init__(self, wings: list[Wings]) -> None:
        self.config = config = wings[0].config
        both = [[w.visual, w.textual] if config.stage == 2 else [w.visual] for w in wings]
        self.kinds = len(both[0])
        self.key_a = torch.cat([one.k.a for layer in both for one in layer], 1)
        self.value_a = torch.cat([one.v.a for layer in both for one in layer], 1)
        self.key_b = torch.stack([torch.cat([one.k.b for one in layer]) for layer in both])
        self.value_b = torch.stack([torch.cat([one.v.b for one in layer]) for layer in both])
        self.query_a = [torch.cat([one.q.a for one in layer], 1) for layer in both]
        self.query_b = [torch.stack([one.q.b for one in layer]) for layer in both]
        self.out_a = [torch.stack([one.o.a for one in layer]) for layer in both]
        self.out_b = [torch.cat([one.o.b for one in layer]) for layer in both]
        self.columns: Tensor | None = None
        if config.stage == 2 and config.router == "position":
            self.columns = torch.cat([w.router.weight for w in wings]).t().contiguous()


class Step:
    """One new token per row, without gradients.

    Args:
        weights: Weights of all layers.
        state: State of the pass.
        cache: Cache, to which the token is added.
        heads: Number of heads H.
    """

    def __init__(self, weights: StepWeights, state: WingsState, cache: WingsCache, heads: int) -> None:
        self.weights, self.state, self.heads, self.out_b = weights, state, heads, weights.out_b
        slots, kinds = len(weights.query_a), weights.kinds
        self.columns: list[Tensor | None] = [None] * slots
        if weights.columns is not None:
            table = F.embedding(state.positions, weights.columns.to(wide(state.x)))
            self.columns = list(torch.split(table, 2, -1))
        own = torch.cat([state.is_image, ~state.is_image], -1)[..., :kinds, None]
        keys = self._new(weights.key_a, weights.key_b, own)
        values = self._new(weights.value_a, weights.value_b, own)
        keys = rotate(keys.view(slots, -1, heads, keys.shape[-1] // heads), state.cos[:, 0], state.sin[:, 0]).flatten(2)
        cache.main.update(keys.transpose(0, 1)[:, :, None], values.transpose(0, 1)[:, :, None])
        self.keys, self.values = cache.main.keys, cache.main.values
        bias = torch.stack([state.visual_bias, state.textual_bias][:kinds], 1)
        self.mask = bias[:, None].to(self.keys.dtype)
        self.sees = (bias == 0).any(-1)[:, None, :, None]

    def _new(self, a: Tensor, b: Tensor, own: Tensor) -> Tensor:
        """Keys or values (L, B, d) of the new token, ``x + z b`` with the basis of its own wing."""
        x = self.state.x
        z = (x @ a).view(x.shape[0], b.shape[0], own.shape[-2], -1)
        z = torch.where(own, z, 0.0).flatten(2).transpose(0, 1)
        return torch.baddbmm(x.transpose(0, 1).expand(b.shape[0], -1, -1), z, b)

    def read(self, slot: int, query: Tensor) -> tuple[Tensor, Tensor | None]:
        """What each wing reads, (B, 1, r) before its last matrix; the text wing's is None in stage 1."""
        weights, kinds, rows = self.weights, self.weights.kinds, query.shape[0]
        z = (query @ weights.query_a[slot]).view(rows, kinds, -1).transpose(0, 1)
        asked = torch.baddbmm(query.transpose(0, 1).expand(kinds, -1, -1), z, weights.query_b[slot])
        asked = rotate(asked.view(kinds, rows, self.heads, -1), self.state.cos[:, 0], self.state.sin[:, 0])
        keys, values = (x[:, slot].unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (self.keys, self.values))
        out = F.scaled_dot_product_attention(asked.permute(1, 2, 0, 3).to(keys.dtype), keys, values, self.mask)
        # A row without keys is zero on every backend.
        out = torch.where(self.sees, out, 0.0).permute(2, 0, 1, 3).flatten(2)
        found = torch.bmm(out, weights.out_a[slot])[:, :, None]
        return found[0], found[1] if kinds == 2 else None
