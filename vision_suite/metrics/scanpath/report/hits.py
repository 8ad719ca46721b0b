"""How fast targets are found, as a curve over fixations with a bootstrap interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vision_suite.metrics.scanpath.paths import Floats, Scanpath
from vision_suite.metrics.scanpath.report.protocol import bootstrap
from vision_suite.metrics.scanpath.report.trials import TrialLike
from vision_suite.metrics.scanpath.search import steps_to_objects

LONGEST = 50  # fixations


def hit_curve(
    trials: Sequence[TrialLike],
    paths: Sequence[Sequence[Scanpath]],
    groups: Sequence[Sequence[int]],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Floats | None:
    """Share of paths that have hit an object of the target by each fixation, given ones included.

    `search_efficiency` averages over tasks and has no interval; here every stimulus counts alike.

    Args:
        trials: People's.
        paths: By trial.
        groups: Places of the trials of each stimulus that has a target.
        resamples: Bootstrap draws over stimuli.
        seed: Of the draws.

    Returns:
        (3, K) mean and ends of the 95% interval by fixation 1..K, K the longest trial, at most 50; None without paths.
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
