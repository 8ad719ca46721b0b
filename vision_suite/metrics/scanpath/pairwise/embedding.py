"""Time-delay embedding of scanpaths: distance of each stretch of one path from the nearest stretch of another.

TDE: Wang et al., "Simulating human saccadic scanpaths on natural images", CVPR 2011. STDE: Zanca et al., "Variational
laws of visual attention for dynamic scenes" and the program VAME. Only x and y count. Not symmetric: the model's
path comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from vision_suite.errors import ConfigError
from vision_suite.metrics.scanpath.paths import as_fixations, as_pairs, chunks, padded
from vision_suite.metrics.scanpath.screens import check_points, screen_sizes
from vision_suite.types.arrays import Floats, Ints


def stde(model: npt.ArrayLike, human: npt.ArrayLike, screen_size: tuple[float, float]) -> float:
    """Scaled time-delay embedding similarity of two scanpaths.

    Points are divided by the longer side of the screen. For each k up to the shorter length: the mean over stretches of
    k fixations of the model of the smallest mean distance to a human stretch, as exp(-distance); then the mean over k.

    Args:
        model: [n, 2] or [n, 3] scanpath of the model, pixels.
        human: [m, 2] or [m, 3] scanpath of an observer, pixels.
        screen_size: Width, height in pixels.

    Returns:
        0..1, 1 for equal paths, NaN if one is empty.

    Raises:
        DataError: A path is malformed.

    Example:
        >>> path = [(0, 0), (100, 50), (200, 0)]
        >>> stde(path, path, (400, 300)), round(stde(path, [(0, 40), (100, 90), (200, 40)], (400, 300)), 4)
        (1.0, 0.9048)
    """
    return float(stdes([model, human], [(0, 1)], screen_size)[0])


def stdes(paths: Sequence[npt.ArrayLike], pairs: npt.ArrayLike, screen_size: npt.ArrayLike) -> Floats:
    """Scaled time-delay embedding similarities of many pairs, see `stde`.

    Args:
        paths: N scanpaths [n, 2] or [n, 3], pixels.
        pairs: (P, 2) indices into ``paths``: model, human.
        screen_size: Width, height in pixels, for all or (N, 2).

    Returns:
        (P,) float64.

    Raises:
        DataError: A path is malformed.

    Example:
        >>> stdes([[(0, 0), (100, 50)], [(0, 40), (100, 90)]], [(0, 0), (0, 1)], (400, 300)).round(4).tolist()
        [1.0, 0.9048]
    """
    index = as_pairs(pairs, len(paths))
    sizes = screen_sizes(screen_size, len(paths))
    every = [as_fixations(path, f"scanpath {number}")[:, :2] for number, path in enumerate(paths)]
    check_points(every, sizes)
    scaled = [path / size for path, size in zip(every, sizes.max(axis=1), strict=True)]
    points, lengths = padded(scaled, 2)
    out = np.full(len(index), np.nan)
    usable = np.flatnonzero(lengths[index].min(axis=1, initial=np.iinfo(np.int64).max) > 0)
    length_a, length_b = lengths[index[usable]].T
    for rows in chunks(length_a, length_b):
        first, second = index[usable[rows]].T
        end_a, end_b = length_a[rows], length_b[rows]
        a, b = points[first, : end_a.max()], points[second, : end_b.max()]
        out[usable[rows]] = _mean_similarity(a, b, end_a, end_b)
    return out


def _mean_similarity(a: Floats, b: Floats, end_a: Ints, end_b: Ints) -> Floats:
    step = a[:, :, None] - b[:, None]
    distance = np.hypot(step[..., 0], step[..., 1])
    longest = np.minimum(end_a, end_b)
    stretch = np.zeros_like(distance)
    total = np.zeros(len(a))
    for k in range(1, int(longest.max()) + 1):
        height, width = distance.shape[1] - k + 1, distance.shape[2] - k + 1
        # Sum over a stretch of k grows from that of k - 1 by the next cell of its diagonal.
        stretch = stretch[:, :height, :width] + distance[:, k - 1 :, k - 1 :]
        inside = np.arange(width) <= (end_b - k)[:, None]
        nearest = np.where(inside[:, None], stretch, np.inf).min(axis=2)
        counted = np.arange(height) <= (end_a - k)[:, None]
        with np.errstate(invalid="ignore"):  # pairs already past their longest stretch: not used
            mean = np.where(counted, nearest, 0.0).sum(axis=1) / (k * np.maximum(counted.sum(axis=1), 1))
        total += np.where(k <= longest, np.exp(-mean), 0.0)
    result: Floats = total / longest
    return result


def time_delay_embedding(
    model: npt.ArrayLike, human: npt.ArrayLike, k: int = 3, reduction: Literal["mean", "hausdorff"] = "mean"
) -> float:
    """Time-delay embedding distance of two scanpaths in pixels.

    For each stretch of k fixations of the model the mean distance of its points from those of the nearest human
    stretch; then the mean or the largest over stretches.

    Args:
        model: [n, 2] or [n, 3] scanpath of the model, pixels.
        human: [m, 2] or [m, 3] scanpath of an observer, pixels.
        k: Number of fixations in a stretch.
        reduction: Reduction over stretches, ``mean`` or ``hausdorff`` (the largest).

    Returns:
        Pixels; NaN if one path is shorter than k.

    Raises:
        ConfigError: ``k`` or ``reduction`` is out of range.
        DataError: A path is malformed.

    Example:
        >>> time_delay_embedding([(0, 0), (100, 50), (200, 0)], [(0, 40), (100, 90), (200, 40)], k=2)
        40.0
    """
    if not (k >= 1 and k % 1 == 0) or reduction not in ("mean", "hausdorff"):
        raise ConfigError(
            f"k={k}, reduction={reduction!r}: k is a whole number from 1, reduction 'mean' or 'hausdorff'"
        )
    first, second = as_fixations(model, "model")[:, :2], as_fixations(human, "human")[:, :2]
    if min(len(first), len(second)) < k:
        return float("nan")
    distance = np.linalg.norm(first[:, None] - second[None], axis=2)
    height, width = len(first) - k + 1, len(second) - k + 1
    stretch = sum(distance[step : step + height, step : step + width] for step in range(k)) / k
    nearest = np.asarray(stretch).min(axis=1)
    return float(nearest.mean() if reduction == "mean" else nearest.max())
