"""Early termination by hyperband (Li et al., JMLR 2018), by the rules of W&B's engine.

Bands count logged values of the metric, not steps or epochs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from vision_suite.sweeps.settings import HyperbandSettings

MOST_BANDS = 100


def bands(settings: HyperbandSettings) -> list[int]:
    """Numbers of values at which trials are compared, in ascending order.

    Example:
        >>> bands(HyperbandSettings(max_iter=27, s=2))
        [3, 9]
        >>> bands(HyperbandSettings(min_iter=3, eta=1.5))[:5]
        [3, 4, 6, 10, 15]
    """
    if settings.max_iter is not None and settings.s is not None:
        found, band = [], float(settings.max_iter)
        for _ in range(settings.s):
            band /= settings.eta
            if band < 1:
                break
            found.append(int(band))
        return sorted(found)
    band = float(settings.min_iter or 1)
    found = []
    while len(found) < MOST_BANDS and math.isfinite(band):
        found.append(int(band))
        band *= settings.eta
    return found


def thresholds(settings: HyperbandSettings, histories: Sequence[Sequence[float]]) -> list[float]:
    """Greatest value of each band with which a trial goes on; infinity for a band that none has reached.

    Args:
        settings: Settings of the file.
        histories: Values of every trial in order, finished ones too; less is better.
    """
    found = []
    for band in bands(settings):
        reached = sorted(history[band - 1] for history in histories if len(history) >= band)
        found.append(reached[int(len(reached) * (1.0 / settings.eta))] if reached else math.inf)
    return found


def to_stop(
    settings: HyperbandSettings, running: Mapping[int, Sequence[float]], others: Sequence[Sequence[float]]
) -> list[int]:
    """The running trials that are stopped.

    Args:
        settings: Settings of the file.
        running: Values of each running trial in order, by its number; less is better.
        others: Values of every other trial.
    """
    limits = thresholds(settings, [*running.values(), *others])
    found = []
    for number, history in running.items():
        reached = [(band, limit) for band, limit in zip(bands(settings), limits, strict=True) if band <= len(history)]
        if not reached:
            continue
        band, limit = reached[-1]
        if (history[band - 1] if settings.strict else min(history)) > limit:
            found.append(number)
    return found
