"""Outputs of DCAL."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Branch(NamedTuple):
    """Result of one branch.

    Attributes:
        feature: (B, D) before the neck's normalisation.
        neck: (B, D) after it, the same tensor without a neck.
        logits: (B, C).
    """

    feature: Tensor
    neck: Tensor
    logits: Tensor


class DCALOutput(NamedTuple):
    """Every branch of one forward pass; a branch that is switched off, or off in evaluation, is None.

    Attributes:
        sa: Self-attention branch.
        glca: Global-local branch.
        pwca: Pair-wise branch.
        rollout: (B, P) accumulated class-token weights over the P patches, at least float32.
        selected: (B, 1 + R) int64 token indices of the global-local queries, class token first.
        pwca_rows: (K,) int64 pictures the pair-wise branch holds, where those aren't all in order.
    """

    sa: Branch
    glca: Branch | None
    pwca: Branch | None
    rollout: Tensor | None
    selected: Tensor | None
    pwca_rows: Tensor | None = None


class Trace(NamedTuple):
    """Tensors of a pass through the backbone that other branches read; lists that none reads are shorter or empty.

    Attributes:
        inputs: Tokens (B, N, C) before each block and after the last.
        queries: (B, H, N, D) of each block.
        keys: (B, H, N, D) of each block.
        values: (B, H, N, D) of each block.
        lses: (B, H, N) log-sum-exps of each block.
        maps: (B, N, N) probabilities of each block, averaged over heads.
    """

    inputs: list[Tensor]
    queries: list[Tensor]
    keys: list[Tensor]
    values: list[Tensor]
    lses: list[Tensor]
    maps: list[Tensor]
