"""Log-probabilities of supervised tokens without a (batch, sequence, vocabulary) tensor of logits.

Only positions with a label meet the output matrix. Where even their logits would exceed a budget, the vocabulary is
taken in chunks: the forward pass keeps the running log-sum-exp, the backward pass computes each chunk's probabilities
again, whose gradient is (one-hot - p).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from vision_suite.errors import ConfigError, DataError, check_number
from vision_suite.types.instruct import IGNORED

BUDGET = 32 * 2**20  # bytes


def token_logps(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    *,
    bias: Tensor | None = None,
    scale: float = 1.0,
    softcap: float | None = None,
    budget: int = BUDGET,
    shift: bool = True,
) -> tuple[Tensor, Tensor]:
    """Log-probability of each supervised token.

    Under autocast the products run in its dtype; everything after them is float32, or float64 for float64 inputs.

    Args:
        hidden: (B, S, d) last hidden states, after the final norm.
        weight: (V, d) output matrix.
        labels: (B, S) int64 ids, `IGNORED` where nothing is supervised.
        bias: (V,) bias of the output matrix.
        scale: Factor on the logits (Cohere: logit_scale; Granite: 1 / logits_scaling).
        softcap: Cap c of the scaled logits, c tanh(logits / c) (Gemma 2: final_logit_softcapping).
        budget: Largest size of a block of logits in bytes; a few such blocks are alive at a time.
        shift: The state at a position predicts the label of the next one; False where labels are moved already.

    Returns:
        Log-probabilities (R,) of the labels, row by row, and the row (R,) int64 of the batch each is in.

    Raises:
        ConfigError: Shapes do not fit, or a number is out of range.
        DataError: A label is no id of the vocabulary.
    """
    check_number("softcap", 1.0 if softcap is None else softcap, above=0)
    check_number("scale", scale, above=0)
    check_number("budget", budget, low=1, whole=True)
    if hidden.ndim != 3 or labels.shape != hidden.shape[:2] or weight.shape[1:] != hidden.shape[2:]:
        raise ConfigError(
            f"token_logps: hidden {tuple(hidden.shape)}, weight {tuple(weight.shape)} and labels {tuple(labels.shape)} "
            "do not fit: give (B, S, d), (V, d) and (B, S)"
        )
    targets = labels[:, 1:] if shift else labels
    rows, columns = (targets != IGNORED).nonzero(as_tuple=True)
    ids = targets[rows, columns]
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < len(weight):
        raise DataError(
            f"labels from {int(ids.min())} to {int(ids.max())} are not ids of a vocabulary of {len(weight)}: use the "
            "tokenizer of this language model"
        )
    states = hidden[rows, columns]
    kind = states.device.type
    if torch.is_autocast_enabled(kind) and states.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(kind)
        states, weight, bias = states.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    with torch.autocast(kind, enabled=False):
        size = _precise(states).itemsize
        if len(ids) * len(weight) * size <= budget:
            logits = _shaped(F.linear(states, weight, bias), scale, softcap)
            logps = logits.gather(1, ids[:, None])[:, 0] - logits.logsumexp(1)
        else:
            chunk = max(budget // (len(ids) * size), 1)
            logps = _Chunked.apply(states, weight, bias, ids, scale, softcap, chunk)
    return logps, rows


def sequence_logps(hidden: Tensor, weight: Tensor, labels: Tensor, **settings: Any) -> Tensor:
    """Log-probability of each row's supervised tokens together.

    Args:
        hidden: (B, S, d) last hidden states.
        weight: (V, d) output matrix.
        labels: (B, S) int64 ids, `IGNORED` where nothing is supervised.
        **settings: Further arguments of `token_logps`.

    Returns:
        (B,) sums, float32 or float64; 0 for a row without labels.
    """
    logps, rows = token_logps(hidden, weight, labels, **settings)
    return logps.new_zeros(len(labels)).index_add(0, rows, logps)


def supervised_nll(hidden: Tensor, weight: Tensor, labels: Tensor, **settings: Any) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of all supervised tokens; divided by the count it is the cross-entropy.

    Args:
        hidden: (B, S, d) last hidden states.
        weight: (V, d) output matrix.
        labels: (B, S) int64 ids, `IGNORED` where nothing is supervised.
        **settings: Further arguments of `token_logps`.

    Returns:
        Sum (), float32 or float64, with a gradient of 0 where nothing is supervised; number of tokens () int64.
    """
    logps, rows = token_logps(hidden, weight, labels, **settings)
    return -logps.sum(), torch.tensor(len(rows), device=logps.device)


def _precise(values: Tensor) -> torch.dtype:
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def _shaped(products: Tensor, scale: float, softcap: float | None) -> Tensor:
    """Logits of the products with the output matrix, in full precision."""
    logits = products.to(_precise(products))
    logits = logits if scale == 1.0 else logits * scale
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)


class _Chunked(torch.autograd.Function):
    """Log-probability of ids (R,), the vocabulary taken in chunks in both directions."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        ids: Tensor,
        scale: float,
        softcap: float | None,
        chunk: int,
    ) -> Tensor:
        lse = states.new_full((len(ids),), -math.inf, dtype=_precise(states))
        chosen = torch.zeros_like(lse)
        for start in range(0, len(weight), chunk):
            part = slice(start, start + chunk)
            logits = _shaped(F.linear(states, weight[part], None if bias is None else bias[part]), scale, softcap)
            lse = torch.logaddexp(lse, logits.logsumexp(1))
            inside = (ids >= start) & (ids < start + logits.shape[1])
            chosen[inside] = logits[inside].gather(1, (ids[inside] - start)[:, None])[:, 0]
        ctx.save_for_backward(states, weight, bias, ids, lse)
        ctx.settings = (scale, softcap, chunk)
        return chosen - lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, bias, ids, lse = ctx.saved_tensors
        scale, softcap, chunk = ctx.settings
        to_states, to_weight, to_bias = ctx.needs_input_grad[:3]
        d_states = torch.zeros_like(states, dtype=_precise(states)) if to_states else None
        d_weight = torch.empty_like(weight) if to_weight else None
        d_bias = torch.empty_like(bias) if bias is not None and to_bias else None
        for start in range(0, len(weight), chunk):
            part = slice(start, start + chunk)
            logits = _shaped(F.linear(states, weight[part], None if bias is None else bias[part]), scale, softcap)
            # d logp / d logits = one-hot - p, then through the cap: d (c tanh(x / c)) / dx = 1 - (logits / c)^2.
            slope = (logits - lse[:, None]).exp_().neg_()
            inside = ((ids >= start) & (ids < start + logits.shape[1])).nonzero()[:, 0]
            slope[inside, ids[inside] - start] += 1
            slope *= grad[:, None] * scale
            if softcap is not None:
                slope *= 1 - (logits / softcap).square_()
            slope = slope.to(states.dtype)
            if d_states is not None:
                d_states += slope @ weight[part]
            if d_weight is not None:
                d_weight[part] = slope.T @ states
            if d_bias is not None:
                d_bias[part] = slope.sum(0)
        return None if d_states is None else d_states.to(states.dtype), d_weight, d_bias, None, None, None, None
