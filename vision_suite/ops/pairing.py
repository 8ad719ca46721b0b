"""Partners within a batch: random matchings, random partners, random parts of a batch."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Partner = Literal["any", "inter", "intra", "uniform"]


def draw_pairs(
    batch_size: int,
    *,
    partner: Literal["any", "inter", "intra"] = "any",
    labels: Tensor | None = None,
    device: torch.device | None = None,
) -> tuple[Tensor, Tensor]:
    """Random perfect matching of a batch, as an order in which partners stand side by side.

    Args:
        batch_size: Number of images B.
        partner: ``any``: uniform over all matchings; ``inter``: partners of different labels where the batch allows it;
            ``intra``: partners of the same label where it allows it.
        labels: (B,) labels; needed for ``inter`` and ``intra``.
        device: Device of the indices.

    Returns:
        ``order`` (B or B + 1,) int64: images 2i and 2i + 1 of the ordered batch are partners; an odd batch repeats its
        last image, which is then its own partner (exactly plain attention). ``inverse`` (B,) int64: index of each
        image in ``order``.

    Raises:
        ValueError: If labels are needed and missing.
    """
    order = torch.randperm(batch_size, device=device)
    if partner != "any":
        if labels is None:
            raise ValueError(f"partner={partner!r} needs labels: pass the batch's labels, or use partner='any'")
        order = _by_label(order, labels.to(order.device), together=partner == "intra")
        if partner == "inter":
            order = _alternate(order)
    return _with_inverse(order)


def pair_order(labels_or_perm: Tensor) -> tuple[Tensor, Tensor]:
    """The order of a batch in which partners stand side by side, for `pair_attention`.

    Args:
        labels_or_perm: (B,) int64. A permutation of 0 .. B - 1: consecutive entries are partners. Anything else is
            taken as labels, and images of different labels become partners where the batch allows it.

    Returns:
        ``order`` (B or B + 1,) int64: images 2i and 2i + 1 of the ordered batch are partners; an odd batch repeats its
        last image, which is then its own partner (exactly plain attention). ``inverse`` (B,) int64: index of each
        image in ``order``.

    Raises:
        ValueError: If it is not one-dimensional int64.
    """
    given = labels_or_perm
    if given.dim() != 1 or given.dtype != torch.int64:
        raise ValueError(f"pair_order: give int64 labels or a permutation [B], got {given.dtype} {list(given.shape)}")
    by_value = given.argsort(stable=True)
    permutation = bool((given[by_value] == torch.arange(len(given), device=given.device)).all())
    return _with_inverse(given if permutation else _alternate(by_value))


def _with_inverse(order: Tensor) -> tuple[Tensor, Tensor]:
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order), device=order.device)
    return (torch.cat([order, order[-1:]]) if len(order) % 2 else order), inverse


def _alternate(order: Tensor) -> Tensor:
    """Sorted by label, an image and the one half a batch away differ unless one label fills half the batch."""
    half = (len(order) + 1) // 2
    first, second = order[:half], order[half:]
    if len(second) < half:
        second = torch.cat([second, first[-1:]])
    return torch.stack([first, second], dim=1).flatten()[: len(order)]


def draw_share(
    batch_size: int, share: float, *, labels: Tensor | None = None, device: torch.device | None = None
) -> Tensor:
    """Random part of a batch, (K,) int64 with K = share * B rounded, at least 2 where the batch has them.

    With labels (B,), images of one label are taken together, so that a triplet loss still finds its positives.
    """
    rows = torch.randperm(batch_size, device=device)
    if labels is not None:
        rows = _by_label(rows, labels.to(rows.device), together=False)
    return rows[: max(2, round(share * batch_size))]


def _by_label(order: Tensor, labels: Tensor, *, together: bool) -> Tensor:
    """The order with equal labels side by side; ``together`` puts each label's odd one out at the end."""
    values, member = labels[order].sort(stable=True)
    group = torch.cat([values.new_zeros(1), (values[1:] != values[:-1]).cumsum(0)])
    # Which label comes first is drawn anew, else the lowest labels would always meet the same others.
    group, again = torch.randperm(len(order), device=order.device)[group].sort(stable=True)
    member = member[again]
    if together:
        count = group.bincount(minlength=len(order))
        last = count.cumsum(0)[group] - 1 == torch.arange(len(order), device=order.device)
        member = member[(last & (count[group] % 2 == 1)).int().argsort(stable=True)]
    return order[member]


def random_partner(batch_size: int, device: torch.device | None = None) -> Tensor:
    """Partner index (B,) int64 drawn uniformly from the other images, each image on its own (not symmetric).

    A batch of one image is its own partner.
    """
    if batch_size < 2:
        return torch.zeros(batch_size, dtype=torch.int64, device=device)
    offset = torch.randint(1, batch_size, (batch_size,), device=device)
    return (torch.arange(batch_size, device=device) + offset) % batch_size
