"""Attention rollout of one token, without ever storing an N x N map.

Rollout multiplies ``0.5 S_l + 0.5 E`` over the layers, newest on the left (DCAL, CVPR 2022, eq. 2; Abnar and Zuidema,
ACL 2020). One row of that product needs only vector-matrix products from the newest layer down, and those are taken in
blocks of query rows, so memory grows with N, not N squared.

Shapes: B images, H heads, N tokens, D head width, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

HeadFusion = Literal["mean", "product", "max"]


@torch.no_grad()
def attention_rollout(
    queries: Sequence[Tensor],
    keys: Sequence[Tensor],
    *,
    row: int = 0,
    residual: float = 0.5,
    scale: float | None = None,
    head_fusion: HeadFusion = "mean",
    block_size: int = 128,
) -> Tensor:
    """Row ``row`` of the rollout, from the queries and keys of each layer.

    Args:
        queries: L tensors (B, H, N, D), oldest layer first.
        keys: L tensors (B, H, N, D).
        row: The token whose accumulated attention is wanted (0 = class token).
        residual: Weight of the identity (skip connection) in each layer.
        scale: Factor on the scores; default D ** -0.5.
        head_fusion: ``mean`` over heads before the product; ``product``: one product per head, averaged at the end;
            ``max`` over heads before the product, rows renormalised.
        block_size: Query rows handled at once.

    Returns:
        (B, N) accumulated weights, at least float32; each row sums to one. Never carries a gradient, because top-k
        selection is not differentiable; half precision would lose the order of values near 1/N.

    Raises:
        ValueError: If there are no layers or the two lists differ in length.
    """
    if not queries or len(queries) != len(keys):
        raise ValueError(f"rollout needs one key tensor per query tensor, got {len(queries)} and {len(keys)}")
    batch, heads, tokens, width = queries[0].shape
    scale = width**-0.5 if scale is None else scale
    wide = torch.promote_types(queries[0].dtype, torch.float32)
    shape = (batch, heads, tokens) if head_fusion == "product" else (batch, 1, tokens)
    weights = torch.zeros(shape, dtype=wide, device=queries[0].device)
    weights[..., row] = 1.0
    with torch.autocast(queries[0].device.type, enabled=False):
        for depth, (query, key) in enumerate(zip(reversed(queries), reversed(keys), strict=True)):
            query, key_t = query.to(wide) * scale, key.to(wide).transpose(-2, -1)
            # The newest layer is reached from one row only.
            starts = [row] if depth == 0 else range(0, tokens, block_size)
            size = 1 if depth == 0 else block_size
            passed = torch.zeros_like(weights)
            for start in starts:
                rows = slice(start, min(start + size, tokens))
                maps = (query[:, :, rows] @ key_t).softmax(-1)
                passed += _pass_down(weights[..., rows], maps, rows.start, residual, head_fusion)
            weights = passed
    return weights.mean(1)


def _pass_down(weights: Tensor, maps: Tensor, start: int, residual: float, head_fusion: HeadFusion) -> Tensor:
    """Share of one block of rows in ``weights @ (residual E + (1 - residual) S)``.

    ``weights`` (B, H or 1, n) of the rows, ``maps`` (B, H, n, N) their attention, ``start`` the first row's index.
    """
    rows = maps.shape[-2]
    if head_fusion == "mean":
        maps = maps.mean(1, keepdim=True)
    elif head_fusion == "max":
        maps = maps.amax(1, keepdim=True)
        # A maximum over heads no longer sums to one; the mixed row is brought back to one.
        weights = weights / (residual + (1 - residual) * maps.sum(-1))
    out = (1 - residual) * (weights.unsqueeze(-2) @ maps).squeeze(-2)
    out[..., start : start + rows] += residual * weights
    return out


@torch.no_grad()
def rollout_from_maps(
    maps: Sequence[Tensor], *, row: int = 0, residual: float = 0.5, head_fusion: HeadFusion = "mean"
) -> Tensor:
    """Row ``row`` of the rollout, from attention maps that exist already.

    Args:
        maps: L tensors (B, H, N, N) of attention probabilities, oldest layer first.
        row: The token whose accumulated attention is wanted.
        residual: Weight of the identity in each layer.
        head_fusion: As in `attention_rollout`.

    Returns:
        (B, N) accumulated weights in the maps' dtype.
    """
    if not maps:
        raise ValueError("rollout needs at least one attention map")
    batch, heads, tokens, _ = maps[0].shape
    shape = (batch, heads, tokens) if head_fusion == "product" else (batch, 1, tokens)
    weights = torch.zeros(shape, dtype=maps[0].dtype, device=maps[0].device)
    weights[..., row] = 1.0
    for attention in reversed(maps):
        weights = _pass_down(weights, attention, 0, residual, head_fusion)
    return weights.mean(1)
