"""Necks and classifiers of the branches."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from vision_suite.models.dcal.outputs import Branch

Classifier = Literal["linear", "cosine"]


class BNNeck(nn.BatchNorm1d):
    """Batch normalisation between feature and classifier with its shift frozen at 0 (Luo et al., CVPRW 2019)."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.bias.requires_grad_(False)


def normalize_by_batch(neck: nn.BatchNorm1d, feature: Tensor) -> Tensor:
    """Normalise (B, D) by the batch's own statistics and leave the neck's running ones alone (training only)."""
    return F.batch_norm(feature, None, None, neck.weight, neck.bias, training=True, eps=neck.eps)


class CosineClassifier(nn.Linear):
    """Scaled cosine between feature and class weight: (B, D) to (B, C)."""

    def __init__(self, in_features: int, out_features: int, scale: float) -> None:
        super().__init__(in_features, out_features, bias=False)
        self.scale = scale

    def forward(self, feature: Tensor) -> Tensor:
        """Logits (B, C) in [-scale, scale]."""
        return self.scale * F.linear(F.normalize(feature), F.normalize(self.weight))


class BranchHead(nn.Module):
    """Neck and classifier of one branch.

    Re-ID: BNNeck and a classifier without bias, initialised N(0, 0.001) (the strong re-ID baseline that DCAL's re-ID
    rows equal); classification: a plain linear classifier.

    Args:
        num_features: Feature width D.
        num_classes: Number of classes C.
        neck: Put a BNNeck in front of the classifier.
        bias: Give a linear classifier a bias.
        classifier: ``linear`` or ``cosine``.
        cosine_scale: Factor on the cosine logits.
        std: Standard deviation of a linear classifier's initial weights.
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        *,
        neck: bool,
        bias: bool,
        classifier: Classifier,
        cosine_scale: float,
        std: float,
    ) -> None:
        super().__init__()
        # Typed by its base: Lightning's sync_batchnorm puts another kind of batch norm here.
        self.neck: nn.BatchNorm1d | None = BNNeck(num_features) if neck else None
        self.classifier: nn.Linear
        if classifier == "cosine":
            self.classifier = CosineClassifier(num_features, num_classes, cosine_scale)
        else:
            self.classifier = nn.Linear(num_features, num_classes, bias=bias)
            nn.init.normal_(self.classifier.weight, std=std)
            if bias:
                nn.init.zeros_(self.classifier.bias)

    def forward(self, feature: Tensor, *, update_statistics: bool = True) -> Branch:
        """Feature (B, D) to its branch result.

        Args:
            feature: (B, D) read-out of the branch.
            update_statistics: Whether a training batch moves the neck's running statistics.
        """
        if self.neck is None:
            neck = feature
        elif self.training and not update_statistics:
            neck = normalize_by_batch(self.neck, feature)
        else:
            neck = self.neck(feature)
        return Branch(feature, neck, self.classifier(neck))
