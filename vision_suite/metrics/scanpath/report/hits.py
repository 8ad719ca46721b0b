"""Speed of search: share of paths that have hit the target, over fixations, with a bootstrap interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vision_suite.metrics.scanpath.paths import Scanpath
from vision_suite.metrics.scanpath.report.protocol import bootstrap
from vision_suite.metrics.scanpath.search import steps_to_objects
from vision_suite.types import Trial
from vision_suite.types.arrays import Floats

LONGEST = 50  # fixations


def hit_curve(
    trials: Sequence[Trial],
    paths: Sequence[Sequence[Scanpath]],
    groups: Sequence[Sequence[int]],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Floats | None:
    """Share of paths that have hit an object of the target by each fixation, given ones included.

    `search_efficiency` averages over tasks and has no interval; here every stimulus counts alike.

    Args:
        trials: Recorded trials.
        paths: Paths by trial.
        groups: Indices of the trials of each stimulus that has a target.
        resamples: Number of bootstrap draws over stimuli.
        seed: Seed of the draws.

    Returns:
        (3, K) float64 mean and ends of the 95% interval by fixation 1..K, K the longest trial, at most 50; None without
        paths.

    Example:
        >>> from vision_suite.types import Condition, Trial
        >>> sequence, xy, seconds = np.array([0, 2]), np.zeros((2, 2)), np.ones(2)
        >>> trial = Trial("page", "ann", "cup", Condition.PRESENT, (2,), 2, sequence, xy, seconds)
        >>> curve = hit_curve([trial], [[Scanpath([0, 2]), Scanpath([0, 1])]], groups=[[0]])
        >>> curve[0].tolist()
        [0.0, 0.5]
    """
    longest = min(LONGEST, max((len(trials[n].sequence) for group in groups for n in group), default=0))
    shares = []
    for group in groups:
        own = [(path.objects, trials[n].targets) for n in group for path in paths[n]]
        steps = np.array([steps_to_objects(objects, targets) for objects, targets in own if objects is not None])
        if len(steps):
            shares.append((steps[:, None] <= np.arange(1, longest + 1)).mean(axis=0))
    if not shares or not longest:
        return None
    table = np.stack(shares)
    ends = [bootstrap(column, _mean, resamples=resamples, seed=seed) for column in table.T]
    return np.concatenate([table.mean(axis=0)[None], np.array(ends).T])


def _mean(values: Floats) -> Floats:
    mean: Floats = values.mean(axis=1)
    return mean
