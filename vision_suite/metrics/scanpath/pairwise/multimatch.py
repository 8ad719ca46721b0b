"""MultiMatch: similarity of two scanpaths in five dimensions, many pairs at once.

Jarodzka, Holmqvist and Nyström, "A vector-based, multidimensional scanpath similarity measure", ETRA 2010; Dewhurst et
al., Behavior Research Methods 44, 2012. Numbers follow the package multimatch_gaze 0.1.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from vision_suite.errors import ConfigError
from vision_suite.metrics.scanpath.pairwise.simplify import Simplify, as_simplify, saccades_of
from vision_suite.metrics.scanpath.paths import as_fixations, as_pairs, chunks, padded
from vision_suite.metrics.scanpath.screens import check_points, screen_sizes
from vision_suite.types.arrays import Bools, Floats, Ints

Thresholds: TypeAlias = Simplify | Mapping[str, float] | Sequence[float] | None
Short = Literal["nan", "pad_ones"]
FEWEST = 3  # fixations


class MultiMatch(NamedTuple):
    """Similarities of two scanpaths, each at most 1, NaN where one is too short."""

    vector: float
    direction: float
    length: float
    position: float
    duration: float


def multimatch(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    screen_size: tuple[float, float],
    simplify: Thresholds = None,
    *,
    short: Short = "nan",
) -> MultiMatch:
    """MultiMatch of two scanpaths.

    Saccades are paired along the cheapest monotone path through the table of their vector differences. With d the
    median along it and D the screen's diagonal: vector 1 - d / 2D, direction 1 - angle / pi, length 1 - d / D, position
    1 - d / D of the starts of saccades, duration 1 - |T1 - T2| / max(T1, T2). Symmetric except for paths of equal cost.

    Args:
        a: [n, 3] x, y in pixels and duration in seconds; [n, 2] makes the duration NaN.
        b: [m, 3] or [m, 2] of the other scanpath.
        screen_size: Width, height in pixels.
        simplify: Merge small and straight steps first, by thresholds as a `Simplify`, or a dictionary or triple of its
            TDir, TDur, TAmp; None as in papers on scanpath prediction.
        short: Treatment of fewer than three fixations. ``nan`` gives NaN; ``pad_ones`` fills them up with fixations at
            (1, 1), as the copies of the code in HAT, Gazeformer, IRL and OAT do. That invents saccades: only to
            reproduce numbers.

    Raises:
        ConfigError: ``short`` or ``simplify`` is unknown.
        DataError: A path is malformed, its durations look like milliseconds, or its points like shares of the screen.

    Example:
        >>> across, down = [(0, 0, 0.1), (100, 0, 0.1), (200, 0, 0.1)], [(0, 0, 0.1), (0, 100, 0.1), (0, 200, 0.1)]
        >>> found = multimatch(across, down, screen_size=(300, 400))
        >>> round(found.vector, 3), found.direction, found.length, found.duration
        (0.859, 0.5, 1.0, 1.0)
    """
    return MultiMatch(*multimatches([a, b], [(0, 1)], screen_size, simplify, short=short)[0].tolist())


def multimatches(
    paths: Sequence[npt.ArrayLike],
    pairs: npt.ArrayLike,
    screen_size: npt.ArrayLike,
    simplify: Thresholds = None,
    *,
    short: Short = "nan",
) -> Floats:
    """MultiMatch of many pairs, see `multimatch`.

    Args:
        paths: N scanpaths [n, 3] or [n, 2].
        pairs: (P, 2) indices into ``paths``.
        screen_size: Width, height in pixels, for all or (N, 2); the first path's counts.
        simplify: Thresholds of the simplification, or None.
        short: Treatment of fewer than three fixations.

    Returns:
        (P, 5) float64 in the order of `MultiMatch`.

    Raises:
        ConfigError: ``short`` or ``simplify`` is unknown.
        DataError: A path is malformed, its durations look like milliseconds, or its points like shares of the screen.

    Example:
        >>> paths = [[(0, 0), (100, 0), (200, 0)], [(0, 0), (0, 100), (0, 200)]]
        >>> multimatches(paths, [(0, 0), (0, 1)], screen_size=(300, 400)).round(3)[:, :3].tolist()
        [[1.0, 1.0, 1.0], [0.859, 0.5, 1.0]]
    """
    limits = as_simplify(simplify)
    if short not in ("nan", "pad_ones"):
        raise ConfigError(f"short={short!r} is unknown: use 'nan' or 'pad_ones'")
    index = as_pairs(pairs, len(paths))
    diagonal = np.hypot(*screen_sizes(screen_size, len(paths)).T)[index[:, 0]]
    fixations = [as_fixations(path, f"scanpath {number}") for number, path in enumerate(paths)]
    check_points(fixations, screen_sizes(screen_size, len(paths)))
    if short == "pad_ones":
        fixations = [np.concatenate([path, np.ones((max(FEWEST - len(path), 0), 3))]) for path in fixations]
    enough = np.array([len(path) >= FEWEST for path in fixations], dtype=np.bool_)
    saccades, lengths = padded([saccades_of(path, limits) for path in fixations], 5)
    out = np.full((len(index), 5), np.nan)
    usable = np.flatnonzero(enough[index].all(axis=1))
    length_a, length_b = lengths[index[usable]].T
    for rows in chunks(length_a, length_b):
        end_a, end_b = length_a[rows], length_b[rows]
        first, second = index[usable[rows]].T
        a, b = saccades[first, : end_a.max()], saccades[second, : end_b.max()]
        medians = _medians(a, b, end_a, end_b)
        scale = diagonal[usable[rows]]
        medians /= np.column_stack([2 * scale, np.full(len(rows), np.pi), scale, scale, np.ones(len(rows))])
        out[usable[rows]] = 1 - medians
    return out


def _medians(a: Floats, b: Floats, end_a: Ints, end_b: Ints) -> Floats:
    """(P, 5) median differences of paired saccades, from (P, n, 5) and (P, m, 5) saccades and their (P,) numbers."""
    step = a[:, :, None, 2:4] - b[:, None, :, 2:4]
    cost = np.sqrt(step[..., 0] ** 2 + step[..., 1] ** 2)
    row, column, used = _cheapest_paths(cost, end_a, end_b)
    each = np.arange(len(a))[:, None]
    one, other = a[each, row], b[each, column]
    turn = np.abs(np.arctan2(one[..., 3], one[..., 2]) - np.arctan2(other[..., 3], other[..., 2]))
    longer = np.maximum(one[..., 4], other[..., 4])
    differences = (
        cost[each, row, column],
        np.minimum(turn, 2 * np.pi - turn),
        np.abs(np.hypot(one[..., 2], one[..., 3]) - np.hypot(other[..., 2], other[..., 3])),
        np.hypot(one[..., 0] - other[..., 0], one[..., 1] - other[..., 1]),
        # Two fixations without duration do not differ.
        np.abs(one[..., 4] - other[..., 4]) / np.where(longer == 0, 1.0, longer),
    )
    return np.stack([_masked_median(values, used) for values in differences], axis=1)


def _cheapest_paths(cost: Floats, end_a: Ints, end_b: Ints) -> tuple[Ints, Ints, Bools]:
    """Cheapest path right, down or diagonally from the first to the last cell, without the cost of the first one.

    Cells of an anti-diagonal do not depend on each other: each is one step for all pairs. Of equal paths the diagonal
    one is taken, then the one from above.

    Returns:
        (P, n + m - 1) rows and columns of the path, from its end; and a mask, True for the cells on it.
    """
    pairs, height, width = cost.shape
    total = np.full((3, pairs, height + 1), np.inf)  # three anti-diagonals; [.., i + 1] is the cell in row i
    moves = np.zeros((height + width - 1, pairs, height), dtype=np.int8)
    for line in range(height + width - 1):
        low, high = max(0, line - width + 1), min(height, line + 1)
        rows = np.arange(low, high)
        now, before, earlier = (total[(line - back) % 3] for back in range(3))
        now[:] = np.inf
        if line == 0:
            now[:, 1] = 0.0
            continue
        options = np.stack([earlier[:, low:high], before[:, low:high], before[:, low + 1 : high + 1]])
        moves[line, :, low:high] = options.argmin(axis=0)
        now[:, low + 1 : high + 1] = options.min(axis=0) + cost[:, rows, line - rows]
    row, column = end_a - 1, end_b - 1
    path_row, path_column = np.zeros((2, len(moves), pairs), dtype=np.int64)
    used = np.zeros((len(moves), pairs), dtype=np.bool_)
    running = np.ones(pairs, dtype=np.bool_)
    each = np.arange(pairs)
    for step in range(len(moves)):
        path_row[step], path_column[step], used[step] = row, column, running
        move = moves[row + column, each, row]
        running = running & (row + column > 0)
        row = row - (running & (move != 2))
        column = column - (running & (move != 1))
    return path_row.T, path_column.T, used.T


def _masked_median(values: Floats, used: Bools) -> Floats:
    """(P,) median of the used values of each row, NaN if one of them is."""
    count = used.sum(axis=1)
    ordered = np.sort(np.where(used, values, np.inf), axis=1)
    each = np.arange(len(values))
    median = (ordered[each, (count - 1) // 2] + ordered[each, count // 2]) / 2
    return np.where((np.isnan(values) & used).any(axis=1), np.nan, median)
