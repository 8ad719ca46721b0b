"""Low-rank residual attention (WINGS eq. 4): queries of the stream, keys and values of the layer-0 embeddings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
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


def coefficients(
    x_visual: Tensor | None, x_textual: Tensor, visual: Factors, textual: Factors | None
) -> tuple[Tensor | None, Tensor | None]:
    """Coefficients ``x a`` of each token in the basis of its own wing; a token is a key of one wing only.

    Args:
        x_visual: (B, m, d) embeddings of the tokens among which all those of pictures lie, zero where they are of text;
            None if there are none.
        x_textual: (B, M, d) embeddings of all tokens, zero where they are of pictures.
        visual: Matrix of the visual wing.
        textual: Matrix of the text wing; None in stage 1, where keys of text are never read.

    Returns:
        Of the tokens of pictures in the visual basis, and of all tokens in the text basis; zero where the other counts.
    """
    one = None if x_visual is None else x_visual @ visual.a
    return one, None if textual is None else x_textual @ textual.a


def keys_of(
    x: Tensor, z: tuple[Tensor | None, Tensor | None], images: slice | None, visual: Tensor, textual: Tensor | None
) -> Tensor:
    """Keys or values (B, M, d) of new tokens, ``x + z b`` with the basis of each token's own wing.

    Args:
        x: (B, M, d) embeddings.
        z: Coefficients.
        images: Tokens of the visual coefficients.
        visual: (r, d) basis of the visual wing.
        textual: The same of the text wing.
    """
    one, other = z
    sums = x if other is None or textual is None else low_rank_sum(x, other, textual)
    if one is None or images is None:
        return sums
    part = low_rank_sum(sums[:, images], one, visual)
    if part.shape[1] == sums.shape[1]:
        return part
    if not torch.is_grad_enabled() and sums is not x:
        sums[:, images] = part
        return sums
    return torch.cat([sums[:, : images.start], part, sums[:, images.stop :]], 1)


def side_by_side(z: tuple[Tensor | None, Tensor | None], x: Tensor, images: slice | None, rank: int) -> Tensor:
    """Coefficients (B, M, r or 2 r) of all tokens in both bases, as a cache of low rank keeps them."""
    one, other = z
    if one is None or images is None:
        one = x.new_zeros(*x.shape[:2], rank)
    else:
        one = F.pad(one, (0, 0, images.start, x.shape[1] - images.stop))
    return one if other is None else torch.cat([one, other], -1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position code of (..., H, D) by angles (..., 1, D / 2), halves paired as in transformers' Llama."""
    halves = x.view(*x.shape[:-1], 2, -1)
    one, other = halves.unbind(-2)
    if torch.is_grad_enabled():
        return torch.cat([one * cos - other * sin, other * cos + one * sin], -1)
    # In place, which takes half the time.
    out = halves * cos.unsqueeze(-2)
    first, second = out.unbind(-2)
    first.addcmul_(other, sin, value=-1)
    second.addcmul_(one, sin)
    return out.view(x.shape)
