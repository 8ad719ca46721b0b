"""Symbols of fixations for string metrics: repetition by duration, semantic labels, grid cells and grid letters."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.scanpath.paths import as_fixations, check_seconds
from vision_suite.metrics.scanpath.screens import check_points, screen_sizes
from vision_suite.types import BACKGROUND
from vision_suite.types.arrays import Floats, Ints

LONGEST_STEP = 1.0  # seconds, longer than fixations are; milliseconds are never guessed


def check_step(step: float, name: str) -> None:
    """Refuse a step of time that can't be seconds.

    Raises:
        ConfigError: The step is not positive, or longer than a second.

    Example:
        >>> check_step(0.05, "step")
        >>> check_step(50, "step")
        Traceback (most recent call last):
            ...
        vision_suite.errors.ConfigError: step=50 must be in seconds, above 0 and at most 1: 50 ms are 0.05
    """
    if not 0 < step <= LONGEST_STEP:
        raise ConfigError(f"{name}={step:g} must be in seconds, above 0 and at most {LONGEST_STEP:g}: 50 ms are 0.05")


def repeats(duration: npt.ArrayLike, step: float, *, rounded: bool = False) -> Ints | None:
    """Number of repetitions of each symbol for its duration.

    Args:
        duration: (n,) seconds.
        step: Seconds per symbol.
        rounded: Round to the nearest, halves to even (ScanMatch); else downwards (Sequence Score by duration).

    Returns:
        (n,) int64, or None if any duration is unknown (NaN), or none of the fixations is long enough for a symbol.

    Raises:
        ConfigError: ``step`` is not in seconds. DataError: A duration is not in seconds.

    Example:
        >>> repeats([0.12, 0.18], step=0.05).tolist()
        [2, 3]
        >>> repeats([0.12, 0.18], step=0.05, rounded=True).tolist()
        [2, 4]
        >>> repeats([0.02, 0.03], step=0.05) is None, repeats([], step=0.05).tolist()
        (True, [])
    """
    check_step(step, "step")
    seconds = np.asarray(duration, dtype=np.float64)
    check_seconds(seconds, "a scanpath")
    if np.isnan(seconds).any():
        return None
    # Whole 10 microseconds first: 1.15 s are 23 times 50 ms, also in float32, whatever their binary fractions.
    ratio = np.round(np.round(seconds * 1e5) / (step * 1e5), 9)
    counts: Ints = (np.round(ratio) if rounded else np.floor(ratio)).astype(np.int64)
    # Without a symbol every two such paths would be equal, wherever their fixations are.
    return None if len(counts) and not counts.any() else counts


def repeat_by_duration(
    symbols: Sequence[Hashable] | npt.NDArray[Any], duration: npt.ArrayLike, step: float = 0.05
) -> list[Hashable] | None:
    """String in which each symbol is repeated int(T / 50 ms) times (Sequence Score and FED with duration).

    A fixation shorter than ``step`` is not written at all, as in the reference code. A path of such fixations only has
    no string, by which scores are NaN; that of a path without fixations is empty.

    Args:
        symbols: Sequence of n symbols.
        duration: (n,) seconds.
        step: Seconds per symbol.

    Returns:
        Symbols, or None if any duration is unknown, or no fixation is long enough for a symbol.

    Raises:
        ConfigError: ``step`` is not in seconds.
        DataError: The numbers of symbols and durations differ, or durations are not in seconds.

    Example:
        >>> repeat_by_duration("AB", [0.12, 0.16])
        ['A', 'A', 'B', 'B', 'B']
        >>> repeat_by_duration("AB", [0.02, 0.03]) is None
        True
    """
    if len(symbols) != np.size(duration):
        raise DataError(f"{len(symbols)} symbols but {np.size(duration)} durations: give one duration per fixation")
    counts = repeats(duration, step)
    if counts is None:
        return None
    return [symbol for symbol, count in zip(symbols, counts, strict=True) for _ in range(count)]


def object_labels(objects: Sequence[int] | Ints, labels: Mapping[int, Hashable] | Sequence[Hashable]) -> list[Hashable]:
    """Category of each fixated object, for the semantic Sequence Score and SemFED.

    Args:
        objects: Indices of objects; ``BACKGROUND`` keeps its own symbol.
        labels: Category of each object.

    Raises:
        DataError: An object has no category.

    Example:
        >>> object_labels([2, 0, -2], ["cup", "fork", "dish"])
        ['dish', 'cup', -2]
    """
    out: list[Hashable] = []
    known = labels if isinstance(labels, Mapping) else dict(enumerate(labels))
    for number in map(int, objects):
        if number != BACKGROUND and number not in known:
            raise DataError(f"object {number} has no category: give one for each of the scene's objects")
        out.append(BACKGROUND if number == BACKGROUND else known[number])
    return out


def labels_at(label_map: npt.NDArray[Any], xy: npt.ArrayLike) -> list[Hashable]:
    """Label under each fixation of a (panoptic) label map, coordinates truncated to int.

    Args:
        label_map: (H, W) labels.
        xy: (n, 2) or (n, 3), x and y in pixels of the map; outside it the border counts, with a warning if many are.

    Raises:
        DataError: The map has no pixel, or coordinates are no pixels.

    Example:
        >>> labels_at(np.array([["sky", "sky"], ["road", "tree"]]), [(0.5, 1.2), (1, 1)])
        ['road', 'tree']
    """
    if np.ndim(label_map) != 2 or not np.size(label_map):
        raise DataError(f"a label map has shape {np.shape(label_map)}: give (H, W), 1 pixel or more")
    height, width = label_map.shape
    exact = as_fixations(xy, "a scanpath")[:, :2]
    check_points([exact], np.array([(width, height)], dtype=np.float64), clamped=True)
    points = exact.astype(np.int64)
    labels: list[Hashable] = label_map[points[:, 1].clip(0, height - 1), points[:, 0].clip(0, width - 1)].tolist()
    return labels


def check_bins(bins: tuple[int, int]) -> None:
    """Refuse numbers of columns and rows that make no grid.

    Raises:
        ConfigError: There is no column or no row.

    Example:
        >>> check_bins((16, 0))
        Traceback (most recent call last):
            ...
        vision_suite.errors.ConfigError: bins=(16, 0) must be whole numbers of columns and rows, 1 or more
    """
    if np.shape(bins) != (2,) or not all(number >= 1 and number % 1 == 0 for number in bins):
        raise ConfigError(f"bins={bins} must be whole numbers of columns and rows, 1 or more")


def grid_cells(xy: Floats, screen_size: Floats, bins: tuple[int, int]) -> Ints:
    """Row-major grid cell of each point; points are clamped into the screen and truncated to whole pixels.

    Args:
        xy: (n, 2) pixels.
        screen_size: (2,) width, height in pixels.
        bins: Columns, rows.

    Raises:
        ConfigError: There is no column or no row, or more of them than pixels.

    Example:
        >>> grid_cells(np.array([(10, 10), (999, 0), (310, 230)]), np.array([320, 240]), bins=(16, 12)).tolist()
        [0, 15, 191]
    """
    check_bins(bins)
    if (screen_size < bins).any():
        raise ConfigError(
            f"bins={tuple(bins)} on a screen of {screen_size[0]:g} x {screen_size[1]:g} pixels: points count as whole "
            "pixels, so that a screen has a pixel or more for each bin; give coordinates and screen_size in pixels"
        )
    pixel = np.trunc(np.clip(xy, 0, screen_size - 1))
    column, row = np.minimum(np.floor(pixel * bins / screen_size), np.array(bins) - 1).astype(np.int64).T
    cells: Ints = row * bins[0] + column
    return cells


def grid_letters(xy: npt.ArrayLike, screen_size: tuple[float, float], cells: int = 5) -> str:
    """String of grid letters, ``a`` top left, row by row (SED uses 5 x 5 cells).

    Args:
        xy: (n, 2) or (n, 3), pixels.
        screen_size: Width, height in pixels.
        cells: Columns and rows; at most 5, which leaves one lower-case letter per cell.

    Raises:
        ConfigError: ``cells`` is out of range.
        DataError: The size of the screen is not positive, or coordinates are no pixels.

    Example:
        >>> grid_letters([(10, 10), (450, 90)], screen_size=(500, 500))
        'ae'
    """
    if cells not in range(1, 6):
        raise ConfigError(f"cells={cells} must be 1 to 5, one lower-case letter per cell")
    sizes, points = screen_sizes(screen_size, 1), as_fixations(xy, "a scanpath")[:, :2]
    check_points([points], sizes, clamped=True)
    numbers = grid_cells(points, sizes[0], (cells, cells))
    return letters_of(numbers)


def letters_of(cells: Ints) -> str:
    """String with a letter for each of (n,) numbers of cells below 26.

    Example:
        >>> letters_of(np.array([0, 4]))
        'ae'
    """
    return "".join(chr(ord("a") + number) for number in cells)
