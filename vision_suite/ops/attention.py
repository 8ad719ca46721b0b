"""Attention in pieces: log-sum-exp output, exact merging of disjoint key sets, and pairing of a batch.

Shapes: B images, H heads, M queries, N keys, D head width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Partner = Literal["any", "inter", "intra", "uniform"]


def attention_with_lse(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> tuple[Tensor, Tensor]:
    """Attention output together with the log-sum-exp of its scores, both differentiable.

    Args:
        query: (B, H, M, D), floating point.
        key: (B, H, N, D).
        value: (B, H, N, D).
        scale: Factor on the scores; default D ** -0.5.

    Returns:
        ``out`` (B, H, M, D) in the query's dtype and ``lse`` (B, H, M), natural logarithm, at least float32.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    # Half-precision scores would lose the merge weights, which are differences of large log-sum-exps.
    wide = torch.promote_types(query.dtype, torch.float32)
    with torch.autocast(query.device.type, enabled=False):
        scores = (query.to(wide) * scale) @ key.to(wide).transpose(-2, -1)
        lse = scores.logsumexp(-1)
        out = (scores - lse.unsqueeze(-1)).exp() @ value.to(wide)
    return out.to(query.dtype), lse


def merge_attention(out1: Tensor, lse1: Tensor, out2: Tensor, lse2: Tensor) -> tuple[Tensor, Tensor]:
    """Attention over the union of two disjoint key sets, from the two partial results.

    Equal to one softmax over all the keys: ``o = sigmoid(lse1 - lse2) o1 + sigmoid(lse2 - lse1) o2``.

    Args:
        out1: (B, H, M, D) attention output over the first key set.
        lse1: (B, H, M) its log-sum-exp.
        out2: (B, H, M, D) attention output over the second key set.
        lse2: (B, H, M) its log-sum-exp.

    Returns:
        Merged ``out`` (B, H, M, D) in the dtype of ``out1`` and ``lse`` (B, H, M).
    """
    weight1 = torch.sigmoid(lse1 - lse2).unsqueeze(-1)
    weight2 = torch.sigmoid(lse2 - lse1).unsqueeze(-1)
    out = weight1 * out1.to(lse1.dtype) + weight2 * out2.to(lse1.dtype)
    return out.to(out1.dtype), torch.logaddexp(lse1, lse2)


def pair_order(
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
        device: Where the indices live.

    Returns:
        ``order`` (B or B + 1,) int64: images 2i and 2i + 1 of the ordered batch are partners; an odd batch repeats its
        last image, which is then its own partner (exactly plain attention). ``inverse`` (B,) int64: position of each
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
            # Sorted by label, an image and the one half a batch away differ unless one label fills half the batch.
            half = (batch_size + 1) // 2
            first, second = order[:half], order[half:]
            if len(second) < half:
                second = torch.cat([second, first[-1:]])
            order = torch.stack([first, second], dim=1).flatten()[:batch_size]
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(batch_size, device=order.device)
    if batch_size % 2:
        order = torch.cat([order, order[-1:]])
    return order, inverse


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
    values, place = labels[order].sort(stable=True)
    group = torch.cat([values.new_zeros(1), (values[1:] != values[:-1]).cumsum(0)])
    # Which label comes first is drawn anew, else the lowest labels would always meet the same others.
    group, again = torch.randperm(len(order), device=order.device)[group].sort(stable=True)
    place = place[again]
    if together:
        count = group.bincount(minlength=len(order))
        last = count.cumsum(0)[group] - 1 == torch.arange(len(order), device=order.device)
        place = place[(last & (count[group] % 2 == 1)).int().argsort(stable=True)]
    return order[place]


def random_partner(batch_size: int, device: torch.device | None = None) -> Tensor:
    """Partner index (B,) int64 drawn uniformly from the other images, each image on its own (not symmetric).

    A batch of one image is its own partner.
    """
    if batch_size < 2:
        return torch.zeros(batch_size, dtype=torch.int64, device=device)
    offset = torch.randint(1, batch_size, (batch_size,), device=device)
    return (torch.arange(batch_size, device=device) + offset) % batch_size
