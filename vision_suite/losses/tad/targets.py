"""Targets of proposal networks: boundary sequences and overlap maps of annotated segments, for whole batches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vision_suite.layers.proposal_map import Boundary, Convention, ProposalMap

HALF_REGION = 1.5  # cells on each side of an annotated start or end
# Anchor of position i: [i + first, i + second].
ANCHORS: dict[Boundary, tuple[float, float]] = {"cell": (0.0, 1.0), "point": (-0.5, 0.5), "two_cells": (-0.5, 1.5)}


@dataclass(frozen=True)
class DetectionTargets:
    """Labels of a batch.

    Attributes:
        start: (B, T) share of each position's anchor that lies in the region around an annotated start.
        end: (B, T) the same share for annotated ends.
        iou: (B, D, T) largest overlap of each proposal with an annotation; axes in the map's layout.
        position: (B, T) bool, positions that count.
        proposal: (B, D, T) bool, proposals that count.
    """

    start: Tensor
    end: Tensor
    iou: Tensor
    position: Tensor
    proposal: Tensor


def detection_targets(
    segments: Tensor, present: Tensor, proposals: ProposalMap, convention: Convention, valid: Tensor | None = None
) -> DetectionTargets:
    """Labels of a batch of sequences (BMN, section 3.3).

    Args:
        segments: Annotations (B, G, 2) in cells, padded to the same number G.
        present: (B, G) bool, False for padding.
        proposals: The proposal map.
        convention: Convention of the boundary positions.
        valid: (B, T) bool, False where the sequence is padded: such positions and proposals do not count.

    Example:
        >>> segments, present = torch.tensor([[[0.0, 2.0]]]), torch.tensor([[True]])
        >>> targets = detection_targets(segments, present, ProposalMap(length=4, duration=3), Convention())
        >>> targets.iou[0, :, 0]  # proposals from cell 0 on, of 1, 2 and 3 cells
        tensor([0.5000, 1.0000, 0.6667])
    """
    device = segments.device
    batch = len(segments)
    position = valid if valid is not None else torch.ones(batch, proposals.length, dtype=torch.bool, device=device)
    proposal = proposals.contained(position)
    return DetectionTargets(
        boundary_targets(segments[..., 0], present, proposals.length, convention.boundary),
        boundary_targets(segments[..., 1], present, proposals.length, convention.boundary),
        iou_targets(segments, present, proposals),
        position,
        proposal,
    )


def boundary_targets(times: Tensor, present: Tensor, length: int, boundary: Boundary) -> Tensor:
    """Share of each position's anchor within 1.5 cells of the nearest annotated start (or end).

    Args:
        times: (B, G) starts or ends in cells.
        present: (B, G) bool, False for padding.
        length: Number T of positions.
        boundary: Meaning of a position.

    Returns:
        (B, T) float32 from 0 to 1.

    Example:
        >>> boundary_targets(torch.tensor([[0.0]]), torch.tensor([[True]]), length=4, boundary="cell")
        tensor([[1.0000, 0.5000, 0.0000, 0.0000]])
    """
    first, second = ANCHORS[boundary]
    at = torch.arange(length, device=times.device, dtype=times.dtype)
    low, high = times[..., None] - HALF_REGION, times[..., None] + HALF_REGION
    shared = (torch.minimum(at + second, high) - torch.maximum(at + first, low)).clamp(min=0)
    share = torch.where(present[..., None], shared / (second - first), torch.zeros_like(shared))
    return _largest(share)


def iou_targets(segments: Tensor, present: Tensor, proposals: ProposalMap) -> Tensor:
    """Largest overlap of every proposal [s, s + d + 1] with an annotation.

    Args:
        segments: (B, G, 2) in cells.
        present: (B, G) bool, False for padding.
        proposals: The proposal map.

    Returns:
        (B, D, T) float32; 0 where the entry is no proposal.

    Example:
        >>> iou_targets(torch.tensor([[[0.0, 2.0]]]), torch.tensor([[True]]), ProposalMap(length=3, duration=2))
        tensor([[[0.5000, 0.5000, 0.0000],
                 [1.0000, 0.3333, 0.0000]]])
    """
    start = proposals.starts().to(segments)
    end = start + proposals.durations().to(segments) + 1
    low, high = segments[..., 0, None, None], segments[..., 1, None, None]
    shared = (torch.minimum(end, high) - torch.maximum(start, low)).clamp(min=0)
    union = (end - start) + (high - low) - shared
    counts = present[..., None, None] & proposals.valid().to(segments.device)
    return _largest(torch.where(counts & (union > 0), shared / union, torch.zeros_like(shared)))


def _largest(values: Tensor) -> Tensor:
    """The maximum over annotations (axis 1), 0 where there is none."""
    if values.shape[1] == 0:
        return values.new_zeros(values.shape[0], *values.shape[2:])
    return values.amax(dim=1)
