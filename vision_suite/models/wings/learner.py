"""Low-rank residual attention (WINGS eq. 4): queries of the stream, keys and values of the layer-0 embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

PARTS = ("q", "k", "v", "o")


class Factors(nn.Module):
    """A matrix ``a @ b`` of low rank.

    Both are plain parameters: adapters that look for linear layers do not find them.

    Args:
        width: Width d.
        rank: Rank r.
    """

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.empty(width, rank))
        self.b = nn.Parameter(torch.empty(rank, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw `a` from a normal distribution cut at two units, of deviation .02; `b` is zero (released code)."""
        nn.init.trunc_normal_(self.a, std=0.02)
        nn.init.zeros_(self.b)


class Learner(nn.Module):
    """One wing of one layer: four matrices of low rank, 8 d r parameters.

    Queries, keys and values are ``x + x a b``; the output projection has no residual, so a new learner gives zeros.

    Args:
        width: Width d.
        rank: Rank r.
    """

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (Factors(width, rank) for _ in PARTS)


def residual(x: Tensor, factors: Factors) -> Tensor:
    """``x + x a b`` of (..., d)."""
    return low_rank_sum(x, x @ factors.a, factors.b)


def low_rank_sum(x: Tensor, z: Tensor, b: Tensor) -> Tensor:
    """``x + z b`` of x (..., d), z (..., r) and b (r, d) in one product."""
    flat = torch.addmm(x.reshape(-1, x.shape[-1]), z.reshape(-1, z.shape[-1]), b)
    return flat.view(x.shape)


def by_kind(x: Tensor, is_image: Tensor, visual: Factors, textual: Factors | None) -> tuple[Tensor, Tensor]:
    """Coefficients of each token in the basis of its own wing, ``x a``, zero in the other's.

    A token is a key of one wing only, so keys of both wings are one tensor: ``x + z b`` with the two bases stacked.

    Args:
        x: (B, S, d) embeddings.
        is_image: (B, S, 1) boolean.
        visual: Matrix of the visual wing.
        textual: Matrix of the text wing; None leaves text tokens as they are.

    Returns:
        z (B, S, r or 2 r) and the stacked basis (r or 2 r, d).
    """
    z = torch.where(is_image, x @ visual.a, 0.0)
    if textual is None:
        return z, visual.b
    return torch.cat([z, torch.where(is_image, 0.0, x @ textual.a)], -1), torch.cat([visual.b, textual.b])


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position code of (B, S, H, D) by angles (B, S, 1, D / 2), halves paired as in transformers' Llama."""
    one, other = x.chunk(2, -1)
    return torch.cat([one * cos - other * sin, other * cos + one * sin], -1)
