"""Conditional saliency metrics: prediction of the next human fixation by the map of a step.

Teacher forced, as in HAT (Yang et al., CVPR 2024): map t is predicted from the first t - 1 human fixations. Every
function returns one value per fixation, to be pooled or averaged by the caller. Where programs disagree, the name
of a function tells the form.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from vision_suite.errors import ConfigError, DataError
from vision_suite.types.arrays import Floats, Ints

EPSILON = 2.2204e-16  # HAT's; keeps the logarithm of an empty pixel finite
Maps = npt.NDArray[np.floating[Any]]


def conditional_information_gain(maps: Maps, xy: npt.ArrayLike, baseline: Maps) -> Floats:
    """cIG: bits that a map gains at the fixation over a baseline without scene or history.

    Args:
        maps: (T, H, W) probabilities, each map summing to 1.
        xy: (T, 2) fixations in pixels of the maps, floored.
        baseline: (H, W) or (T, H, W) probabilities. HAT takes training fixations without the first, smoothed with
            sigma 24 pixels at 512 x 320, but also names a uniform map: name it beside the result, see
            `fixation_prior`.

    Returns:
        (T,) float64 bits.

    Raises:
        DataError: Shapes disagree, or a map is no distribution.

    Example:
        >>> maps = np.array([[[0.5, 0.25], [0.125, 0.125]]])
        >>> conditional_information_gain(maps, [(0, 0)], np.full((2, 2), 0.25)).round(6).tolist()
        [1.0]
    """
    at = _values_at(maps, xy)
    if np.shape(baseline) not in (np.shape(maps), np.shape(maps)[1:]):
        raise DataError(
            f"baseline {np.shape(baseline)} for maps {np.shape(maps)}: give (H, W) or (T, H, W) of one size"
        )
    prior = np.broadcast_to(baseline, np.shape(maps))
    for name, array in (("maps", maps), ("baseline", prior)):
        sums = np.asarray(array, dtype=np.float64).sum(axis=(1, 2))
        if not np.allclose(sums, 1, atol=1e-3):
            raise DataError(f"{name} sum to {sums.min():g}..{sums.max():g}: divide each map by its sum")
        if (np.asarray(array) < 0).any():
            raise DataError(f"{name} hold negative values, which are no probabilities: check what was gathered")
    gain: Floats = np.log2(at + EPSILON) - np.log2(_values_at(prior, xy) + EPSILON)
    return gain


def conditional_nss(maps: Maps, xy: npt.ArrayLike, *, ddof: int = 1) -> Floats:
    """cNSS: standardised value of a map at the fixation.

    Args:
        maps: (T, H, W) values.
        xy: (T, 2) pixels, floored.
        ddof: Degrees of freedom; 1 divides by the unbiased deviation (HAT's cNSS), 0 by the population's (pysaliency,
            HAT's other NSS).

    Returns:
        (T,) float64, 0 (chance) for a constant map, NaN for maps of a single pixel.

    Raises:
        ConfigError: ``ddof`` is neither 0 nor 1.
        DataError: Shapes disagree, a fixation lies outside, or a value is infinite.

    Example:
        >>> conditional_nss(np.array([[[3.0, 1.0], [1.0, 1.0]]]), [(0, 0)]).tolist()
        [1.5]
    """
    if ddof not in (0, 1):
        raise ConfigError(f"ddof={ddof} must be 1 (unbiased deviation) or 0 (of the population)")
    at, flat = _values_and_flat(maps, xy)
    if not np.isfinite(flat).all():
        raise DataError("maps hold infinite values, which have no deviation: give probabilities, not their logarithms")
    if flat.shape[1] < 2:
        return np.full(len(at), np.nan)
    deviation = flat.std(axis=1, ddof=ddof)
    flats = deviation <= 1e-12 * np.abs(flat).max(axis=1, initial=0)
    return np.where(flats, 0.0, (at - flat.mean(axis=1)) / np.where(flats, 1.0, deviation))


def conditional_auc_hat(maps: Maps, xy: npt.ArrayLike) -> Floats:
    """HAT's conditional AUC (cAUC): 1 - fp / 2, fp the share of other pixels that are at least as high.

    Chance is 0.75 and a constant map gets 0.5: compare with HAT's numbers only, else use `conditional_auc`.

    Args:
        maps: (T, H, W) values.
        xy: (T, 2) pixels, floored.

    Returns:
        (T,) float64; NaN for maps of a single pixel, which has no other to be compared with.

    Raises:
        DataError: Shapes disagree or a fixation lies outside.

    Example:
        >>> conditional_auc_hat(np.array([[[0.4, 0.3, 0.2, 0.1, 0.0]]]), [(1, 0)]).tolist()
        [0.875]
    """
    at, flat = _values_and_flat(maps, xy)
    if flat.shape[1] < 2:
        return np.full(len(at), np.nan)
    false = ((flat >= at[:, None]).sum(axis=1) - 1) / (flat.shape[1] - 1)
    return np.asarray(1 - false / 2, dtype=np.float64)


def conditional_auc(maps: Maps, xy: npt.ArrayLike) -> Floats:
    """Percentile AUC: share of pixels below the fixated one, ties half, itself among them (pysaliency). Chance is 0.5.

    Args:
        maps: (T, H, W) values.
        xy: (T, 2) pixels, floored.

    Returns:
        (T,) float64; NaN for maps of a single pixel.

    Raises:
        DataError: Shapes disagree or a fixation lies outside.

    Example:
        >>> conditional_auc(np.array([[[0.4, 0.3], [0.2, 0.1]]]), [(1, 0)]).tolist()
        [0.625]
    """
    at, flat = _values_and_flat(maps, xy)
    if flat.shape[1] < 2:
        return np.full(len(at), np.nan)
    below, level = (flat < at[:, None]).mean(axis=1), (flat == at[:, None]).mean(axis=1)
    return np.asarray(below + level / 2, dtype=np.float64)


def similarity(first: Maps, second: Maps) -> float:
    """SIM of saliency: sum of the smaller of two maps, each divided by its sum.

    Args:
        first: (H, W) values, not negative.
        second: (H, W) values, not negative.

    Returns:
        0..1; NaN for maps of a single pixel, which always agree.

    Raises:
        DataError: Shapes disagree, a value is not finite, or a map has no positive sum.

    Example:
        >>> similarity(np.array([[3.0, 1.0]]), np.array([[1.0, 1.0]]))
        0.75
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    usable = all(np.isfinite(part).all() and (part >= 0).all() and part.sum() > 0 for part in (one, other))
    if one.shape != other.shape or not usable:
        raise DataError(
            f"maps of shapes {one.shape} and {other.shape} must agree, be finite, not negative, and not be empty"
        )
    if one.size < 2:
        return float("nan")
    return float(np.minimum(one / one.sum(), other / other.sum()).sum())


def sampled_nss(shape: tuple[int, int], samples: npt.ArrayLike, human: npt.ArrayLike) -> float:
    """OAT's NSS: mean standardised value, at human fixations, of the map that is 1 wherever any sampled path went.

    Args:
        shape: Height, width of the map.
        samples: (n, 2) points x, y of all sampled paths (OAT: centres of the objects).
        human: (m, 2) x, y of human fixations.

    Returns:
        Mean over the human fixations, standardised with the population's deviation; 0 for a constant map.

    Raises:
        DataError: There is no sampled point or no human fixation, or a point lies outside.

    Example:
        >>> sampled_nss((1, 4), samples=[(0, 0), (1, 0)], human=[(0, 0), (3, 0)])
        0.0
    """
    points = np.asarray(samples, dtype=np.float64).reshape(-1, 2)
    if not len(points):
        raise DataError("there is no sampled point, so no map to score: leave the stimulus out and count it")
    union = np.zeros(shape)
    column, row = _pixels(points, shape)
    union[row, column] = 1
    fixations = np.asarray(human, dtype=np.float64).reshape(-1, 2)
    if not len(fixations):
        raise DataError("there is no human fixation to score: leave the stimulus out")
    repeated = np.broadcast_to(union, (len(fixations), *shape))
    return float(conditional_nss(repeated, fixations, ddof=0).mean())


def fixation_prior(xy: npt.ArrayLike, shape: tuple[int, int], sigma: float = 24.0) -> Floats:
    """Baseline map of cIG: smoothed histogram of training fixations (HAT: sigma 24 pixels at 512 x 320).

    Args:
        xy: (n, 2) fixations in pixels of the map, the first of each path left out.
        shape: Height, width of the map.
        sigma: Standard deviation of the Gaussian in pixels, above 0.

    Returns:
        (H, W) float64, sum 1.

    Raises:
        ConfigError: ``sigma`` is out of range.
        DataError: There is no fixation, or one lies outside.

    Example:
        >>> prior = fixation_prior([(2, 1), (2, 1)], shape=(3, 5), sigma=1.0)
        >>> prior.shape, int(prior.argmax()), round(float(prior.sum()), 6)
        ((3, 5), 7, 1.0)
    """
    from scipy.ndimage import gaussian_filter

    if not 0 < sigma < math.inf:
        raise ConfigError(f"sigma={sigma:g} must be a number of pixels above 0")
    points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    if not len(points):
        raise DataError("there is no fixation to make a prior of: give those of the training part")
    column, row = _pixels(points, shape)
    counts = np.zeros(shape)
    np.add.at(counts, (row, column), 1.0)
    smooth: Floats = gaussian_filter(counts, sigma)
    prior: Floats = smooth / smooth.sum()
    return prior


def _values_and_flat(maps: Maps, xy: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Values (T,) at the fixations, and each map (T, H * W) as a row."""
    at = _values_at(maps, xy)
    return at, np.asarray(maps, dtype=np.float64).reshape(len(at), math.prod(np.shape(maps)[1:]))


def _values_at(maps: Maps, xy: npt.ArrayLike) -> Floats:
    points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    if np.ndim(maps) != 3 or len(maps) != len(points):
        raise DataError(
            f"maps of shape {np.shape(maps)} for {len(points)} fixations: give (T, H, W), a map per fixation"
        )
    if np.isnan(maps).any():
        raise DataError("maps hold values that are no numbers: check the model that predicted them")
    column, row = _pixels(points, np.shape(maps)[1:])
    return np.asarray(maps[np.arange(len(points)), row, column], dtype=np.float64)


def _pixels(points: Floats, shape: tuple[int, ...]) -> tuple[Ints, Ints]:
    floored = np.floor(points)
    outside = ~((floored >= 0) & (floored < np.array(shape[::-1]))).all(axis=1)
    if outside.any():
        raise DataError(f"{int(outside.sum())} of {len(points)} points lie outside the map: drop them and report it")
    column, row = floored.astype(np.int64).T
    return column, row
