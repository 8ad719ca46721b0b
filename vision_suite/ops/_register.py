"""Python parts of the compiled operators: shapes without data, gradients, and a refusal of second derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

Maybe = Tensor | None


def register() -> None:
    """Tell PyTorch; called once, after the library is loaded."""
    torch.library.register_fake("vision_suite::attention_fwd", _forward_shapes)
    torch.library.register_fake("vision_suite::attention_bwd", _backward_shapes)
    torch.library.register_fake("vision_suite::rollout", _rollout_shapes)
    torch.library.register_fake("vision_suite::mean_map", _map_shapes)
    torch.library.register_autograd("vision_suite::attention_fwd", _backward, setup_context=_setup)
    torch.library.register_autograd("vision_suite::attention_bwd", _second, setup_context=_keep_nothing)


def wide_dtype(query: Tensor) -> torch.dtype:
    """Type of biases, read-outs and statistics: float32, float64 if the query is."""
    return torch.float64 if query.dtype == torch.float64 else torch.float32


def heads_buffer(like: Tensor, batch: int, heads: int, rows: int) -> Tensor:
    """(B, H, rows, D) as the kernels allocate it: a view of (B, rows, H, D)."""
    return like.new_empty(batch, rows, heads, like.shape[3]).transpose(1, 2)


def _forward_shapes(
    q: Tensor, k: Tensor, v: Tensor, partner: Maybe, key_bias: Maybe, readout: Maybe, scale: float, causal: bool,
    mean_map: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    batch, heads, queries, _ = q.shape
    columns = 0 if readout is None else readout.shape[-1]
    wide = wide_dtype(q)
    return (
        heads_buffer(q, batch, heads, queries),
        q.new_empty(batch, heads, queries, dtype=wide),
        q.new_empty(batch, heads, queries, columns, dtype=wide),
        q.new_empty(batch if mean_map else 0, queries, k.shape[2], dtype=wide),
    )


def _backward_shapes(
    dout: Tensor, dlse: Maybe, dextra: Maybe, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, extra: Tensor,
    partner: Maybe, inv_offsets: Maybe, inv_order: Maybe, key_bias: Maybe, readout: Maybe, scale: float, causal: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    batch, heads, queries, _ = q.shape
    key_heads, keys = k.shape[1:3]
    if readout is None:
        dreadout = q.new_empty(batch, keys, 0, dtype=wide_dtype(q))
    else:
        dreadout = readout.new_empty(readout.shape)
    return (
        heads_buffer(q, batch, heads, queries),
        heads_buffer(q, batch, key_heads, keys),
        heads_buffer(q, batch, key_heads, keys),
        dreadout,
    )


def _rollout_shapes(
    q: Sequence[Tensor], k: Sequence[Tensor], lse: Sequence[Tensor], key_bias: Maybe, scale: float, residual: float,
    row: int,
) -> Tensor:  # fmt: skip
    return q[0].new_empty(q[0].shape[0], q[0].shape[2], dtype=wide_dtype(q[0]))


def _map_shapes(q: Tensor, k: Tensor, lse: Tensor, key_bias: Maybe, scale: float, causal: bool) -> Tensor:
    return q.new_empty(q.shape[0], q.shape[2], k.shape[2], dtype=wide_dtype(q))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    q, k, v, partner, key_bias, readout, scale, causal, _ = inputs
    out, lse, extra, _ = output
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(q, k, v, out, lse, extra, partner, key_bias, readout)
    ctx.scale, ctx.causal = scale, causal


def _backward(ctx: Any, dout: Maybe, dlse: Maybe, dextra: Maybe, dmap: Maybe) -> tuple[Maybe, ...]:
    q, k, v, out, lse, extra, partner, key_bias, readout = ctx.saved_tensors
    if dout is None:
        dout = torch.zeros_like(out)
    elif dout.shape[-1] > 1 and dout.stride(-1) != 1:
        dout = dout.contiguous()
    offsets, order = (None, None) if partner is None else inverse_lists(partner)
    dq, dk, dv, dreadout = torch.ops.vision_suite.attention_bwd(
        dout, None if dlse is None else dlse.contiguous(),
        None if dextra is None or readout is None else dextra.contiguous(), q, k, v, out, lse, extra, partner, offsets,
        order, key_bias, readout, ctx.scale, ctx.causal,
    )  # fmt: skip
    return dq, dk, dv, None, None, None if readout is None else dreadout, None, None, None


def inverse_lists(partner: Tensor) -> tuple[Tensor, Tensor]:
    """Images that have each image as partner, without waiting for the device.

    Args:
        partner: (B,) int64.

    Returns:
        ``offsets`` (B + 1,) int32 and ``order`` (B,) int32: the images c with partner[c] = t are
        ``order[offsets[t]:offsets[t + 1]]``, ascending.
    """
    ordered, order = partner.sort(stable=True)
    bounds = torch.arange(len(partner) + 1, device=partner.device)
    return torch.searchsorted(ordered, bounds).int(), order.int()


def _keep_nothing(ctx: object, inputs: tuple[object, ...], output: tuple[Tensor, ...]) -> None:
    pass


def _second(ctx: object, *gradients: Maybe) -> NoReturn:
    raise NotImplementedError(
        "cross_attention has no second derivative: use backend='sdpa' or an eager formula where one is needed"
    )
