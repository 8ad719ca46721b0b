"""Warnings about features that no ranking or classifier can use: zero, equal, collapsed or not finite."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from torch import Tensor

from vision_suite.errors import DataError

CHUNK = 1024  # rows at a time: 8 MiB of 2,048 float32
SPREAD = 1e-3
"""Features this close to their mean direction are collapsed: their cosine distances are about ``SPREAD**2 / 2`` = 5e-7,
a few roundings of float32 (6e-8). Networks with random weights lie well above it."""
FEW = 10  # with fewer rows, two pictures that are the same would be most of them


def feature_warnings(features: Tensor | np.ndarray, word: str = "features") -> list[str]:
    """Lines about features that make a score meaningless; none for those of an ordinary network.

    Args:
        features: (N, D) one row per picture, video step or the like, of any number type.
        word: What the rows are, in the plural.

    Returns:
        One line per fault: rows that are not finite, zero rows, equal rows (all, or more than half of at least 10),
        rows of one direction.

    Raises:
        DataError: The features are not two-dimensional.

    Example:
        >>> feature_warnings(np.zeros((3, 4)))
        ['3 of 3 features are all zero: nothing ranks them, and the scores with them mean nothing']
    """
    rows = torch.as_tensor(features).detach()
    if rows.ndim != 2:
        raise DataError(f"{word} of shape {tuple(rows.shape)}: give (N, D)")
    total, width = rows.shape
    if not total:
        return []
    if not width:
        return [f"{total} of {total} {word} have no dimension: the scores mean nothing"]
    not_finite = zero = 0
    equal: Counter[int] = Counter()
    first: Tensor | None = None
    offset = torch.zeros(width, dtype=torch.float64, device=rows.device)
    square = 0.0
    for start in range(0, total, CHUNK):
        chunk = rows[start : start + CHUNK]
        chunk = chunk if chunk.dtype == torch.float64 else chunk.float()
        largest = chunk.abs().amax(1)  # NaN and infinity stay what they are
        finite = largest.isfinite()
        usable = finite & (largest > 0)
        not_finite += int((~finite).sum())
        zero += int((finite & (largest == 0)).sum())
        chunk = chunk[usable]
        if not len(chunk):
            continue
        equal.update(hash(row.tobytes()) for row in chunk.cpu().numpy())
        unit = torch.nn.functional.normalize(chunk / largest[usable, None], dim=1)  # no square overflows
        # Differences from one row, not the directions: those of collapsed features would cancel in rounding.
        first = unit[0].clone() if first is None else first
        unit = unit - first
        offset += unit.sum(0, dtype=torch.float64)
        square += float(unit.square().sum(dtype=torch.float64))
    used = total - not_finite - zero
    lines = []
    if not_finite:
        lines.append(
            f"{not_finite} of {total} {word} are not finite (NaN or infinity): the scores with them mean nothing"
        )
    if zero:
        lines.append(
            f"{zero} of {total} {word} are all zero: nothing ranks them, and the scores with them mean nothing"
        )
    if used < 2:
        return lines
    most = max(equal.values())
    spread = max(square / used - float((offset / used).square().sum()), 0.0) ** 0.5
    if most == used or (used >= FEW and 2 * most > used):
        lines.append(f"{most} of {total} {word} are equal: their order is a matter of ties, and the scores mean little")
    elif width > 1 and spread < SPREAD:
        lines.append(
            f"{used} of {total} {word} are collapsed: they differ from one direction by {spread:.1e} of their length, "
            f"and below {SPREAD:g} rounding decides their order, so the scores mean little"
        )
    return lines
