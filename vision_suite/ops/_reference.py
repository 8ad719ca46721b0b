"""The operators in plain PyTorch: what every other path must equal, and what runs where nothing is compiled.

Blocked over queries, so that memory grows with the number of tokens, in the backward pass too. Everything is computed
in float32 (float64 for float64). Arguments are those of the compiled operators.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vision_suite.ops._register import Maybe, wide_dtype

ROWS = 64


class _Keys(NamedTuple):
    """Own and partner's keys in a row, hidden ones zero: (B, H, S, D); bias (B, 1, 1, S); readout (B, S, G)."""

    key: Tensor
    value: Tensor
    bias: Maybe
    readout: Maybe


def _gather(q: Tensor, k: Tensor, v: Tensor, partner: Maybe, key_bias: Maybe, readout: Maybe) -> _Keys:
    wide, batch = wide_dtype(q), q.shape[0]
    group = q.shape[1] // k.shape[1] if k.shape[1] else 1
    key, value = k.to(wide), v.to(wide)
    bias = key_bias
    if readout is not None:
        readout = readout.expand(batch, -1, -1) if readout.dim() == 2 else readout
    if bias is not None:
        hidden = bias == -torch.inf
        key, value = (torch.where(hidden[:, None, :, None], 0.0, x) for x in (key, value))
        readout = None if readout is None else torch.where(hidden[:, :, None], 0.0, readout)
    if partner is not None:
        other = partner.clamp(min=0)
        own = torch.zeros(batch, k.shape[2], dtype=wide, device=q.device) if bias is None else bias
        theirs = own[other].masked_fill((partner < 0)[:, None], -torch.inf)
        key, value = (torch.cat([x, x[other]], 2) for x in (key, value))
        bias = torch.cat([own, theirs], 1)
        readout = None if readout is None else torch.cat([readout, readout[other]], 1)
    if group > 1:
        key, value = (x.repeat_interleave(group, 1) for x in (key, value))
    return _Keys(key, value, None if bias is None else bias[:, None, None], readout)


def _scores(query: Tensor, keys: _Keys, first: int, queries: int, tokens: int, scale: float, causal: bool) -> Tensor:
    """(B, H, rows, S), -inf where hidden."""
    scores = (query @ keys.key.transpose(-2, -1)) * scale
    if keys.bias is not None:
        hidden = keys.bias == -torch.inf
        scores = torch.where(hidden, -torch.inf, scores + keys.bias)
    if causal:
        row = torch.arange(first, first + query.shape[2], device=query.device)[:, None]
        column = torch.arange(tokens, device=query.device)
        scores = scores.masked_fill(column > row + (tokens - queries), -torch.inf)
    return scores


def attention_fwd(
    q: Tensor, k: Tensor, v: Tensor, partner: Maybe, key_bias: Maybe, readout: Maybe, scale: float, causal: bool,
    mean_map: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """As the operator of that name."""
    batch, heads, queries, width = q.shape
    wide, tokens = wide_dtype(q), k.shape[2]
    keys = _gather(q, k, v, partner, key_bias, readout)
    out, lse, extra, maps = [], [], [], []
    for first in range(0, queries, ROWS):
        scores = _scores(q[:, :, first : first + ROWS].to(wide), keys, first, queries, tokens, scale, causal)
        top = scores.amax(-1, keepdim=True) if tokens else scores.new_zeros(*scores.shape[:-1], 1)
        top = top.clamp(min=-1e30)
        weights = (scores - top).exp()
        mass = weights.sum(-1, keepdim=True)
        weights = weights / torch.where(mass == 0, 1.0, mass)
        total = torch.where(mass == 0, -torch.inf, top + mass.log())[..., 0]
        out.append(weights @ keys.value)
        lse.append(total)
        if keys.readout is not None:
            extra.append(weights @ keys.readout[:, None])
        if mean_map:
            maps.append(weights.mean(1) if heads else weights.new_zeros(batch, weights.shape[2], tokens))
    empty = q.new_empty(batch, heads, 0, width, dtype=wide)
    result = torch.cat([empty, *out], 2).to(q.dtype).transpose(1, 2).contiguous().transpose(1, 2)
    columns = 0 if readout is None else readout.shape[-1]
    return (
        result,
        torch.cat([empty.new_empty(batch, heads, 0), *lse], 2),
        torch.cat([empty.new_empty(batch, heads, 0, columns), *extra], 2)
        if readout is not None
        else empty.new_empty(batch, heads, queries, 0),
        torch.cat([empty.new_empty(batch, 0, tokens), *maps], 1) if mean_map else empty.new_empty(0, queries, tokens),
    )


def attention_bwd(
    dout: Tensor, dlse: Maybe, dextra: Maybe, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, extra: Tensor,
    partner: Maybe, key_bias: Maybe, readout: Maybe, scale: float, causal: bool,
) -> tuple[Tensor, Tensor, Tensor, Maybe]:  # fmt: skip
    """As the operator of that name; the inverse lists of ``partner`` are not needed."""
    queries, wide, tokens = q.shape[2], wide_dtype(q), k.shape[2]
    keys = _gather(q, k, v, partner, key_bias, readout)
    dq = torch.zeros_like(q, dtype=wide)
    dkey, dvalue = torch.zeros_like(keys.key), torch.zeros_like(keys.value)
    dread = None if keys.readout is None else torch.zeros_like(keys.readout)
    for first in range(0, queries, ROWS):
        rows = slice(first, first + ROWS)
        query, grad = q[:, :, rows].to(wide), dout[:, :, rows].to(wide)
        scores = _scores(query, keys, first, queries, tokens, scale, causal)
        hidden = scores == -torch.inf
        weights = (scores - lse[:, :, rows].clamp(min=-1e30)[..., None]).exp()
        slope = grad @ keys.value.transpose(-2, -1)
        delta = (grad * out[:, :, rows].to(wide)).sum(-1)
        if dextra is not None and keys.readout is not None and dread is not None:
            more = dextra[:, :, rows]
            slope = slope + more @ keys.readout[:, None].transpose(-2, -1)
            delta = delta + (more * extra[:, :, rows]).sum(-1)
            dread += (weights.transpose(-2, -1) @ more).sum(1)
        if dlse is not None:
            delta = delta - dlse[:, :, rows]
        slope = torch.where(hidden, 0.0, weights * (slope - delta[..., None]))
        dq[:, :, rows] = scale * (slope @ keys.key)
        dkey += scale * (slope.transpose(-2, -1) @ query)
        dvalue += weights.transpose(-2, -1) @ grad
    if keys.bias is not None:
        gone = keys.bias[:, 0, 0] == -torch.inf
        dkey, dvalue = (torch.where(gone[:, None, :, None], 0.0, x) for x in (dkey, dvalue))
        dread = None if dread is None else torch.where(gone[:, :, None], 0.0, dread)
    group = q.shape[1] // k.shape[1] if k.shape[1] else 1
    if group > 1:
        dkey, dvalue = (x.view(x.shape[0], k.shape[1], group, *x.shape[2:]).sum(2) for x in (dkey, dvalue))
    if partner is not None:
        there, other = (partner >= 0).to(wide), partner.clamp(min=0)
        dkey, dvalue = (
            x[:, :, :tokens].index_add(0, other, x[:, :, tokens:] * there[:, None, None, None]) for x in (dkey, dvalue)
        )
        if dread is not None:
            dread = dread[:, :tokens].index_add(0, other, dread[:, tokens:] * there[:, None, None])
    if dread is not None and readout is not None and readout.dim() == 2:
        dread = dread.sum(0)
    return dq.to(q.dtype), dkey.to(k.dtype), dvalue.to(v.dtype), dread


class ReferenceAttention(torch.autograd.Function):
    """The two functions above as one differentiable operation."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, partner: Maybe, key_bias: Maybe, readout: Maybe, scale: float,
        causal: bool, mean_map: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        """Attention; nothing of size N squared is kept."""
        out, lse, extra, maps = attention_fwd(q, k, v, partner, key_bias, readout, scale, causal, mean_map)
        ctx.save_for_backward(q, k, v, out, lse, extra, partner, key_bias, readout)
        ctx.scale, ctx.causal = scale, causal
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(maps)
        return out, lse, extra, maps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Maybe, dlse: Maybe, dextra: Maybe, dmap: Maybe) -> tuple[Maybe, ...]:
        """Gradients of query, key, value and read-out."""
        q, k, v, out, lse, extra, partner, key_bias, readout = ctx.saved_tensors
        dout = torch.zeros_like(out) if dout is None else dout
        dq, dk, dv, dread = attention_bwd(
            dout, dlse, dextra, q, k, v, out, lse, extra, partner, key_bias, readout, ctx.scale, ctx.causal
        )
        return dq, dk, dv, None, None, dread, None, None, None


def mean_map(q: Tensor, k: Tensor, lse: Tensor, key_bias: Maybe, scale: float, causal: bool) -> Tensor:
    """As the operator of that name."""
    wide, queries, tokens = wide_dtype(q), q.shape[2], k.shape[2]
    keys = _gather(q, k, k, None, key_bias, None)
    maps = [q.new_empty(q.shape[0], 0, tokens, dtype=wide)]
    for first in range(0, queries, ROWS):
        rows = slice(first, first + ROWS)
        scores = _scores(q[:, :, rows].to(wide), keys, first, queries, tokens, scale, causal)
        maps.append((scores - lse[:, :, rows].clamp(min=-1e30)[..., None]).exp().mean(1))
    return torch.cat(maps, 1)
