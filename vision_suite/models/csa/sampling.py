"""Samples of the entries of a proposal map: linear interpolation weights, for BMN and for G-TAD."""

from __future__ import annotations

import torch
from torch import Tensor

from vision_suite.layers.proposal_map import ProposalMap, Sampling

BMN_BINS, BMN_POINTS = 32, 3
ALIGN_BINS = 16
EXTENSION = 0.5  # of the proposal's length on each side; BMN's paper has 0.25, every public code 0.5


def bmn_weights(
    proposals: ProposalMap,
    bins: int = BMN_BINS,
    points: int = BMN_POINTS,
    sampling: Sampling = "centre",
    extension: float = EXTENSION,
) -> tuple[Tensor, Tensor, Tensor]:
    """Interpolation weights of BMN's boundary-matching layer (Lin et al., ICCV 2019, section 3.2).

    A proposal extended on both sides is sampled at ``bins * points`` equal steps, and each run of ``points`` samples is
    averaged. The public codes truncate towards zero: a sample between -1 and 0 counts cell 0 in full, one beyond T - 1
    fades to 0, others outside count nothing.

    Args:
        proposals: The map.
        bins: Number N of bins.
        points: Samples per bin.
        sampling: See `Convention`.
        extension: Share of the length added on each side.

    Returns:
        Rows (z,) int64, index of the proposal in the flattened map; columns (z,) int64, ``bin * T + cell``; weights
        (z,) float32. Weights of equal row and column are summed already; entries that are no proposals have none.
    """
    length = proposals.length
    entry = torch.nonzero(proposals.valid().flatten())[:, 0]
    start = proposals.starts().flatten()[entry].double()
    last = start + proposals.durations().flatten()[entry] + (1 if sampling == "end_exclusive" else 0)
    size = last - start + 1
    low, high = start - size * extension, last + size * extension
    count = bins * points
    step = (high - low) / max(count - 1, 1)
    at = low[:, None] + torch.arange(count, dtype=torch.float64) * step[:, None]
    return _entries(entry, at.trunc(), at.ceil(), at - at.trunc(), bins, length, torch.full((len(entry),), points))


def align_weights(
    proposals: ProposalMap, bins: int = ALIGN_BINS, extension: float = EXTENSION
) -> tuple[Tensor, Tensor, Tensor]:
    """Interpolation weights of G-TAD's SGAlign (Xu et al., CVPR 2020): RoIAlign in one dimension.

    Each bin averages ``ceil(length / bins)`` samples at the middles of equal parts; a sample from -1 to 0 or from T - 1
    to T counts the outermost cell, others outside count nothing. Entries that are no proposals sample [0, 0], which
    RoIAlign widens to one cell.

    Returns:
        As `bmn_weights`, with weights for every entry of the map.
    """
    length = proposals.length
    valid = proposals.valid().flatten()
    start = torch.where(valid, proposals.starts().flatten(), 0).double()
    last = torch.where(valid, proposals.starts().flatten() + proposals.durations().flatten(), 0).double()
    size = last - start + 1
    low = torch.where(valid, start - size * extension, 0.0)
    high = torch.where(valid, last + size * extension, 0.0)
    span = (high - low).clamp(min=1.0)
    number = torch.ceil(span / bins).long()
    parts = []
    for count in sorted(set(number.tolist())):
        entry = torch.nonzero(number == count)[:, 0]
        offset = (torch.arange(bins * count, dtype=torch.float64) + 0.5) / count
        at = low[entry, None] + offset * (span[entry, None] / bins)
        inside = (at >= -1) & (at <= length)
        at = at.clamp(0, length - 1)
        share = at - at.floor()
        parts.append(
            _entries(entry, at.floor(), at.ceil(), share, bins, length, torch.full((len(entry),), count), inside)
        )
    rows, columns, weights = (torch.cat(column) for column in zip(*parts, strict=True))
    return rows, columns, weights


def _entries(
    entry: Tensor,
    lower: Tensor,
    upper: Tensor,
    share: Tensor,
    bins: int,
    length: int,
    points: Tensor,
    inside: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Sparse entries of samples (P, bins * points) that lie at ``share`` between two cells."""
    count = lower.shape[1]
    bin_ = torch.arange(count) // (count // bins)
    rows, columns, weights = [], [], []
    for cell, part in ((lower, 1 - share), (upper, share)):
        kept = (cell >= 0) & (cell <= length - 1) & (part != 0)
        if inside is not None:
            kept &= inside
        row, sample = torch.nonzero(kept, as_tuple=True)
        rows.append(entry[row])
        columns.append(bin_[sample] * length + cell[row, sample].long())
        weights.append(part[row, sample] / points[row])
    width = bins * length
    key, inverse = torch.unique(torch.cat(rows) * width + torch.cat(columns), return_inverse=True)
    total = torch.zeros(len(key), dtype=torch.float64).index_add_(0, inverse, torch.cat(weights))
    return key // width, key % width, total.float()


def dense(rows: Tensor, columns: Tensor, weights: Tensor, height: int, width: int) -> Tensor:
    """The weights as a matrix (height, width) float32, for drawing and tests."""
    out = torch.zeros(height, width)
    out[rows, columns] = weights
    return out
