"""What DCAL gives back."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Branch(NamedTuple):
    """One branch's result.

    ``feature`` (B, D) before the neck's normalisation; ``neck`` (B, D) after it (the same tensor without a neck);
    ``logits`` (B, C).
    """

    feature: Tensor
    neck: Tensor
    logits: Tensor


class DCALOutput(NamedTuple):
    """Every branch of one forward pass; a branch that is switched off, or off in evaluation, is None.

    ``rollout`` (B, P) accumulated class-token weights over the P patches, at least float32.
    ``pwca_rows`` (K,) int64 pictures the pair-wise branch holds, where those aren't all in order.
    ``selected`` (B, 1 + R) int64 token numbers of the global-local queries, class token first.
    """

    sa: Branch
    glca: Branch | None
    pwca: Branch | None
    rollout: Tensor | None
    selected: Tensor | None
    pwca_rows: Tensor | None = None
