"""Attention shift (MLLM-LAWS): how the attention on text before and after a picture moves through the layers."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from vision_suite.errors import DataError, check_choice

Queries = Literal["all", "after_image", "last"]
GROUPS = ("text before", "pictures", "text between", "text after")
BEFORE, PICTURE, BETWEEN, AFTER = range(4)
PADDING = -1
LEAST_LAYERS = 3  # of fewer a correlation says nothing
FLAT = 1e-5  # relative: a curve that moves less is flat in float32
TOLERANCE = 1e-3  # of the sum of a query's masses, which bfloat16 rounds


class Shift(NamedTuple):
    """Attention shift over samples.

    Attributes:
        value: One minus the mean correlation, 0 to 2; NaN if no sample was left.
        samples: Samples that were measured.
        skipped: Samples left out: without text on both sides of a picture, or with a curve that is flat.
    """

    value: float
    samples: int
    skipped: int


def token_groups(is_image: Tensor, valid: Tensor | None = None) -> Tensor:
    """Group of each token by the pictures of its row.

    Args:
        is_image: (B, S) bool, true at tokens of pictures.
        valid: (B, S) bool, false at padding; None if there is none.

    Returns:
        (B, S) int64: 0 text before the first picture, 1 pictures, 2 text between pictures, 3 text after the last one,
        -1 padding. Text of a row without a picture is text before.

    Example:
        >>> token_groups(torch.tensor([[0, 1, 0, 1, 0]]).bool()).tolist()
        [[0, 1, 2, 1, 3]]
    """
    is_image = is_image.bool() if valid is None else is_image.bool() & valid.bool()
    seen = is_image.cumsum(1) > 0
    to_come = is_image.flip(1).cumsum(1).flip(1) > 0
    groups = torch.where(seen & to_come, BETWEEN, torch.where(seen, AFTER, BEFORE))
    groups = groups.masked_fill(is_image, PICTURE)
    return groups if valid is None else groups.masked_fill(~valid.bool(), PADDING)


def query_masses(weights: Tensor, groups: Tensor) -> Tensor:
    """Share of each query's attention on each group, from whole attention matrices.

    Args:
        weights: (B, H, S, S) attention weights of a layer, rows sum to 1.
        groups: (B, S) groups of the keys.

    Returns:
        (B, S, 4) shares, the mean over heads.

    Example:
        >>> weights = torch.tensor([[[[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.25, 0.25, 0.5]]]])
        >>> query_masses(weights, torch.tensor([[0, 1, 3]]))[0, 2].tolist()
        [0.25, 0.25, 0.0, 0.5]
    """
    columns = torch.nn.functional.one_hot(groups.clamp_min(0), len(GROUPS)).to(weights)
    columns = columns * (groups >= 0)[..., None]
    return weights.mean(1) @ columns


def mean_masses(masses: Tensor, groups: Tensor, queries: Queries = "all") -> Tensor:
    """Mean of the shares over queries (Wings, equation 1, divided by their number).

    Args:
        masses: (B, S, 4) or (B, L, S, 4) shares of each query, the mean over heads.
        groups: (B, S) groups of the queries; padding is left out.
        queries: Queries of the mean: all of them, the text behind the first picture, or each row's last one. Those
            before a picture cannot see it, so that with ``all`` they add nothing to its share.

    Returns:
        (B, 4) or (B, L, 4) shares, NaN for a row without such a query.

    Raises:
        ConfigError: ``queries`` is another word.
        DataError: The shares of a query do not sum to 1.

    Example:
        >>> masses = torch.tensor([[[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0], [0.25, 0.25, 0.0, 0.5]]])
        >>> groups = torch.tensor([[0, 1, 3]])
        >>> mean_masses(masses, groups)[0, 1].item(), mean_masses(masses, groups, "last")[0].tolist()
        (0.25, [0.25, 0.25, 0.0, 0.5])
    """
    check_choice("queries", queries, get_args(Queries))
    kept = groups >= 0
    if queries == "after_image":
        kept = groups >= BETWEEN
    elif queries == "last":
        positions = torch.arange(groups.shape[1], device=groups.device)
        kept = positions == positions.where(kept, positions.new_full((), -1)).amax(1, keepdim=True)
    weights = kept.to(masses)[:, None, :, None] if masses.ndim == 4 else kept.to(masses)[..., None]
    # Padding may hold anything, also NaN, which times zero stays NaN.
    chosen = masses.masked_fill(weights == 0, 0.0)
    off = ((chosen.sum(-1) - 1.0).abs() * weights[..., 0]).max() if kept.any() else masses.new_zeros(())
    if not float(off) <= TOLERANCE:
        raise DataError(f"the shares of a query's attention sum to 1 only within {float(off):.2g}: a group is missing")
    mean: Tensor = chosen.sum(-2) / weights.sum(-2)
    return mean


def correlation(masses: Tensor) -> Tensor:
    """Correlation over layers of the attention on text before and after pictures.

    Args:
        masses: (N, L, 4) mean shares of each sample and layer.

    Returns:
        (N,) float64 Pearson correlations, NaN where one is not defined: fewer than three layers, a group that no
        token is in, or a curve that is flat.

    Raises:
        DataError: Another shape.

    Example:
        >>> layers = torch.tensor([[0.1, 0.3, 0.0, 0.6], [0.2, 0.4, 0.0, 0.4], [0.3, 0.5, 0.0, 0.2]])
        >>> round(float(correlation(layers[None])), 6)
        -1.0
    """
    if masses.ndim != 3 or masses.shape[2] != len(GROUPS):
        raise DataError(f"shares of attention {tuple(masses.shape)}: give (N, L, {len(GROUPS)})")
    before, after = masses.double()[..., BEFORE], masses.double()[..., AFTER]
    if masses.shape[1] < LEAST_LAYERS:
        return before.new_full((len(masses),), float("nan"))
    one, two = before - before.mean(1, keepdim=True), after - after.mean(1, keepdim=True)
    norm = one.norm(dim=1) * two.norm(dim=1)
    flat = [dev.abs().amax(1) <= FLAT * curve.abs().amax(1) for dev, curve in ((one, before), (two, after))]
    found: Tensor = (one * two).sum(1) / norm
    return found.masked_fill(flat[0] | flat[1], float("nan"))


def attention_shift(masses: Tensor) -> Shift:
    """Attention shift: one minus the mean correlation (Wings, section 2.2).

    Args:
        masses: (N, L, 4) mean shares of each sample and layer.

    Example:
        >>> before, after = [0.4625, 0.5125, 0.4875], [0.1, 0.075, 0.025]
        >>> layers = [[b, 1 - b - a, 0.0, a] for b, a in zip(before, after)]
        >>> round(attention_shift(torch.tensor([layers], dtype=torch.float64)).value, 12)
        1.327326835354
    """
    found = correlation(masses)
    kept = found[~found.isnan()]
    value = float(1.0 - kept.mean()) if len(kept) else float("nan")
    return Shift(value, len(kept), len(found) - len(kept))
