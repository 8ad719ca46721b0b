"""Causal attention in rows of one beginning and several continuations, which do not see each other."""

from __future__ import annotations

import torch
from torch import Tensor

from vision_suite.ops.attention import cross_attention, merge_attention


def branch_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    prefix: int,
    branches: int,
    prefix_padding: Tensor | None = None,
    readout: Tensor | None = None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Attention of a row [prefix, branch 1, ..., branch n], each branch as if it followed the prefix alone.

    Exact, and without a mask between tokens: the prefix is one causal call; the branches are a call on the prefix's
    keys, which all of them share, and a causal call on their own keys, joined by their log-sum-exps.

    Args:
        q: (B, H, P + n T, D).
        k: (B, Hkv, P + n T, D), Hkv a divisor of H.
        v: As k.
        prefix: Number P of tokens of the prefix, padding included.
        branches: Number n of branches, of T tokens each; shorter ones are padded on the right.
        prefix_padding: (B, P) boolean, true = padding of the prefix, on the right; None if there is none.
        readout: (P + n T, G) or (B, P + n T, G) further value columns of `cross_attention`.
        scale: Factor on the scores; default D ** -0.5.

    Returns:
        Output (B, H, P + n T, D), and the answers (B, H, P + n T, G) of the read-out columns, None without them. Those
        of padded tokens mean nothing.

    Raises:
        ValueError: The tokens behind the prefix are not n branches of one length.
    """
    batch, _, tokens, _ = q.shape
    if prefix < 1 or branches < 1 or tokens < prefix or (tokens - prefix) % branches:
        raise ValueError(
            f"branch_attention: {tokens} tokens are no prefix of {prefix} and {branches} branches of one length"
        )
    length = (tokens - prefix) // branches
    columns = None if readout is None else readout.expand(batch, -1, -1)
    need = ("out",) if columns is None else ("out", "extra")

    def begun(x: Tensor) -> Tensor:
        return x[:, :, :prefix]

    def apart(x: Tensor) -> Tensor:
        """(B, H, P + n T, D) to the branches (B n, H, T, D)."""
        parts = x[:, :, prefix:].reshape(batch, -1, branches, length, x.shape[3])
        return parts.transpose(1, 2).flatten(0, 1)

    def together(x: Tensor) -> Tensor:
        """(B n, H, T, ...) to (B, H, n T, ...)."""
        return x.view(batch, branches, *x.shape[1:]).transpose(1, 2).flatten(2, 3)

    # Padding lies behind the tokens that count, so causality hides it from them.
    before = cross_attention(
        begun(q), begun(k), begun(v), scale=scale, causal=True, need=need,
        readout=None if columns is None else columns[:, :prefix],
    )  # fmt: skip
    assert before.out is not None
    if not length:
        return before.out, before.extra
    shared = cross_attention(
        q[:, :, prefix:], begun(k), begun(v), key_padding_mask=prefix_padding, scale=scale, need=(*need, "lse"),
        readout=None if columns is None else columns[:, :prefix],
    )  # fmt: skip
    own = cross_attention(
        apart(q), apart(k), apart(v), scale=scale, causal=True, need=(*need, "lse"),
        readout=None if columns is None else columns[:, prefix:].reshape(batch * branches, length, -1),
    )  # fmt: skip
    assert shared.out is not None
    assert shared.lse is not None
    assert own.out is not None
    assert own.lse is not None
    lse = together(own.lse)
    out = torch.cat([before.out, merge_attention(shared.out, shared.lse, together(own.out), lse)[0]], 2)
    if columns is None:
        return out, None
    assert before.extra is not None
    assert shared.extra is not None
    assert own.extra is not None
    extra = merge_attention(shared.extra, shared.lse, together(own.extra), lse)[0]
    return out, torch.cat([before.extra, extra], 2)
