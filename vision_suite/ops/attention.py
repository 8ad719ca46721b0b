"""Attention whose log-sum-exp, read-outs and head-mean map come out of the same pass, with partner keys by index.

``cross_attention`` chooses between the compiled kernels, PyTorch's own fused attention and a plain implementation, from
device, dtype and ``need`` alone. Semantics are the same everywhere: masked keys are never read, a row that sees no key
gives zeros and a log-sum-exp of -inf, and results depend neither on the number of threads nor on a batch's other
images.

Shapes: B images, H heads, Hkv key heads, M queries, N keys, D head width, G read-out columns.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vision_suite.ops import _arguments, _sdpa
from vision_suite.ops._load import MEND, available, cpu_isa, libraries, switched_off, why_not
from vision_suite.ops._reference import ReferenceAttention
from vision_suite.ops.pairing import pair_order as pair_order
from vision_suite.ops.rollout import attention_rollout as attention_rollout
from vision_suite.ops.rollout import rollout_from_maps as rollout_from_maps

Backend = Literal["auto", "reference", "cpu", "cuda", "sdpa"]
_portable = False  # a plain global, which torch.compile can guard on


class AttentionResult(NamedTuple):
    """Outputs that were asked for; the other fields are None.

    Attributes:
        out: (B, H, M, D) in the query's dtype, a view of a contiguous (B, M, H, D).
        lse: (B, H, M) log-sum-exp of the scores, natural logarithm, float32 (float64 for float64), differentiable.
        extra: (B, H, M, G) read-outs, float32, differentiable.
        mean_map: (B, M, N) probabilities averaged over heads, float32, without gradient.
    """

    out: Tensor | None = None
    lse: Tensor | None = None
    extra: Tensor | None = None
    mean_map: Tensor | None = None


def cross_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    key_padding_mask: Tensor | None = None,
    key_bias: Tensor | None = None,
    partner: Tensor | None = None,
    readout: Tensor | None = None,
    scale: float | None = None,
    causal: bool = False,
    need: Collection[str] = ("out",),
    backend: Backend = "auto",
    dropout_p: float = 0.0,
) -> AttentionResult:
    """Scaled dot-product attention, ``softmax(scale q kᵀ + bias) v``, and what else a pass knows.

    Args:
        q: (B, H, M, D) floating point, D at most 256; any strides with the last one 1.
        k: (B, Hkv, N, D), Hkv a divisor of H: query head h reads key head ``h // (H / Hkv)``.
        v: As k.
        key_padding_mask: (B, N) boolean, True = padding, ignored (`nn.MultiheadAttention`'s sense).
        key_bias: (B, N) float32 added to the scaled scores; -inf hides a key. Not differentiable.
        partner: (B,) int64 in [-1, B - 1]: image b attends its own keys and then those of ``partner[b]`` under one
            softmax; -1 means its own only. Repeated and own indices are legal.
        readout: (N, G) or (B, N, G) float32, G at most 8: further value columns, kept in full precision.
        scale: Factor on the scores; default D ** -0.5.
        causal: Key j is visible to query i iff ``j <= i + N - M`` (aligned at the end).
        need: Any of ``out``, ``lse``, ``extra``, ``mean_map``.
        backend: ``auto``, or one that must serve the request.
        dropout_p: Dropout on the probabilities; served by PyTorch's attention, and for ``out`` alone.

    Raises:
        TypeError: If a dtype does not fit.
        ValueError: If anything else does not fit, or the backend cannot serve the request.
    """
    where = "cross_attention"
    device = q.device.type
    if torch.is_autocast_enabled(device) and q.dtype != torch.float64:
        narrow = torch.get_autocast_dtype(device)
        q, k, v = q.to(narrow), k.to(narrow), v.to(narrow)
    _arguments.check_tensors(where, q, k, v)
    wanted = _arguments.check_need(where, need, readout)
    partner = _arguments.check_partner(where, q, partner, causal, wanted)
    bias = _arguments.key_bias_of(where, q, k, key_padding_mask, key_bias)
    readout = _arguments.readout_of(where, q, k, readout) if "extra" in wanted else None
    scale = q.shape[3] ** -0.5 if scale is None else float(scale)
    chosen = choose(q, wanted, partner is not None, dropout_p) if backend == "auto" else backend
    _check_backend(where, chosen, q, wanted, partner is not None, dropout_p)
    if partner is not None and not torch.compiler.is_compiling() and _arguments.values_are_checked(device):
        _arguments.check_partner_values(where, partner)
    if chosen == "sdpa":
        out, extra = _sdpa.attention(q, k, v, bias, readout, scale, causal, dropout_p)
        return AttentionResult(out if "out" in wanted else None, None, extra, None)
    mean_map = "mean_map" in wanted
    if chosen == "reference":
        result = ReferenceAttention.apply(q, k, v, partner, bias, readout, scale, causal, mean_map)
    else:
        q, k, v = (x if x.shape[3] == 1 or x.stride(3) == 1 else x.contiguous() for x in (q, k, v))
        result = torch.ops.vision_suite.attention_fwd(q, k, v, partner, bias, readout, scale, causal, mean_map)
    out, lse, extra, maps = result
    return AttentionResult(
        out if "out" in wanted else None,
        lse if "lse" in wanted else None,
        extra if "extra" in wanted else None,
        maps.detach() if mean_map else None,
    )


def choose(q: Tensor, wanted: frozenset[str], partner: bool, dropout_p: float = 0.0) -> Backend:
    """The backend of ``auto``, from device, dtype and what is wanted, never from values."""
    if dropout_p > 0.0:
        return "sdpa"
    plain, columns = wanted == {"out"} and not partner, wanted <= {"out", "extra"} and not partner
    device = q.device.type
    if _portable or device not in ("cpu", "cuda"):
        return "sdpa" if columns else "reference"
    if switched_off():
        return "reference"
    # CUDA's own attention cannot be beaten where the output alone is wanted; on the CPU float64 has plain kernels only.
    if plain and (device == "cuda" or q.dtype == torch.float64):
        return "sdpa"
    if not available(device):
        return "sdpa" if columns else "reference"
    # With AVX2 PyTorch's float32 kernels are as fast or faster (docs/results/attention_avx2.md).
    if plain and device == "cpu" and q.dtype == torch.float32 and cpu_isa() == "avx2":
        return "sdpa"
    return "cpu" if device == "cpu" else "cuda"


def compiled(q: Tensor) -> bool:
    """True if the compiled kernels serve this tensor, so that log-sum-exps and maps cost next to nothing."""
    return not _portable and q.device.type in ("cpu", "cuda") and not switched_off() and available(q.device.type)


@contextlib.contextmanager
def portable_attention() -> Iterator[None]:
    """Context with PyTorch's own operators only, as an exported graph needs them."""
    global _portable
    before, _portable = _portable, True
    try:
        yield
    finally:
        _portable = before


def _check_backend(
    where: str, backend: str, q: Tensor, wanted: frozenset[str], partner: bool, dropout_p: float
) -> None:
    if backend not in ("reference", "cpu", "cuda", "sdpa"):
        raise ValueError(f"{where}: backend={backend!r} is not known: give auto, reference, cpu, cuda or sdpa")
    if dropout_p > 0.0 and (backend != "sdpa" or partner or wanted != {"out"}):
        raise ValueError(f"{where}: dropout_p={dropout_p} is served by backend 'sdpa' for need=('out',) alone")
    if backend == "sdpa" and (partner or not wanted <= {"out", "extra"}):
        what = "partner" if partner else f"need={sorted(wanted)}"
        raise ValueError(f"{where}: backend='sdpa' cannot serve {what}: use backend='auto'")
    if backend in ("cpu", "cuda"):
        if q.device.type not in (backend, "meta"):
            raise ValueError(f"{where}: backend={backend!r} but q is on {q.device}: move it, or use backend='auto'")
        reason = why_not(backend)
        if reason:
            raise ValueError(f"{where}: backend={backend!r} is not available: {reason}")


def pair_attention(q: Tensor, k: Tensor, v: Tensor, *, scale: float | None = None) -> Tensor:
    """Attention of each image over its own keys and its neighbour's: images 2i and 2i + 1 are partners.

    Exactly plain attention of B / 2 sequences of 2N tokens; nothing is copied where a batch is dense.

    Args:
        q: (B, H, N, D), B even, in the order of `pair_order`.
        k: (B, H, N, D).
        v: As k.
        scale: Factor on the scores; default D ** -0.5.

    Returns:
        (B, H, N, D).

    Raises:
        ValueError: If B is odd or shapes differ.
    """
    if q.dim() != 4 or q.shape[0] % 2:
        raise ValueError(f"pair_attention: q must be [B, H, N, D] with B even, got {list(q.shape)}: see pair_order")
    if q.shape[2] != k.shape[2]:
        raise ValueError(f"pair_attention: q has {q.shape[2]} tokens but k has {k.shape[2]}: they are one sequence")
    batch, _, tokens, _ = q.shape

    def joined(x: Tensor) -> Tensor:
        return x.transpose(1, 2).reshape(batch // 2, 2 * tokens, x.shape[1], x.shape[3]).transpose(1, 2)

    out = cross_attention(joined(q), joined(k), joined(v), scale=scale).out
    assert out is not None
    return out.transpose(1, 2).reshape(batch, tokens, q.shape[1], q.shape[3]).transpose(1, 2)


def merge_attention(out1: Tensor, lse1: Tensor, out2: Tensor, lse2: Tensor) -> tuple[Tensor, Tensor]:
    """Attention over the union of two disjoint key sets, from the two partial results.

    Equal to one softmax over all the keys: ``o = sigmoid(lse1 - lse2) o1 + sigmoid(lse2 - lse1) o2``.

    Args:
        out1: (B, H, M, D) attention output over the first key set.
        lse1: (B, H, M) its log-sum-exp.
        out2: (B, H, M, D) attention output over the second key set.
        lse2: (B, H, M) its log-sum-exp.

    Returns:
        Merged ``out`` (B, H, M, D) in the dtype of ``out1`` and ``lse`` (B, H, M). A row that sees neither set gives 0.
    """
    # -inf - -inf is NaN: a row without keys is taken as one of lowest weight.
    difference = lse1.clamp(min=-1e30) - lse2.clamp(min=-1e30)
    weight1, weight2 = torch.sigmoid(difference).unsqueeze(-1), torch.sigmoid(-difference).unsqueeze(-1)
    out = weight1 * out1.to(lse1.dtype) + weight2 * out2.to(lse1.dtype)
    return out.to(out1.dtype), torch.logaddexp(lse1, lse2)


def pointer_log_probs(
    queries: Tensor,
    keys: Tensor,
    *,
    key_padding_mask: Tensor | None = None,
    null_logit: Tensor | float | None = None,
    scale: float,
) -> Tensor:
    """Log-probabilities of pointing at each key: the scores are the answer, there are no values.

    Args:
        queries: (B, T, E).
        keys: (B, N, E).
        key_padding_mask: (B, N) boolean, True = padding, never pointed at.
        null_logit: Score of pointing at nothing, a number or something that expands to (B, T, 1); adds a last column.
        scale: Factor on the scores.

    Returns:
        (B, T, N) or (B, T, N + 1), float32 (float64 for float64); a row with nothing to point at is -inf.
    """
    if queries.dim() != 3 or keys.dim() != 3 or queries.shape[::2] != keys.shape[::2]:
        raise ValueError(
            f"pointer_log_probs: queries must be [B, T, E] and keys [B, N, E], got {list(queries.shape)} and "
            f"{list(keys.shape)}"
        )
    wide = torch.promote_types(queries.dtype, torch.float32)
    with torch.autocast(queries.device.type, enabled=False):
        logits = (queries.to(wide) * scale) @ keys.to(wide).transpose(1, 2)
    if key_padding_mask is not None:
        logits = torch.where(key_padding_mask[:, None], -torch.inf, logits)
    if null_logit is not None:
        column = torch.as_tensor(null_logit, dtype=wide, device=logits.device)
        logits = torch.cat([logits, column.expand(*logits.shape[:2], 1)], -1)
    total = logits.logsumexp(-1, keepdim=True)
    return logits - torch.where(total == -torch.inf, 0.0, total)


def status() -> dict[str, object]:
    """Implementations that serve attention here, and the reason why nothing better does.

    Returns:
        ``cpu`` and ``cuda``: ``loaded``, ``path``, ``reason``, ``stamp``, ``isa``; ``switch``: the environment's wish;
        ``mend``: the command that builds.
    """
    found = {
        name: {
            "loaded": library.path is not None, "path": str(library.path or ""), "reason": library.reason,
            "isa": library.isa, "stamp": library.stamp,
        }
        for name, library in libraries().items()
    }  # fmt: skip
    return {**found, "switch": os.environ.get("VISION_SUITE_OPS", "auto"), "mend": MEND}
