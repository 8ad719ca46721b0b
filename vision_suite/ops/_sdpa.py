"""PyTorch's own fused attention, brought to this suite's semantics; read-outs ride along as further value columns."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vision_suite.ops._register import Maybe, wide_dtype


def attention(
    q: Tensor, k: Tensor, v: Tensor, key_bias: Maybe, readout: Maybe, scale: float, causal: bool, dropout: float
) -> tuple[Tensor, Maybe]:
    """Output (B, H, M, D) and, with ``readout`` (N, G) or (B, N, G), the read-outs (B, H, M, G)."""
    batch, heads, queries, width = q.shape
    tokens = k.shape[2]
    narrow = q.dtype
    if q.device.type == "cpu" and narrow in (torch.bfloat16, torch.float16) and (
        readout is not None or (torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad))
    ):  # fmt: skip
        # The CPU's half-precision attention is some ten times slower in the backward pass than its float32 one.
        q, k, v = q.float(), k.float(), v.float()
    mask: Tensor | None = None
    if key_bias is not None:
        hidden = key_bias == -torch.inf
        # Hidden keys are taken out before the product: 0 * NaN would leak.
        k, v = (torch.where(hidden[:, None, :, None], 0.0, x).to(q.dtype) for x in (k, v))
        mask = key_bias[:, None, None].to(q.dtype).expand(batch, 1, queries, tokens)
        if readout is not None:
            columns = readout.expand(batch, -1, -1) if readout.dim() == 2 else readout
            readout = torch.where(hidden[:, :, None], 0.0, columns)
    if causal and (mask is not None or queries != tokens):
        row = torch.arange(queries, device=q.device)[:, None]
        beyond = torch.arange(tokens, device=q.device) > row + (tokens - queries)
        start = q.new_zeros(batch, 1, queries, tokens) if mask is None else mask
        mask, causal = start.masked_fill(beyond, -torch.inf), False
    if readout is not None:
        columns = readout.expand(batch, -1, -1) if readout.dim() == 2 else readout
        columns = columns[:, None].to(q.dtype).expand(batch, k.shape[1], -1, -1)
        v = F.pad(torch.cat([v, columns], -1), (0, 8 - columns.shape[-1]))
        q, k = F.pad(q, (0, 8)), F.pad(k, (0, 8))
    with torch.autocast(q.device.type, enabled=False):
        out = F.scaled_dot_product_attention(
            q, k, v, mask, dropout, is_causal=causal, scale=scale, enable_gqa=k.shape[1] != heads
        )
    if mask is not None:
        # Rows that see nothing are zero on every backend.
        seen = (mask > -torch.inf).any(-1, keepdim=True)
        out = torch.where(seen, out, 0.0)
    if readout is None:
        return out.to(narrow), None
    extra = out[..., width : width + readout.shape[-1]].to(wide_dtype(q))
    return out[..., :width].to(narrow), extra
