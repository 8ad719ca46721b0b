"""Post-norm transformer layers that compute what PyTorch's do, and also step by step with cached keys and values."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_suite.errors import ConfigError

KeysValues = tuple[Tensor, Tensor]  # each (rows, heads, n, width / heads)


class Attention(nn.Module):
    """Multi-head attention with one stacked projection, as `torch.nn.MultiheadAttention` has it.

    Args:
        width: Width E.
        num_heads: Number of heads.
        dropout: Rate on the attention weights.
    """

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        if width % num_heads:
            raise ConfigError(f"embed_dim={width} must be a multiple of num_heads={num_heads}")
        self.width, self.num_heads, self.dropout = width, num_heads, dropout
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.project.bias)
        nn.init.zeros_(self.out.bias)

    def part(self, x: Tensor, first: int, last: int) -> list[Tensor]:
        """Query (0), key (1), value (2) of rows (B, n, E), each (B, heads, n, E / heads)."""
        rows = slice(first * self.width, last * self.width)
        stacked = F.linear(x, self.project.weight[rows], self.project.bias[rows])
        return [self._heads(part) for part in stacked.chunk(last - first, dim=-1)]

    def _heads(self, rows: Tensor) -> Tensor:
        """(B, n, E) to (B, heads, n, E / heads)."""
        return rows.view(*rows.shape[:-1], self.num_heads, -1).transpose(1, 2)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """(B, heads, n, d) queries to (B, n, E); ``mask`` is bool, True where a key is seen."""
        rate = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate, is_causal=causal)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class _FeedForward(nn.Sequential):
    """Linear, ReLU, dropout, linear, dropout."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, width), nn.Dropout(dropout)
        )


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each followed by a residual and a LayerNorm.

    Args:
        width: Width E. num_heads: Number of heads. hidden: Width of the feed-forward layer. dropout: Rate.
    """

    def __init__(self, width: int, num_heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, num_heads, dropout)
        self.feed_forward = _FeedForward(width, hidden, dropout)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """Rows (B, S, E); ``seen`` (B, 1, 1, S) bool."""
        query, key, value = self.attention.part(x, 0, 3)
        x = self.norm1(x + self.drop(self.attention.attend(query, key, value, seen)))
        out: Tensor = self.norm2(x + self.feed_forward(x))
        return out


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the scene, feed-forward, each followed by a residual and a LayerNorm.

    Args:
        width: Width E. num_heads: Number of heads. hidden: Width of the feed-forward layer. dropout: Rate.
    """

    def __init__(self, width: int, num_heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, num_heads, dropout)
        self.scene = Attention(width, num_heads, dropout)
        self.feed_forward = _FeedForward(width, hidden, dropout)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.drop = nn.Dropout(dropout)

    def prepare(self, memory: Tensor) -> KeysValues:
        """Keys and values of the scene (B, S, E), computed once."""
        key, value = self.scene.part(memory, 1, 3)
        return key.contiguous(), value.contiguous()

    def forward(self, x: Tensor, scene: KeysValues, seen: Tensor) -> Tensor:
        """All steps of known paths: (B, T, E)."""
        query, key, value = self.attention.part(x, 0, 3)
        return self._finish(x, self.attention.attend(query, key, value, causal=True), scene, seen)

    def step(self, x: Tensor, scene: KeysValues, seen: Tensor, past: Past) -> Tensor:
        """The next step of K paths in each of B scenes.

        All paths of a scene are queries to the same keys, so the scene is never copied.

        Args:
            x: (B, K, E).
            scene: Keys and values of the scene, from `prepare`.
            seen: (B, 1, 1, S) bool.
            past: Earlier steps of the same paths; this step is added.
        """
        query, key, value = (part.transpose(1, 2).reshape(-1, self.attention.num_heads, 1, part.shape[-1])
                             for part in self.attention.part(x, 0, 3))  # fmt: skip
        keys, values = past.add(key, value)
        attended = self.attention.attend(query, keys, values).view_as(x)
        return self._finish(x, attended, scene, seen)

    def _finish(self, x: Tensor, attended: Tensor, scene: KeysValues, seen: Tensor) -> Tensor:
        x = self.norm1(x + self.drop(attended))
        (query,) = self.scene.part(x, 0, 1)
        x = self.norm2(x + self.drop(self.scene.attend(query, *scene, seen)))
        out: Tensor = self.norm3(x + self.feed_forward(x))
        return out


class Past:
    """Keys and values of the steps so far of one layer, with room that doubles."""

    def __init__(self) -> None:
        self.length = 0
        self._stores: list[Tensor] = []

    def add(self, key: Tensor, value: Tensor) -> KeysValues:
        """Append one step (R, heads, 1, d) of R paths and return all of them."""
        if not self._stores:
            self._stores = [new.repeat(1, 1, 8, 1) for new in (key, value)]
        elif self.length == self._stores[0].shape[2]:
            self._stores = [torch.cat([store, torch.zeros_like(store)], dim=2) for store in self._stores]
        for store, new in zip(self._stores, (key, value), strict=True):
            store[:, :, self.length] = new[:, :, 0]
        self.length += 1
        keys, values = (store[:, :, : self.length] for store in self._stores)
        return keys, values

    def select(self, rows: Tensor) -> None:
        """Keep or copy paths by their index, (R',) int64."""
        self._stores = [store[rows] for store in self._stores]
