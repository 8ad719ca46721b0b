"""Search efficiency: how many fixations until the target is hit, and how straight the way there is."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vision_suite.errors import DataError
from vision_suite.metrics.scanpath.paths import Floats, Ints, as_fixations


@dataclass(frozen=True)
class SearchEfficiency:
    """How fast targets are found (target-present search).

    Attributes:
        cdf: (max_steps + 1,) share of paths on the target by fixation 1, 2, ...; fixation 1 is the given one.
        tfp: (max_steps,) target fixation probability after 1, 2, ... steps of the eye: ``cdf`` one fixation on.
        auc: TFP-AUC, the sum of ``cdf`` as in the reference code.
        paths: Paths that count. tasks: Groups of them that were averaged.
    """

    cdf: Floats
    tfp: Floats
    auc: float
    paths: int
    tasks: int

    def mismatch(self, other: SearchEfficiency) -> float:
        """Probability mismatch: sum of the absolute differences of two curves of one length."""
        if len(self.cdf) != len(other.cdf):
            raise DataError(f"curves of {len(self.cdf)} and {len(other.cdf)} fixations: use one max_steps for both")
        return float(np.abs(self.cdf - other.cdf).sum())


def steps_to_box(xy: npt.ArrayLike, box: npt.ArrayLike) -> float:
    """Place, from 1, of the first fixation strictly inside a box; inf if there is none. Edges do not count.

    Args:
        xy: (n, 2) or (n, 3) pixels, the initial fixation being the first.
        box: x, y, width, height in pixels.

    Raises:
        DataError: A path or box is malformed.
    """
    left, top, width, height = _box(box)
    x, y = as_fixations(xy, "a scanpath")[:, :2].T
    hits = np.flatnonzero((x > left) & (x < left + width) & (y > top) & (y < top + height))
    return float(hits[0] + 1) if len(hits) else float("inf")


def steps_to_objects(sequence: Sequence[int] | Ints, targets: Collection[int]) -> float:
    """Place, from 1, of the first fixation on a target object; inf if there is none.

    Args:
        sequence: Objects in order.
        targets: Objects that count as found.
    """
    hits = np.flatnonzero(np.isin(np.asarray(sequence, dtype=np.int64), list(targets)))
    return float(hits[0] + 1) if len(hits) else float("inf")


def search_efficiency(
    steps: npt.ArrayLike, max_steps: int, tasks: Sequence[Hashable] | None = None
) -> SearchEfficiency:
    """Curve of target fixation probability.

    Args:
        steps: (n,) places of the first hit, inf for never.
        max_steps: Steps after the initial fixation (6 on
            COCO-Search18).
        tasks: Task of each path: curves are averaged over tasks, not over paths. None: all in one.

    Raises:
        DataError: There is no path, or tasks are not one per path.
    """
    places = np.asarray(steps, dtype=np.float64).reshape(-1)
    labels: Sequence[Hashable] = [None] * len(places) if tasks is None else tasks
    if not len(places) or len(labels) != len(places) or max_steps < 1:
        raise DataError(
            f"{len(places)} paths, {len(labels)} tasks, max_steps={max_steps}: give a task each, 1 step or more"
        )
    groups: dict[Hashable, list[float]] = {}
    for label, place in zip(labels, places, strict=True):
        groups.setdefault(label, []).append(float(place))
    count = np.arange(1, max_steps + 2)
    curves = [(np.array(group)[:, None] <= count).mean(axis=0) for group in groups.values()]
    cdf: Floats = np.mean(curves, axis=0)
    return SearchEfficiency(cdf, cdf[1:], float(cdf.sum()), len(places), len(groups))


def scanpath_ratio(xy: npt.ArrayLike, box: npt.ArrayLike) -> float:
    """Straight way from the first fixation to the box's centre over the way the eye took to its first hit, at most 1.

    Args:
        xy: (n, 2) or (n, 3) pixels.
        box: x, y, width, height in pixels.

    Returns:
        0..1; NaN for a path that misses the box or starts in it: leave these out and count them.

    Raises:
        DataError: A path or box is malformed.
    """
    steps = steps_to_box(xy, box)
    if not 1 < steps < np.inf:
        return float("nan")
    left, top, width, height = _box(box)
    points = as_fixations(xy, "a scanpath")[: int(steps), :2]
    way = float(np.hypot(*np.diff(points, axis=0).T).sum())
    straight = float(np.hypot(*(points[0] - (left + width / 2, top + height / 2))))
    return min(1.0, straight / way)


def _box(box: npt.ArrayLike) -> Floats:
    values = np.asarray(box, dtype=np.float64).reshape(-1)
    if values.shape != (4,) or not np.isfinite(values).all() or (values[2:] <= 0).any():
        raise DataError(f"box={values.tolist()} must be x, y, width, height in pixels, with a positive size")
    return values
