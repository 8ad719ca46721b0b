"""Attention in float64, written down as the formulas say. Shares no code with the suite."""

import math

import torch

from vision_suite.ops import attention
from vision_suite.ops.attention import status

COMPILED = [name for name in ("cpu", "cuda") if status()[name]["loaded"]]
BACKENDS = ["reference", *COMPILED]


def moved(value, device):
    """Tensors, also those in lists, on a device; anything else as it is."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    return [moved(x, device) for x in value] if isinstance(value, list) else value


def cross_attention(*tensors, backend="auto", **more):
    """The operator on the device its backend needs, with arguments and results on the CPU."""
    device = "cuda" if backend == "cuda" else "cpu"
    more = {name: moved(value, device) for name, value in more.items()}
    found = attention.cross_attention(*moved(list(tensors), device), backend=backend, **more)
    return attention.AttentionResult(*(moved(x, "cpu") for x in found))


def attention_rollout(*lists, backend="cpu", **more):
    """Rollout on the device of a backend, with arguments and result on the CPU."""
    device = "cuda" if backend == "cuda" else "cpu"
    more = {name: moved(value, device) for name, value in more.items()}
    return attention.attention_rollout(*(moved(x, device) for x in lists), **more).cpu()


def dense(q, k, v, partner=None, bias=None, readout=None, scale=None, causal=False):
    """(out, lse, extra, P) with P (B, H, M, N or 2N); rows that see nothing give 0, -inf, 0, 0."""
    q, k, v = (x.double().repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (q, k, v))
    (batch, _, queries, width), keys = q.shape, k.shape[2]
    bias = torch.zeros(batch, keys, dtype=torch.float64) if bias is None else bias.double()
    readout = torch.zeros(batch, keys, 1) if readout is None else readout
    readout = (readout if readout.dim() == 3 else readout.expand(batch, -1, -1)).double()
    if partner is not None:
        other = partner.clamp(min=0)
        theirs = torch.where((partner < 0)[:, None], torch.tensor(-math.inf).double(), bias[other])
        k, v, bias = torch.cat([k, k[other]], 2), torch.cat([v, v[other]], 2), torch.cat([bias, theirs], 1)
        readout = torch.cat([readout, readout[other]], 1)
    visible = (bias > -math.inf)[:, None, None].expand(batch, 1, queries, -1)
    if causal:
        visible = visible & (torch.arange(keys) <= torch.arange(queries)[:, None] + keys - queries)
    clean = (bias == -math.inf)[:, None, :, None]
    k, v, readout = k.masked_fill(clean, 0), v.masked_fill(clean, 0), readout[:, None].masked_fill(clean, 0)
    scores = (q @ k.transpose(-2, -1)) * (width**-0.5 if scale is None else scale) + bias.clamp(min=-1e9)[:, None, None]
    scores = scores.masked_fill(~visible, -math.inf)
    top = (
        scores.amax(-1, keepdim=True).clamp(min=-1e300) if scores.shape[-1] else scores.new_zeros(*scores.shape[:3], 1)
    )
    weights = (scores - top.detach()).exp()
    total = weights.sum(-1, keepdim=True)
    weights = weights / total.clamp(min=1e-300)
    lse = torch.where(total > 0, top.detach() + total.clamp(min=1e-300).log(), -math.inf)[..., 0]
    return weights @ v, lse, weights @ readout, weights


def heads(rows, width, batch=2, count=2, dtype=torch.float32, seed=0):
    """(B, H, rows, D) as a transposed view, as a projection leaves it."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, rows, count, width, generator=generator).to(dtype).transpose(1, 2)
