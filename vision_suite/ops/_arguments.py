"""Checks of `cross_attention`'s arguments: one line that says what, where, and how to correct it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection

import torch
from torch import Tensor

from vision_suite.ops._register import Maybe, wide_dtype

OUTPUTS = ("out", "lse", "extra", "mean_map")
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
MAX_WIDTH, MAX_READOUTS = 256, 8


def _shapes(q: Tensor, k: Tensor) -> str:
    return f"(q {list(q.shape)}, k {list(k.shape)})"


def check_tensors(where: str, q: Tensor, k: Tensor, v: Tensor) -> None:
    """Rank, layout, dtype, device and sizes of query, key and value.

    Raises:
        TypeError: If dtypes are unsupported or differ.
        ValueError: If anything else does not fit.
    """
    for name, x in (("q", q), ("k", k), ("v", v)):
        if x.dim() != 4:
            raise ValueError(f"{where}: {name} must be [B, H, rows, D], got {list(x.shape)}: unsqueeze or view it")
        if x.layout != torch.strided:
            raise ValueError(f"{where}: {name} has layout {x.layout}: give a dense tensor")
        if x.dtype not in DTYPES:
            raise TypeError(f"{where}: {name} is {x.dtype}: give float32, bfloat16, float16 or float64")
        if x.dtype != q.dtype:
            raise TypeError(f"{where}: {name} is {x.dtype} but q is {q.dtype}: cast them to one dtype")
        if x.device != q.device:
            raise ValueError(f"{where}: {name} is on {x.device} but q is on {q.device}: move them to one device")
    if k.shape[0] != q.shape[0]:
        raise ValueError(f"{where}: k has {k.shape[0]} images but q has {q.shape[0]} {_shapes(q, k)}")
    if k.shape[3] != q.shape[3]:
        raise ValueError(f"{where}: k has head width {k.shape[3]} but q has {q.shape[3]} {_shapes(q, k)}")
    if v.shape != k.shape:
        raise ValueError(f"{where}: v must have the shape of k, got v {list(v.shape)} and k {list(k.shape)}")
    if q.shape[1] != k.shape[1] and (k.shape[1] == 0 or q.shape[1] % k.shape[1]):
        raise ValueError(f"{where}: the {k.shape[1]} heads of k do not divide the {q.shape[1]} of q {_shapes(q, k)}")
    if not 1 <= q.shape[3] <= MAX_WIDTH:
        raise ValueError(f"{where}: head width {q.shape[3]} must lie between 1 and {MAX_WIDTH} {_shapes(q, k)}")


def check_need(where: str, need: Collection[str], readout: Maybe) -> frozenset[str]:
    """The wanted outputs as a set.

    Raises:
        ValueError: If one is unknown, or ``extra`` is wanted without a read-out.
    """
    wanted = frozenset([need] if isinstance(need, str) else need)
    for name in sorted(wanted - set(OUTPUTS)):
        near = difflib.get_close_matches(name, OUTPUTS, n=1, cutoff=0.0)[0]
        raise ValueError(f"{where}: need={name!r} is not an output, did you mean {near!r}? There are {list(OUTPUTS)}")
    if "extra" in wanted and readout is None:
        raise ValueError(f"{where}: need='extra' asks for read-outs: give readout=[N, G] or [B, N, G]")
    return wanted


def key_bias_of(where: str, q: Tensor, k: Tensor, mask: Maybe, bias: Maybe) -> Maybe:
    """Bias (B, N) that stands for mask or bias.

    Raises:
        TypeError: If the mask is not boolean or the bias not float32.
        ValueError: If both are given, a shape is wrong, or the bias wants a gradient.
    """
    if mask is not None and bias is not None:
        raise ValueError(f"{where}: give key_padding_mask or key_bias, not both: -inf in the bias masks a key")
    for name, x in (("key_padding_mask", mask), ("key_bias", bias)):
        if x is not None and x.shape != (k.shape[0], k.shape[2]):
            raise ValueError(f"{where}: {name} must be [B, N] = {[k.shape[0], k.shape[2]]}, got {list(x.shape)}")
        if x is not None and x.device != q.device:
            raise ValueError(f"{where}: {name} is on {x.device} but q is on {q.device}: move them to one device")
    if mask is not None:
        if mask.dtype != torch.bool:
            raise TypeError(f"{where}: key_padding_mask must be boolean, True where padded, got {mask.dtype}")
        return torch.zeros(mask.shape, dtype=wide_dtype(q), device=q.device).masked_fill(mask, -torch.inf)
    if bias is None:
        return None
    if bias.requires_grad:
        raise ValueError(f"{where}: key_bias is not differentiable: detach it, or add it as a channel of q and k")
    if bias.dtype != wide_dtype(q):
        raise TypeError(f"{where}: key_bias must be {wide_dtype(q)}, got {bias.dtype}")
    return bias if bias.shape[1] <= 1 or bias.stride(1) == 1 else bias.contiguous()


def readout_of(where: str, q: Tensor, k: Tensor, readout: Maybe) -> Maybe:
    """The read-out as kernels take it.

    Raises:
        TypeError: If it is not float32 (float64 for float64).
        ValueError: If its shape is wrong.
    """
    if readout is None:
        return None
    shape = (k.shape[0], k.shape[2])
    if not (readout.dim() == 2 and readout.shape[0] == shape[1]) and not (
        readout.dim() == 3 and tuple(readout.shape[:2]) == shape
    ):
        raise ValueError(f"{where}: readout must be [N, G] or [B, N, G] with B, N = {shape}, got {list(readout.shape)}")
    if readout.shape[-1] > MAX_READOUTS:
        raise ValueError(f"{where}: readout has {readout.shape[-1]} columns, at most {MAX_READOUTS}: split it")
    if readout.dtype != wide_dtype(q):
        raise TypeError(f"{where}: readout must be {wide_dtype(q)}, got {readout.dtype}: it stays in full precision")
    if readout.device != q.device:
        raise ValueError(f"{where}: readout is on {readout.device} but q is on {q.device}: move them to one device")
    return readout if readout.shape[-1] <= 1 or readout.stride(-1) == 1 else readout.contiguous()


def check_partner(where: str, q: Tensor, partner: Maybe, causal: bool, wanted: frozenset[str]) -> Maybe:
    """The partner map, contiguous.

    Raises:
        TypeError: If it is not int64.
        ValueError: If its shape or values are wrong, or it meets ``causal`` or ``mean_map``.
    """
    if partner is None:
        return None
    if causal or "mean_map" in wanted:
        other = "causal" if causal else "need='mean_map'"
        raise ValueError(f"{where}: partner and {other} exclude each other")
    if partner.dtype != torch.int64:
        raise TypeError(f"{where}: partner must be int64, got {partner.dtype}")
    if partner.shape != (q.shape[0],):
        raise ValueError(f"{where}: partner must be [B] = [{q.shape[0]}], got {list(partner.shape)}")
    if partner.device != q.device:
        raise ValueError(f"{where}: partner is on {partner.device} but q is on {q.device}: move them to one device")
    return partner.contiguous()


def values_are_checked(device: str) -> bool:
    """True if values are checked: on a GPU that waits for the device, so only with ``VISION_SUITE_OPS_CHECK=1``."""
    return device == "cpu" or (device == "cuda" and os.environ.get("VISION_SUITE_OPS_CHECK", "0") == "1")


def check_partner_values(where: str, partner: Tensor) -> None:
    """Range of a partner map. Unchecked, the CUDA kernels take what is out of range for -1.

    Raises:
        ValueError: If a partner is not an image of the batch or -1.
    """
    outside = (partner < -1) | (partner >= len(partner))
    if bool(outside.any()):
        at = int(outside.nonzero()[0])
        raise ValueError(f"{where}: partner[{at}] = {int(partner[at])} must lie in [-1, {len(partner) - 1}]")
