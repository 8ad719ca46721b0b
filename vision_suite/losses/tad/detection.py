"""Losses of proposal networks: balanced logistic terms and overlap regression (Lin et al., ICCV 2019, section 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vision_suite.errors import check_number
from vision_suite.losses.tad.targets import DetectionTargets

EPSILON = 1e-6
BOUNDARY_POSITIVE, PROPOSAL_POSITIVE = 0.5, 0.9
HIGH, LOW = 0.7, 0.3


class DetectionLoss(nn.Module):
    """Boundary, regression and classification terms of BMN; all in float32, and finite for any batch.

    Args:
        reg_weight: Factor on the regression term, at least 0.
        cls_weight: Factor on the classification term, at least 0.
        low_with_zero: Count proposals without overlap in the low band of the regression (OpenTAD), or leave them
            out (JJBOY, mmaction2).

    Example:
        >>> from vision_suite.layers.proposal_map import Convention, ProposalMap
        >>> from vision_suite.losses.tad.targets import detection_targets
        >>> segments, present = torch.tensor([[[0.0, 2.0]]]), torch.tensor([[True]])
        >>> targets = detection_targets(segments, present, ProposalMap(length=4, duration=3), Convention())
        >>> boundary, proposal = torch.zeros(1, 4), torch.zeros(1, 3, 4)
        >>> total, terms = DetectionLoss()(boundary, boundary, proposal, proposal, targets)
        >>> total.shape, sorted(terms)
        (torch.Size([]), ['boundary', 'confidence', 'iou'])
    """

    def __init__(self, reg_weight: float = 10.0, cls_weight: float = 1.0, low_with_zero: bool = False) -> None:
        super().__init__()
        check_number("reg_weight", reg_weight, low=0)
        check_number("cls_weight", cls_weight, low=0)
        self.reg_weight, self.cls_weight, self.low_with_zero = reg_weight, cls_weight, low_with_zero

    def forward(
        self, start: Tensor, end: Tensor, iou: Tensor, confidence: Tensor, targets: DetectionTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum, and its terms ``boundary``, ``iou`` and ``confidence``.

        Args:
            start: (B, T) logits of the starts.
            end: (B, T) logits of the ends.
            iou: (B, D, T) logits of the regressed overlap.
            confidence: (B, D, T) logits of the classified overlap.
            targets: The batch's labels.
        """
        start, end, iou, confidence = (torch.sigmoid(x.float()) for x in (start, end, iou, confidence))
        boundary = balanced_logistic(start, targets.start > BOUNDARY_POSITIVE, targets.position) + balanced_logistic(
            end, targets.end > BOUNDARY_POSITIVE, targets.position
        )
        draw = torch.rand(iou.shape, device=iou.device)
        terms = {
            "boundary": boundary,
            "iou": overlap_regression(iou, targets.iou, targets.proposal, draw, self.low_with_zero),
            "confidence": balanced_logistic(confidence, targets.iou > PROPOSAL_POSITIVE, targets.proposal),
        }
        total = terms["boundary"] + self.reg_weight * terms["iou"] + self.cls_weight * terms["confidence"]
        return total, terms


def balanced_logistic(probability: Tensor, positive: Tensor, counted: Tensor) -> Tensor:
    """Logistic loss in which positives and negatives weigh the same over the whole batch.

    ``-mean(c1 y log(p) + c0 (1 - y) log(1 - p))`` with ``c1 = n / (2 n+)`` and ``c0 = n / (2 n-)``. An empty side
    contributes 0, where the public codes give NaN.

    Args:
        probability: Predicted probabilities; any shape, float32.
        positive: Entries with a positive label; same shape, bool.
        counted: Entries that count; same shape, bool.

    Example:
        >>> probability, positive = torch.tensor([0.5, 0.5, 0.5]), torch.tensor([True, False, False])
        >>> round(balanced_logistic(probability, positive, torch.ones(3, dtype=torch.bool)).item(), 4)  # log 2
        0.6931
    """
    yes, no = positive & counted, ~positive & counted
    loss_yes = -(torch.log(probability + EPSILON) * yes).sum() / yes.sum().clamp(min=1)
    loss_no = -(torch.log(1 - probability + EPSILON) * no).sum() / no.sum().clamp(min=1)
    return 0.5 * (loss_yes + loss_no)


def overlap_regression(
    probability: Tensor, target: Tensor, counted: Tensor, draw: Tensor, low_with_zero: bool = False
) -> Tensor:
    """Half the mean squared error over as many proposals of middle and low overlap as there are of high overlap.

    High overlaps (above 0.7) all count; of the middle (above 0.3) and low ones each is kept with the probability that
    makes the bands equal on average, never more than 1. Without that limit the public codes keep every entry of the
    map, also entries that are no proposals, as soon as high overlaps outnumber a band.

    Args:
        probability: Predicted overlaps, (B, D, T) float32.
        target: True overlaps, (B, D, T).
        counted: Entries that are proposals, (B, D, T) bool.
        draw: (B, D, T) uniform random numbers in [0, 1).
        low_with_zero: Count overlap 0 in the low band.

    Returns:
        A scalar; 0 if nothing is kept.

    Example:
        >>> probability, target = torch.tensor([[[0.5, 0.5]]]), torch.tensor([[[0.9, 0.0]]])
        >>> counted, draw = torch.tensor([[[True, True]]]), torch.zeros(1, 1, 2)
        >>> round(overlap_regression(probability, target, counted, draw).item(), 4)  # 0.4 squared, halved
        0.08
    """
    high = (target > HIGH) & counted
    middle = (target > LOW) & (target <= HIGH) & counted
    low = (target <= LOW) & counted
    if not low_with_zero:
        low = low & (target > 0)
    kept = high
    for band in (middle, low):
        share = high.sum() / band.sum().clamp(min=1)
        kept = kept | (band & (draw < share))
    return 0.5 * ((probability - target).square() * kept).sum() / kept.sum().clamp(min=1)


def segment_classification(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of annotated segments: logits (n, K), labels (n,) int64; 0 for none.

    Example:
        >>> segment_classification(torch.zeros(2, 4), torch.tensor([0, 3]))  # log 4
        tensor(1.3863)
    """
    if not len(labels):
        return logits.sum() * 0.0
    return nn.functional.cross_entropy(logits.float(), labels)


def video_classification(logits: Tensor, labels: Tensor) -> Tensor:
    """Multi-label logistic loss of whole sequences.

    Args:
        logits: (B, K) logits of the classes.
        labels: (B, G) int64 classes of the annotations, -1 for none; classes may repeat.

    Example:
        >>> video_classification(torch.zeros(1, 3), torch.tensor([[2, 2, -1]]))  # log 2
        tensor(0.6931)
    """
    there = torch.zeros_like(logits, dtype=torch.float32)
    there = torch.cat([there, there.new_zeros(len(there), 1)], dim=1)
    # The last column takes the entries without an annotation.
    there.scatter_(1, torch.where(labels < 0, logits.shape[1], labels), 1.0)
    return nn.functional.binary_cross_entropy_with_logits(logits.float(), there[:, :-1])
