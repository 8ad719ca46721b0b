"""Batch-hard triplet loss (Hermans, Beyer, Leibe, 2017), soft-margin and margin."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def batch_hard_triplet_loss(
    feature: Tensor, label: Tensor, *, margin: float | None = None, normalize: bool = False
) -> Tensor:
    """Mean over anchors of the loss on the farthest positive and the nearest negative.

    ``softplus(d_ap - d_an)`` without a margin (the TransReID baseline), else ``max(0, d_ap - d_an + margin)``.
    Distances are Euclidean. An anchor counts as its own positive, at distance 0, when its label stands alone.

    Args:
        feature: Features (B, D), floating point.
        label: Identities (B,) int64.
        margin: Margin of the hinge; None for the soft margin.
        normalize: Compare features of unit length.

    Returns:
        Scalar, at least float32; 0 (with a gradient of 0) if the batch holds one label only.

    Example:
        >>> feature = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
        >>> label = torch.tensor([0, 0, 1])
        >>> batch_hard_triplet_loss(feature, label, margin=0.5)
        tensor(1.9191)
    """
    feature = feature.to(torch.promote_types(feature.dtype, torch.float32))
    if normalize:
        feature = F.normalize(feature)
    with torch.autocast(feature.device.type, enabled=False):
        square = feature.square().sum(1)
        distance = (square[:, None] + square[None] - 2 * feature @ feature.T).clamp_min(1e-12).sqrt()
    same = label[:, None] == label[None]
    # The clamp makes an anchor's distance to itself 1e-6, never the largest of a real positive set. Without a negative
    # the gap is -inf, where both losses and their gradients are 0.
    hardest_positive = distance.masked_fill(~same, -torch.inf).amax(1)
    hardest_negative = distance.masked_fill(same, torch.inf).amin(1)
    gap = hardest_positive - hardest_negative
    return F.softplus(gap).mean() if margin is None else F.relu(gap + margin).mean()
