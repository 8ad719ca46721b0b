"""One loss per branch, weighted into a total."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_suite.losses.triplet import batch_hard_triplet_loss
from vision_suite.losses.uncertainty import UncertaintyWeighting

Weighting = Literal["uncertainty", "equal"]


class MultiBranchLoss(nn.Module):
    """Cross-entropy, and for re-ID a triplet loss, on each branch (DCAL section 3.4).

    Args:
        branches: Names of the branches.
        triplet: Add the batch-hard triplet loss to each branch.
        label_smoothing: Label smoothing of the cross-entropy.
        triplet_margin: Margin; None for the soft margin.
        triplet_normalize: Mine and compare features of unit length.
        triplet_weight: Factor on the triplet loss.
        weighting: ``uncertainty`` learns the branches' weights; ``equal`` takes half the sum of the branches.
        initial_log_variance: Start of the learnt log-variances.
        log_variance_limit: Bound on their size.

    Example:
        >>> loss = MultiBranchLoss(["sa", "glca"], triplet=False)
        >>> logits = {"sa": torch.zeros(2, 4), "glca": torch.zeros(2, 4)}
        >>> total, losses = loss({}, logits, torch.tensor([0, 3]))
        >>> losses
        {'sa': tensor(1.3863), 'glca': tensor(1.3863)}
    """

    def __init__(
        self,
        branches: Sequence[str],
        *,
        triplet: bool,
        label_smoothing: float = 0.0,
        triplet_margin: float | None = None,
        triplet_normalize: bool = False,
        triplet_weight: float = 1.0,
        weighting: Weighting = "uncertainty",
        initial_log_variance: float = 0.0,
        log_variance_limit: float = 10.0,
    ) -> None:
        super().__init__()
        self.triplet, self.label_smoothing = triplet, label_smoothing
        self.margin, self.normalize, self.triplet_weight = triplet_margin, triplet_normalize, triplet_weight
        self.weighting = (
            UncertaintyWeighting(branches, initial=initial_log_variance, limit=log_variance_limit)
            if weighting == "uncertainty"
            else None
        )

    def forward(
        self,
        features: Mapping[str, Tensor],
        logits: Mapping[str, Tensor],
        label: Tensor,
        rows: Mapping[str, Tensor | None] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Total and the loss of each branch.

        Args:
            features: Features (B, D) of each branch, before or after the neck.
            logits: Logits (B, C) of each branch.
            label: Classes (B,) int64.
            rows: Pictures (K,) int64 that a branch holds, for branches that don't hold the whole batch in order.

        Returns:
            Scalar total and the unweighted scalar loss per branch, all at least float32.
        """
        losses = {}
        for name, values in logits.items():
            wide = values.to(torch.promote_types(values.dtype, torch.float32))
            held = None if rows is None else rows.get(name)
            target = label if held is None else label[held]
            loss = F.cross_entropy(wide, target, label_smoothing=self.label_smoothing)
            if self.triplet:
                triplet = batch_hard_triplet_loss(features[name], target, margin=self.margin, normalize=self.normalize)
                loss = loss + self.triplet_weight * triplet
            losses[name] = loss
        if self.weighting is None:
            return 0.5 * torch.stack(list(losses.values())).sum(), losses
        total: Tensor = self.weighting(losses)
        return total, losses

    def weights(self) -> dict[str, Tensor]:
        """Values to log, ``weight_<branch>`` and ``log_variance_<branch>``; empty if no weight is learnt."""
        if self.weighting is None:
            return {}
        found = {f"weight_{name}": value for name, value in self.weighting.weights().items()}
        return found | {f"log_variance_{name}": value for name, value in self.weighting.log_variances().items()}
