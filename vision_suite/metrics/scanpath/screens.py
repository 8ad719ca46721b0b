"""Screens of scanpaths: their sizes, and points that cannot be pixels of them or lie outside."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vision_suite.errors import DataError
from vision_suite.types.arrays import Bools, Floats

MANY = 0.1  # share of fixations outside the screen above which a warning is due
SMALLEST = 2  # pixels; on such a screen shares cannot be told from pixels


def screen_sizes(screen_size: npt.ArrayLike, paths: int) -> Floats:
    """(paths, 2) width, height in pixels from one pair for all paths or one per path.

    Raises:
        DataError: The shape is another, or a size is not positive and finite.

    Example:
        >>> screen_sizes((1280, 1024), paths=2).tolist()
        [[1280.0, 1024.0], [1280.0, 1024.0]]
    """
    array = np.asarray(screen_size, dtype=np.float64)
    if array.shape not in ((2,), (paths, 2)) or not ((array > 0) & np.isfinite(array)).all():
        raise DataError(f"screen_size={array.tolist()} must be a positive width and height in pixels, or one per path")
    return np.broadcast_to(array, (paths, 2))


def outside(xy: Floats, size: npt.ArrayLike) -> Bools:
    """(n,) bool, True for points outside of a screen; its borders belong to it.

    Args:
        xy: (n, 2) pixels; unknown (NaN) points are not outside.
        size: Width, height in pixels, for all or (n, 2).

    Example:
        >>> outside(np.array([(0, 0), (320, 10), (321, 10), (5, -1)]), (320, 240)).tolist()
        [False, False, True, True]
    """
    return np.asarray(((xy < 0) | (xy > np.asarray(size))).any(axis=1))


def are_shares(xy: Floats, size: npt.ArrayLike) -> bool:
    """Tell whether points look like shares of a screen rather than pixels: all from 0 to 1, some in between.

    Args:
        xy: (n, 2) points; unknown (NaN) ones do not count.
        size: Width, height in pixels, for all or (n, 2).

    Example:
        >>> are_shares(np.array([(0.5, 0.5), (0.9, 0.1)]), (320, 240)), are_shares(np.array([(0.5, 90)]), (320, 240))
        (True, False)
    """
    known = xy[np.isfinite(xy).all(axis=1)]
    if not len(known) or np.min(size) <= SMALLEST:
        return False
    return bool(((known >= 0) & (known <= 1)).all() and (known != np.round(known)).any())


def check_points(points: Sequence[Floats], sizes: Floats, *, clamped: bool = False) -> None:
    """Refuse shares of the screen in place of pixels; warn if many points are clamped into it.

    Args:
        points: x, y (n, 2) of each path, in pixels.
        sizes: (paths, 2) width, height of the screen of each path, in pixels.
        clamped: True if points outside count at the screen's border.

    Raises:
        DataError: All coordinates of all paths look like shares of the screen.

    Example:
        >>> check_points([np.array([(0.5, 0.5)])], np.array([(320.0, 240.0)]))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        vision_suite.errors.DataError: all 1 fixations have coordinates from 0 to 1 on a screen of 320 x 240: ...
    """
    if not points:
        return
    every = np.concatenate([path[:, :2] for path in points])
    size = np.repeat(sizes, [len(path) for path in points], axis=0)
    if are_shares(every, sizes):
        raise DataError(
            f"all {len(every)} fixations have coordinates from 0 to 1 on a screen of {sizes[0, 0]:g} x "
            f"{sizes[0, 1]:g}: pixels are expected, multiply shares by the screen's width and height"
        )
    number = int(outside(every, size).sum()) if clamped else 0
    if number > MANY * len(every):
        warnings.warn(
            f"{number} of {len(every)} fixations lie outside the screen of {sizes[0, 0]:g} x {sizes[0, 1]:g} pixels "
            "and count at its border: check screen_size and the unit of the coordinates",
            stacklevel=3,
        )
