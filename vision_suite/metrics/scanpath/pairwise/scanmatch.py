"""ScanMatch: alignment of fixations binned in space, and in time if wanted.

Cristino, Mathôt, Theeuwes and Gilchrist, "ScanMatch: a novel method for comparing fixation sequences", Behavior
Research Methods 42(3), 2010.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vision_suite.errors import ConfigError
from vision_suite.metrics.scanpath.pairwise.strings import align
from vision_suite.metrics.scanpath.pairwise.symbols import check_bins, check_step, grid_cells, repeats
from vision_suite.metrics.scanpath.paths import as_fixations, as_pairs
from vision_suite.metrics.scanpath.screens import check_points, screen_sizes
from vision_suite.types.arrays import Floats


def scanmatch(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    screen_size: tuple[float, float],
    bins: tuple[int, int] = (16, 12),
    threshold: float = 3.5,
    temp_bin: float | None = None,
    gap: float = 0.0,
) -> float:
    """ScanMatch score of two scanpaths.

    Points are clamped into the screen, truncated to whole pixels and put into a grid of bins. Two bins gain
    ``threshold`` minus their distance in bins; the best alignment is divided by ``threshold`` times the longer length.
    Settings in use: 16 x 12 bins on 320 x 240 pixels with 50 ms (Chen et al.), 12 x 8 on 1024 x 768 with 100 ms (the
    original example).

    Args:
        a: [n, 3] x, y in pixels and duration in seconds; [n, 2] is enough without ``temp_bin``.
        b: [m, 3] or [m, 2] of the other scanpath.
        screen_size: Width, height in pixels.
        bins: Columns, rows of the grid.
        threshold: Gain of equal bins (3.5 in the paper: pairs of bins farther apart lose).
        temp_bin: Seconds per symbol, at most 1, where ScanMatch's own TempBin has milliseconds (50 there is 0.05 here):
            each bin is repeated round(duration / temp_bin) times, halves to even. None writes each fixation once.
        gap: Gain of a gap, 0 or less. The reference programs start the table with one gap too many, so that below 0 a
            path scores less than 1 against itself; kept.

    Returns:
        At most 1; 1 for two empty paths, 0 if one is empty. NaN if ``temp_bin`` meets an unknown duration, or a path
        none of whose fixations is long enough for a symbol.

    Raises:
        ConfigError: A setting is out of range.
        DataError: A path is malformed, its durations look like milliseconds, or its points like shares of the screen.

    Example:
        >>> scanmatch([(10, 10), (300, 200)], [(10, 10), (300, 20)], screen_size=(320, 240))
        0.5
    """
    return float(scanmatches([a, b], [(0, 1)], screen_size, bins, threshold, temp_bin, gap)[0])


def scanmatches(
    paths: Sequence[npt.ArrayLike],
    pairs: npt.ArrayLike,
    screen_size: npt.ArrayLike,
    bins: tuple[int, int] = (16, 12),
    threshold: float = 3.5,
    temp_bin: float | None = None,
    gap: float = 0.0,
) -> Floats:
    """ScanMatch scores of many pairs, see `scanmatch`.

    Args:
        paths: N scanpaths [n, 3] or [n, 2].
        pairs: (P, 2) indices into ``paths``.
        screen_size: Width, height in pixels, for all or (N, 2).
        bins: Columns, rows of the grid.
        threshold: Gain of equal bins.
        temp_bin: Seconds per symbol, or None.
        gap: Gain of a gap, 0 or less.

    Returns:
        (P,) float64.

    Raises:
        ConfigError: A setting is out of range.
        DataError: A path is malformed, its durations look like milliseconds, or its points like shares of the screen.

    Example:
        >>> paths = [[(10, 10), (300, 200)], [(10, 10), (300, 20)]]
        >>> scanmatches(paths, [(0, 1), (0, 0)], screen_size=(320, 240)).tolist()
        [0.5, 1.0]
    """
    check_settings(bins, threshold, gap)
    if temp_bin is not None:
        check_step(temp_bin, "temp_bin")
    index = as_pairs(pairs, len(paths))
    sizes = screen_sizes(screen_size, len(paths))
    known = np.ones(len(paths), dtype=np.bool_)
    strings = []
    every = [as_fixations(path, f"scanpath {number}") for number, path in enumerate(paths)]
    check_points(every, sizes, clamped=True)
    for number, fixations in enumerate(every):
        cells = grid_cells(fixations[:, :2], sizes[number], bins)
        if temp_bin is not None:
            counts = repeats(fixations[:, 2], temp_bin, rounded=True)
            known[number] = counts is not None
            cells = np.repeat(cells, 1 if counts is None else counts)
        strings.append(cells)
    lengths = np.array([len(string) for string in strings], dtype=np.int64)
    codes = np.zeros((len(paths), int(lengths.max(initial=0))), dtype=np.int64)
    for row, string in zip(codes, strings, strict=True):
        row[: len(string)] = string
    best = align(codes, lengths, index, gap=gap, substitution=substitution_matrix(bins, threshold))
    shorter, longer = np.sort(lengths[index], axis=1).T
    score = np.where(shorter > 0, best / (threshold * np.maximum(longer, 1)), np.where(longer > 0, 0.0, 1.0))
    return np.where(known[index].all(axis=1), score, np.nan)


def check_settings(bins: tuple[int, int], threshold: float, gap: float = 0.0) -> None:
    """Refuse settings of ScanMatch that are out of range.

    Raises:
        ConfigError: There is no bin, equal bins gain nothing, or gaps are rewarded.

    Example:
        >>> check_settings((16, 12), threshold=0)
        Traceback (most recent call last):
            ...
        vision_suite.errors.ConfigError: threshold=0 must be a finite number above 0: it is the gain of equal bins
    """
    check_bins(bins)
    if not 0 < threshold < float("inf"):
        raise ConfigError(f"threshold={threshold:g} must be a finite number above 0: it is the gain of equal bins")
    if not -float("inf") < gap <= 0:
        raise ConfigError(f"gap={gap:g} must be a finite number of 0 or less: above 0 it rewards gaps")


def substitution_matrix(bins: tuple[int, int] = (16, 12), threshold: float = 3.5) -> Floats:
    """Gain of each pair of bins: ``threshold`` minus the distance of their centres, in bins.

    Args:
        bins: Columns, rows.
        threshold: Gain of equal bins.

    Returns:
        (K, K) float64 for K = columns * rows bins in row-major order.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> substitution_matrix((2, 1)).tolist()
        [[3.5, 2.5], [2.5, 3.5]]
    """
    check_settings(bins, threshold)
    row, column = np.divmod(np.arange(bins[0] * bins[1]), bins[0])
    gains: Floats = threshold - np.hypot(row[:, None] - row, column[:, None] - column)
    return gains
