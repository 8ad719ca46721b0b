"""Search efficiency: number of fixations until the target is hit, and straightness of the path to it."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.scanpath.paths import as_fixations
from vision_suite.types.arrays import Floats, Ints


@dataclass(frozen=True)
class SearchEfficiency:
    """Speed at which targets are found (target-present search).

    Attributes:
        cdf: (max_steps + 1,) share of paths on the target by fixation 1, 2, ...; fixation 1 is the given one.
        tfp: (max_steps,) target fixation probability after 1, 2, ... eye movements: ``cdf`` one fixation on.
        auc: TFP-AUC, the sum of ``cdf`` as in the reference code.
        paths: Number of paths that count.
        tasks: Number of tasks that were averaged.
    """

    cdf: Floats
    tfp: Floats
    auc: float
    paths: int
    tasks: int

    def mismatch(self, other: SearchEfficiency) -> float:
        """Probability mismatch: sum of the absolute differences of two curves of one length.

        Raises:
            DataError: The lengths differ.
        """
        if len(self.cdf) != len(other.cdf):
            raise DataError(f"curves of {len(self.cdf)} and {len(other.cdf)} fixations: use one max_steps for both")
        return float(np.abs(self.cdf - other.cdf).sum())


def steps_to_box(xy: npt.ArrayLike, box: npt.ArrayLike) -> float:
    """Number, from 1, of the first fixation strictly inside a box; inf if there is none. Edges do not count.

    Args:
        xy: (n, 2) or (n, 3) pixels, the initial fixation being the first.
        box: x, y, width, height in pixels.

    Raises:
        DataError: A path or box is malformed.

    Example:
        >>> steps_to_box([(50, 50), (10, 90), (95, 15)], box=(90, 10, 20, 20))
        3.0
    """
    left, top, width, height = _box(box)
    x, y = as_fixations(xy, "a scanpath")[:, :2].T
    hits = np.flatnonzero((x > left) & (x < left + width) & (y > top) & (y < top + height))
    return float(hits[0] + 1) if len(hits) else float("inf")


def steps_to_objects(sequence: Sequence[int] | Ints, targets: Collection[int]) -> float:
    """Number, from 1, of the first fixation on a target object.

    Args:
        sequence: Objects in order.
        targets: Objects that count as found.

    Returns:
        1 or more, inf if none is hit, NaN if there is no target to be hit: leave these out and count them.

    Example:
        >>> steps_to_objects([3, 7, 9], targets={7}), steps_to_objects([3, 9], targets={7})
        (2.0, inf)
    """
    if not len(targets):
        return float("nan")
    hits = np.flatnonzero(np.isin(np.asarray(sequence, dtype=np.int64), list(targets)))
    return float(hits[0] + 1) if len(hits) else float("inf")


def search_efficiency(
    steps: npt.ArrayLike, max_steps: int, tasks: Sequence[Hashable] | None = None
) -> SearchEfficiency:
    """Curve of target fixation probability.

    Args:
        steps: (n,) number of the first fixation on the target, 1 or more, inf for never.
        max_steps: Number of steps after the initial fixation (6 on COCO-Search18).
        tasks: Task of each path: curves are averaged over tasks, not over paths. None: one task.

    Raises:
        ConfigError: ``max_steps`` is below 1.
        DataError: There is no path, tasks are not one per path, or a step is no whole number of 1 or more.

    Example:
        >>> found = search_efficiency([2, 3, float("inf"), 2], max_steps=2)
        >>> found.cdf.tolist(), found.auc
        ([0.0, 0.5, 0.75], 1.25)
    """
    first = np.asarray(steps, dtype=np.float64).reshape(-1)
    labels: Sequence[Hashable] = [None] * len(first) if tasks is None else tasks
    if not (max_steps >= 1 and max_steps % 1 == 0):
        raise ConfigError(f"max_steps={max_steps} must be a whole number, 1 or more")
    if not len(first) or len(labels) != len(first):
        raise DataError(f"{len(first)} paths, {len(labels)} tasks: give 1 path or more, and a task for each")
    wrong = ~((first >= 1) & (first == np.round(first)))
    if wrong.any():
        raise DataError(
            f"{int(wrong.sum())} of {len(first)} steps are no numbers of a fixation, such as {first[wrong][0]:g}: "
            "fixations count from 1, inf is never, and paths without a target are left out"
        )
    groups: dict[Hashable, list[float]] = {}
    for label, hit in zip(labels, first.tolist(), strict=True):
        groups.setdefault(label, []).append(hit)
    count = np.arange(1, max_steps + 2)
    curves = [(np.array(group)[:, None] <= count).mean(axis=0) for group in groups.values()]
    cdf: Floats = np.mean(curves, axis=0)
    return SearchEfficiency(cdf, cdf[1:], float(cdf.sum()), len(first), len(groups))


def scanpath_ratio(xy: npt.ArrayLike, box: npt.ArrayLike) -> float:
    """Distance from the first fixation to the box's centre over the length of the path to its first hit, at most 1.

    Args:
        xy: (n, 2) or (n, 3) pixels.
        box: x, y, width, height in pixels.

    Returns:
        0..1; NaN for a path that misses the box or starts in it: leave these out and count them.

    Raises:
        DataError: A path or box is malformed.

    Example:
        >>> round(scanpath_ratio([(0, 0), (30, 0), (30, 40)], box=(25, 35, 10, 10)), 3)
        0.714
    """
    steps = steps_to_box(xy, box)
    if not 1 < steps < np.inf:
        return float("nan")
    left, top, width, height = _box(box)
    points = as_fixations(xy, "a scanpath")[: int(steps), :2]
    length = float(np.hypot(*np.diff(points, axis=0).T).sum())
    straight = float(np.hypot(*(points[0] - (left + width / 2, top + height / 2))))
    return min(1.0, straight / length)


def _box(box: npt.ArrayLike) -> Floats:
    values = np.asarray(box, dtype=np.float64).reshape(-1)
    if values.shape != (4,) or not np.isfinite(values).all() or (values[2:] <= 0).any():
        raise DataError(f"box={values.tolist()} must be x, y, width, height in pixels, with a positive size")
    return values
