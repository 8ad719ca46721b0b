"""Temporal segments [start, end] as NumPy arrays: overlap of pairs, soft suppression, voting."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from vision_suite.errors import ConfigError, DataError, check_choice, check_number
from vision_suite.types.arrays import Floats, Ints

Suppression = Literal["gaussian", "bsn", "none"]


def paired_tiou(one: Floats, other: Floats) -> Floats:
    """Temporal intersection over union of segments (..., 2) against segments (..., 2), broadcast; 0 for an empty union.

    Disjoint segments have an intersection of 0 and the sum of their lengths as union, as in ActivityNet's evaluation.
    """
    start = np.maximum(one[..., 0], other[..., 0])
    end = np.minimum(one[..., 1], other[..., 1])
    intersection = np.clip(end - start, 0.0, None)
    union = (one[..., 1] - one[..., 0]) + (other[..., 1] - other[..., 0]) - intersection
    out: Floats = np.zeros(np.broadcast_shapes(intersection.shape, union.shape))
    np.divide(intersection, union, out=out, where=union > 0)
    return out


def tiou_matrix(rows: Floats, columns: Floats) -> Floats:
    """Overlap of every segment of ``rows`` (n, 2) with every one of ``columns`` (m, 2): (n, m)."""
    return paired_tiou(rows[:, None], columns[None])


def soft_nms(
    segments: Floats,
    scores: Floats,
    *,
    method: Suppression = "gaussian",
    sigma: float = 0.5,
    low: float = 0.5,
    high: float = 0.9,
    min_score: float = 0.0,
    keep: int = 100,
) -> tuple[Ints, Floats]:
    """Soft non-maximum suppression (Bodla et al., ICCV 2017) over segments, each step on the whole array.

    Repeatedly takes the best segment left and lowers the scores of those that overlap it by exp(-tIoU^2 / sigma):
    ``gaussian`` all of them, ``bsn`` those whose overlap exceeds ``low + (high - low) * w`` with w the best segment's
    length (Lin et al., ECCV 2018), which therefore must be a share of the video. The last segment is kept too.

    Args:
        segments: (n, 2) float; for ``bsn`` in units of the video's length.
        scores: (n,) float, at least 0.
        method: ``gaussian``, ``bsn``, or ``none`` for the best ``keep`` as they are.
        sigma: Width of the decay.
        low: Threshold of ``bsn`` for a segment of length 0.
        high: Threshold of ``bsn`` for a segment of length 1.
        min_score: Segments whose score falls below this are dropped.
        keep: Number of segments to keep.

    Returns:
        Indices (k,) of the kept segments, best first, and their lowered scores (k,).

    Raises:
        ConfigError: A setting is outside its range, or ``bsn`` is given lengths above 1.
        DataError: A score is negative or not finite, or a segment is not finite.
    """
    check_choice("method", method, get_args(Suppression))
    check_number("sigma", sigma, above=0)
    check_number("keep", keep, low=1, whole=True)
    for name, value in (("low", low), ("high", high), ("min_score", min_score)):
        check_number(name, value, low=0)
    left: Floats = np.array(scores, dtype=np.float64)
    if not (np.isfinite(left).all() and (left >= 0).all() and np.isfinite(segments).all()):
        raise DataError(
            f"soft_nms: {int((~(left >= 0) | np.isinf(left)).sum())} of {len(left)} scores are negative or not finite, "
            f"{int((~np.isfinite(segments)).sum())} ends of segments are not finite: suppress usable ones only"
        )
    numbers: Ints = np.arange(len(left))
    starts, ends = np.array(segments, dtype=np.float64).reshape(-1, 2).T.copy()
    widths = ends - starts
    if method == "bsn" and len(left) and widths.max() > 1 + 1e-6:
        raise ConfigError("soft_nms(method='bsn') compares lengths with the video's: divide segments by its duration")
    if method == "none":
        order = np.argsort(-left, kind="stable")
        order = order[left[order] >= min_score][:keep]
        return order, left[order]
    kept: list[int] = []
    values: list[float] = []
    while len(left) and len(kept) < keep:
        best = int(left.argmax())
        value = left[best]
        if value < min_score:
            break
        kept.append(int(numbers[best]))
        values.append(float(value))
        inter = np.minimum(ends, ends[best]) - np.maximum(starts, starts[best])
        np.maximum(inter, 0.0, out=inter)
        union = widths + widths[best] - inter
        overlap = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
        threshold = 0.0 if method == "gaussian" else low + (high - low) * widths[best]
        hit = overlap > threshold
        left[hit] *= np.exp(-np.square(overlap[hit]) / sigma)
        left[best] = -1.0
        # Fewer and fewer can still be kept: shorten the arrays now and then.
        alive = left >= max(min_score, 0.0)
        if alive.sum() * 2 < len(left) or not alive.any():
            left, numbers = left[alive], numbers[alive]
            starts, ends, widths = starts[alive], ends[alive], widths[alive]
    return np.array(kept, dtype=np.int64), np.array(values, dtype=np.float64)


def vote(segments: Floats, everything: Floats, scores: Floats, threshold: float) -> Floats:
    """Each segment moved to the mean of all that overlap it by ``threshold`` or more, weighted by score and overlap.

    Args:
        segments: (k, 2) kept segments.
        everything: (n, 2) segments before suppression.
        scores: (n,) their scores.
        threshold: Least tIoU of a neighbour.

    Returns:
        (k, 2); a segment without a neighbour of positive weight stays where it is.
    """
    check_number("vote", threshold, above=0, high=1)
    overlap = tiou_matrix(segments, everything)
    weight = np.where(overlap >= threshold, overlap * scores, 0.0)
    total = weight.sum(1, keepdims=True)
    moved: Floats = np.where(total > 0, weight @ everything / np.where(total > 0, total, 1.0), segments)
    return moved
