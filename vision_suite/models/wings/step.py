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
        cache: Cache, to which each layer adds the token.
        heads: Number of heads H.
    """

    def __init__(self, weights: StepWeights, state: WingsState, cache: WingsCache, heads: int) -> None:
        self.weights, self.state, self.heads, self.out_b = weights, state, heads, weights.out_b
        self.cache = cache
        slots, kinds = len(weights.query_a), weights.kinds
        self.columns: list[Tensor | None] = [None] * slots
        if weights.columns is not None:
            table = F.embedding(state.positions, weights.columns.to(wide(state.x)))
            self.columns = list(torch.split(table, 2, -1))
        self.own = torch.cat([state.is_image, ~state.is_image], -1)[..., :kinds, None]
        bias = torch.stack([state.visual_bias, state.textual_bias][:kinds], 1)
        self.mask = bias[:, None].to(state.x.dtype)
        self.sees = (bias == 0).any(-1)[:, None, :, None]
        self.keys, self.values = self.new()

    def new(self) -> tuple[Tensor, Tensor]:
        """Keys and values (L, B, d) of the new token."""
        weights, x = self.weights, self.state.x.transpose(0, 1).expand(len(self.columns), -1, -1)
        keys = torch.baddbmm(x, self.coefficients(weights.key_a), weights.key_b)
        values = torch.baddbmm(x, self.coefficients(weights.value_a), weights.value_b)
        keys = rotate(self.split(keys), self.state.cos[:, 0], self.state.sin[:, 0]).flatten(2)
        return keys, values

    def coefficients(self, a: Tensor) -> Tensor:
        """Coefficients (L, B, K r) of the new token, zero in the basis of the other wing."""
        z = (self.state.x @ a).view(self.state.x.shape[0], len(self.columns), self.own.shape[-2], -1)
        return torch.where(self.own, z, 0.0).flatten(2).transpose(0, 1)

    def read(self, slot: int, query: Tensor) -> tuple[Tensor, Tensor | None]:
        """Read-out of each wing, (B, 1, r) before its last matrix; the text wing's is None in stage 1."""
        weights, kinds, rows = self.weights, self.weights.kinds, query.shape[0]
        z = (query @ weights.query_a[slot]).view(rows, kinds, -1).transpose(0, 1)
        asked = torch.baddbmm(query.transpose(0, 1).expand(kinds, -1, -1), z, weights.query_b[slot])
        asked = rotate(asked.view(kinds, rows, self.heads, -1), self.state.cos[:, 0], self.state.sin[:, 0])
        keys, values = self.cache.write(slot, self.keys[slot][:, None], self.values[slot][:, None])
        out = self.attend(slot, asked.permute(1, 2, 0, 3), keys, values)
        # A row without keys is zero on every backend.
        out = torch.where(self.sees, out, 0.0).permute(2, 0, 1, 3).flatten(2)
        found = torch.bmm(out, weights.out_a[slot])[:, :, None]
        return found[0], found[1] if kinds == 2 else None

    def attend(self, slot: int, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attention (B, H, K, D) of both wings over all tokens (B, N, d); undefined where a wing sees none."""
        keys, values = self.by_head(keys), self.by_head(values)
        return F.scaled_dot_product_attention(query.to(keys.dtype), keys, values, self.mask.to(keys.dtype))

    def split(self, x: Tensor) -> Tensor:
        """(..., d) to (..., H, D)."""
        return x.view(*x.shape[:-1], self.heads, -1)

    def by_head(self, x: Tensor) -> Tensor:
        """(B, N, d) to (B, H, N, D)."""
        return self.split(x).transpose(1, 2)


class LowRankStep(Step):
    """The same on coefficients: keys are made anew, values are summed before their last matrix."""

    def new(self) -> tuple[Tensor, Tensor]:
        """Coefficients (L, B, K r) of the new token's keys and values."""
        self.x, self.rotated = self.cache.embeddings()
        return self.coefficients(self.weights.key_a), self.coefficients(self.weights.value_a)

    def attend(self, slot: int, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attention (B, H, K, D) of both wings over all tokens (B, N, K r); undefined where a wing sees none."""
        weights, heads = self.weights, self.heads
        change = self.split(keys @ weights.key_b[slot])
        keys = self.by_head(self.rotated + rotate(change, *self.state.all_angles()).flatten(2))
        scores = (query * query.shape[-1] ** -0.5).to(keys.dtype) @ keys.transpose(2, 3) + self.mask
        share = scores.softmax(-1).to(self.x.dtype)
        rows, _, kinds, tokens = share.shape
        sums = (share.reshape(rows, heads * kinds, tokens) @ values).view(rows, heads, kinds, -1)
        basis = self.split(weights.value_b[slot]).transpose(0, 1)
        read: Tensor = share @ self.by_head(self.x) + sums @ basis
        return read
