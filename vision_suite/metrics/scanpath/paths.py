"""Scanpaths as the metrics read them, and helpers of metrics over many pairs in one call.

Every batched metric takes ``paths`` (each scanpath once) and ``pairs`` (P, 2) int64, indices into ``paths``; a path
that is compared with a hundred others is prepared once.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vision_suite.errors import DataError
from vision_suite.types import PADDING
from vision_suite.types.arrays import Bools, Floats, Ints

CELLS = 1 << 20  # of one working array: 8 MiB in float64, which stays near the processor
LONGEST_FIXATION = 60.0  # seconds; anything longer was given in milliseconds


@dataclass(frozen=True)
class Scanpath:
    """Fixations of one observer, or of one sample of a model.

    Attributes:
        objects: n indices of objects, ``BACKGROUND`` where no object was hit, never ``PADDING``; or None.
        xy: (n, 2) pixels, or None.
        duration: (n,) seconds, NaN where unknown; or None.
        observer: Identity of the observer. Scanpaths of one observer are never compared in a human ceiling.
        terminated: False where the path was cut at its longest allowed length.

    Raises:
        DataError: The parts differ in length, padding is left, a point is not finite, or durations look like ms.

    Example:
        >>> path = Scanpath([3, 7, 9], xy=[(0, 0), (40, 30), (80, 0)], observer="a")
        >>> len(path), len(path.cut(2)), path.cut(2).terminated
        (3, 2, False)
    """

    objects: Sequence[int] | Ints | None = None
    xy: Sequence[Sequence[float]] | npt.NDArray[Any] | None = None
    duration: Sequence[float] | npt.NDArray[Any] | None = None
    observer: Hashable = None
    terminated: bool = True

    def __post_init__(self) -> None:
        given = {"objects": self.objects, "xy": self.xy, "duration": self.duration}
        lengths = {name: len(part) for name, part in given.items() if part is not None}
        if not lengths.keys() & {"objects", "xy"} or len(set(lengths.values())) > 1:
            raise DataError(f"a scanpath needs objects or xy, all of one length, got lengths {lengths}")
        if self.objects is not None and PADDING in np.asarray(self.objects):
            raise DataError(f"objects hold padding ({PADDING}): cut each sequence to its own length first")
        if self.xy is not None:
            as_fixations(self.fixations, "a scanpath")
        check_seconds(self.seconds, "a scanpath")

    def __len__(self) -> int:
        """Number of fixations."""
        part = self.objects if self.objects is not None else self.xy
        return 0 if part is None else len(part)

    @property
    def fixations(self) -> Floats:
        """(n, 3) x, y in pixels and duration in seconds, NaN where unknown."""
        if self.xy is None:
            raise DataError("this score needs xy in pixels of every scanpath: give Scanpath(xy=...)")
        out = np.full((len(self), 3), np.nan)
        out[:, :2] = np.asarray(self.xy, dtype=np.float64).reshape(-1, 2)
        out[:, 2] = self.seconds
        return out

    @property
    def seconds(self) -> Floats:
        """(n,) durations in seconds, NaN where unknown."""
        return np.full(len(self), np.nan) if self.duration is None else np.asarray(self.duration, dtype=np.float64)

    def cut(self, fixations: int | None, drop_first: bool = False) -> Scanpath:
        """The path cut to its first ``fixations`` (None: not cut), without the very first one if ``drop_first``."""
        kept = slice(int(drop_first), fixations)
        objects = None if self.objects is None else self.objects[kept]
        xy = None if self.xy is None else self.xy[kept]
        duration = None if self.duration is None else self.duration[kept]
        whole = fixations is None or len(self) <= fixations
        return Scanpath(objects, xy, duration, self.observer, self.terminated and whole)

    def after(self, fixations: int) -> Scanpath:
        """The path without its first ``fixations``."""
        objects = None if self.objects is None else self.objects[fixations:]
        xy = None if self.xy is None else self.xy[fixations:]
        duration = None if self.duration is None else self.duration[fixations:]
        return Scanpath(objects, xy, duration, self.observer, self.terminated)


def unpadded(
    sequence: npt.ArrayLike,
    xy: npt.ArrayLike | None = None,
    duration: npt.ArrayLike | None = None,
    *,
    observers: Sequence[Hashable] | None = None,
    terminated: Sequence[bool] | Bools | None = None,
) -> list[Scanpath]:
    """Scanpaths from the padded rows of a batch (`vision_suite.types.ScanpathBatch`).

    Args:
        sequence: (B, L) objects, ``BACKGROUND``, or ``PADDING`` behind the end.
        xy: (B, L, 2) pixels; a row without any known point has none.
        duration: (B, L) seconds, NaN where unknown.
        observers: Observer of each row.
        terminated: (B,) bool, False where the path was cut.

    Returns:
        B scanpaths.

    Raises:
        DataError: Padding stands before a fixation, or a row is malformed.

    Example:
        >>> [path.objects.tolist() for path in unpadded([[4, 2, -1], [0, 1, 5]])]
        [[4, 2], [0, 1, 5]]
    """
    objects = np.asarray(sequence, dtype=np.int64)
    lengths = (objects != PADDING).sum(axis=1)
    if (objects[np.arange(objects.shape[1]) < lengths[:, None]] == PADDING).any():
        raise DataError(f"padding ({PADDING}) stands before a fixation: pad sequences at their end only")
    paths = []
    for row, length in enumerate(lengths):
        points = None if xy is None else np.asarray(xy)[row, :length]
        paths.append(
            Scanpath(
                objects[row, :length],
                None if points is None or np.isnan(points).all() else points,
                None if duration is None else np.asarray(duration)[row, :length],
                None if observers is None else observers[row],
                True if terminated is None else bool(terminated[row]),
            )
        )
    return paths


def as_fixations(path: npt.ArrayLike, name: str) -> Floats:
    """(n, 3) float64 x, y, duration of a scanpath; durations of an [n, 2] array are NaN.

    Args:
        path: [n, 3] or [n, 2] array; pixels and seconds.
        name: Name of the path in an error.

    Raises:
        DataError: The shape is another, a coordinate is not finite, or a duration is negative or looks like ms.

    Example:
        >>> as_fixations([(40, 30), (80, 0)], "a scanpath").tolist()
        [[40.0, 30.0, nan], [80.0, 0.0, nan]]
        >>> as_fixations([(40, 30, 0.25)], "a scanpath").tolist()
        [[40.0, 30.0, 0.25]]
    """
    try:
        array = np.asarray(path, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is no table of numbers ({error}): give [n, 3] or [n, 2]") from None
    if array.size == 0:
        return np.empty((0, 3))
    if array.ndim != 2 or array.shape[1] not in (2, 3):
        raise DataError(f"{name} has shape {array.shape}: give [n, 3] (x, y in pixels, duration in seconds) or [n, 2]")
    if array.shape[1] == 2:
        array = np.column_stack([array, np.full(len(array), np.nan)])
    if not np.isfinite(array[:, :2]).all():
        raise DataError(f"{name} has coordinates that are not finite: drop those fixations first")
    check_seconds(array[:, 2], name)
    return array


def check_seconds(duration: Floats, name: str) -> None:
    """Refuse durations that can't be seconds; NaN (unknown) passes.

    Raises:
        DataError: A duration is negative, infinite or longer than a minute.

    Example:
        >>> check_seconds(np.array([0.25, np.nan]), "a scanpath")
        >>> check_seconds(np.array([250.0]), "a scanpath")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        vision_suite.errors.DataError: a scanpath has a duration of 250: durations are seconds, 0 to 60; ...
    """
    wrong = (duration < 0) | (duration > LONGEST_FIXATION)
    if wrong.any():
        raise DataError(
            f"{name} has a duration of {duration[wrong][0]:g}: durations are seconds, 0 to {LONGEST_FIXATION:g}; "
            "divide milliseconds by 1000"
        )


def as_pairs(pairs: npt.ArrayLike, paths: int) -> Ints:
    """(P, 2) int64 indices of paths.

    Raises:
        DataError: The shape is another or an index is out of range.

    Example:
        >>> as_pairs([(0, 1), (0, 2)], paths=3).tolist()
        [[0, 1], [0, 2]]
        >>> as_pairs([(0, 3)], paths=3)
        Traceback (most recent call last):
            ...
        vision_suite.errors.DataError: pairs name path 3 of 3 paths
    """
    array = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    if array.size and (array.min() < 0 or array.max() >= paths):
        raise DataError(f"pairs name path {array.max() if array.min() >= 0 else array.min()} of {paths} paths")
    return array


def padded(arrays: Sequence[Floats], columns: int) -> tuple[Floats, Ints]:
    """(N, L, columns) zero-padded float64 and (N,) int64 lengths of arrays [n, columns].

    Example:
        >>> table, lengths = padded([np.ones((1, 2)), np.ones((2, 2))], columns=2)
        >>> table.tolist(), lengths.tolist()
        ([[[1.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]], [1, 2])
    """
    lengths = np.array([len(array) for array in arrays], dtype=np.int64)
    out = np.zeros((len(arrays), int(lengths.max(initial=0)), columns))
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return out, lengths


def chunks(first: Ints, second: Ints, cells: int = CELLS) -> Iterator[Ints]:
    """Indices of pairs in chunks of similar length whose padded tables stay below a number of cells.

    Args:
        first: (P,) lengths of the first paths.
        second: (P,) lengths of the second paths.
        cells: Largest number of cells of the tables first x second of a chunk.

    Example:
        >>> lengths = np.array([2, 9, 3])
        >>> [rows.tolist() for rows in chunks(lengths, lengths, cells=32)]
        [[1], [2, 0]]
    """
    # Long pairs come first: a few of them must not make the tables of all others wide.
    order = np.argsort(-np.maximum(first, second), kind="stable")
    while len(order):
        table = int(first[order].max() + 1) * int(second[order].max() + 1)
        size = max(1, cells // table)
        yield order[:size]
        order = order[size:]
