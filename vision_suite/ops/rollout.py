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

from vision_suite.ops._load import available, switched_off

HeadFusion = Literal["mean", "product", "max"]
ROWS = 128


@torch.no_grad()
def attention_rollout(
    qs: Sequence[Tensor],
    ks: Sequence[Tensor],
    lses: Sequence[Tensor] | None = None,
    *,
    row: int = 0,
    residual: float = 0.5,
    key_padding_mask: Tensor | None = None,
    scale: float | None = None,
    head_fusion: HeadFusion = "mean",
) -> Tensor:
    """Row ``row`` of the rollout, from the queries and keys of each layer.

    Args:
        qs: L tensors (B, H, N, D), oldest layer first.
        ks: L tensors (B, H or Hkv, N, D).
        lses: L tensors (B, H, N), the log-sum-exps that `cross_attention` gives. With them the compiled operator
            serves; without them the softmax is taken again.
        row: The token whose accumulated attention is wanted (0 = class token).
        residual: Weight of the identity (skip connection) in each layer.
        key_padding_mask: (B, N) boolean, True = padding; a row that sees nothing passes on its residual share only.
        scale: Factor on the scores; default D ** -0.5.
        head_fusion: ``mean`` over heads before the product; ``product``: one product per head, averaged at the end;
            ``max`` over heads before the product, rows renormalised.

    Returns:
        (B, N) accumulated weights, at least float32; each row sums to one. Never carries a gradient, because top-k
        selection is not differentiable; half precision would lose the order of values near 1/N.

    Raises:
        ValueError: If there are no layers, or the lists differ in length.
    """
    if not qs or len(qs) != len(ks) or (lses is not None and len(lses) != len(qs)):
        counts = f"{len(qs)}, {len(ks)}" + ("" if lses is None else f" and {len(lses)}")
        raise ValueError(f"attention_rollout: give as many keys (and lses) as queries, at least one; got {counts}")
    scale = qs[0].shape[-1] ** -0.5 if scale is None else float(scale)
    hidden = None
    if key_padding_mask is not None:
        wide = torch.promote_types(qs[0].dtype, torch.float32)
        hidden = torch.zeros(key_padding_mask.shape, dtype=wide, device=qs[0].device)
        hidden = hidden.masked_fill(key_padding_mask, -torch.inf)
    device = qs[0].device.type
    served = device in ("cpu", "cuda") and lses is not None and head_fusion == "mean"
    if served and lses is not None and not switched_off() and available(device):
        weights: Tensor = torch.ops.vision_suite.rollout(
            list(qs), list(ks), [lse.contiguous() for lse in lses], hidden, scale, residual, row
        )
        return weights
    return _recomputed(qs, ks, hidden, row, residual, scale, head_fusion)


def _recomputed(
    qs: Sequence[Tensor], ks: Sequence[Tensor], hidden: Tensor | None, row: int, residual: float, scale: float,
    head_fusion: HeadFusion,
) -> Tensor:  # fmt: skip
    """The same in plain PyTorch, in blocks of query rows."""
    batch, heads, tokens, _ = qs[0].shape
    wide = torch.promote_types(qs[0].dtype, torch.float32)
    shape = (batch, heads, tokens) if head_fusion == "product" else (batch, 1, tokens)
    weights = torch.zeros(shape, dtype=wide, device=qs[0].device)
    weights[..., row] = 1.0
    with torch.autocast(qs[0].device.type, enabled=False):
        for depth, (query, key) in enumerate(zip(reversed(qs), reversed(ks), strict=True)):
            query, key_t = query.to(wide) * scale, key.to(wide).transpose(-2, -1)
            if key_t.shape[1] != heads:
                key_t = key_t.repeat_interleave(heads // key_t.shape[1], 1)
            # The newest layer is reached from one row only.
            starts = [row] if depth == 0 else range(0, tokens, ROWS)
            size = 1 if depth == 0 else ROWS
            passed = torch.zeros_like(weights)
            for start in starts:
                rows = slice(start, min(start + size, tokens))
                scores = query[:, :, rows] @ key_t
                if hidden is not None:
                    scores = torch.where(hidden[:, None, None] == -torch.inf, -torch.inf, scores)
                    scores = scores - scores.logsumexp(-1, keepdim=True).clamp(min=-1e30)
                    maps = scores.exp()
                else:
                    maps = scores.softmax(-1)
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
        maps: L tensors (B, N, N) of head means, or (B, H, N, N), oldest layer first.
        row: Token whose accumulated attention is wanted.
        residual: Weight of the identity in each layer.
        head_fusion: Fusion of the heads, as in `attention_rollout`; without effect on head means.

    Returns:
        (B, N) accumulated weights in the maps' dtype.

    Raises:
        ValueError: If there are no maps.
    """
    if not maps:
        raise ValueError("rollout_from_maps: give at least one attention map")
    layers = [each if each.dim() == 4 else each.unsqueeze(1) for each in maps]
    batch, heads, tokens, _ = layers[0].shape
    shape = (batch, heads, tokens) if head_fusion == "product" else (batch, 1, tokens)
    weights = torch.zeros(shape, dtype=layers[0].dtype, device=layers[0].device)
    weights[..., row] = 1.0
    for attention in reversed(layers):
        weights = _pass_down(weights, attention, 0, residual, head_fusion)
    return weights.mean(1)
