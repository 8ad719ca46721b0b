"""Next point of a sweep, from its file, its seed and its history alone: a resumed sweep proposes what it would have."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Any

from vision_suite.sweeps.bayes import next_place
from vision_suite.sweeps.events import TrialEvents
from vision_suite.sweeps.settings import SweepFile

Proposal = tuple[dict[str, Any], list[float] | None]
STARTS = 3  # random points of the Bayesian mode


def propose(sweep: SweepFile, events: TrialEvents, seed: int) -> Proposal | None:
    """Arguments of the next trial and its place in the unit cube; None if a grid is exhausted.

    Args:
        sweep: The sweep.
        events: Its history.
        seed: Seed of the sweep.
    """
    if sweep.method == "grid":
        taken = {sweep.key(trial.args) for trial in events.trials.values()}
        return next(((point, None) for key, point in sweep.points.items() if key not in taken), None)
    number = len(events.trials) + 1
    searched = [each for each in sweep.parameters if not each.is_constant]
    place: Sequence[float] | None = None
    if sweep.method == "bayes" and number > STARTS and sweep.metric is not None:
        place = next_place(sweep.metric, events, len(searched), trial_seed(seed, number))
    if place is None:
        draw = random.Random(trial_seed(seed, number))
        place = [draw.random() for _ in searched]
    return arguments_at(sweep, place), list(place)


def arguments_at(sweep: SweepFile, place: Sequence[float]) -> dict[str, Any]:
    """Arguments at a place of the unit cube of the searched parameters."""
    rest = iter(place)
    return sweep.args([each.at(0.5 if each.is_constant else next(rest)) for each in sweep.parameters])


def trial_seed(seed: int, number: int) -> int:
    """Seed of one trial's proposal: SHA-256 of both numbers, modulo 2^32.

    Args:
        seed: Seed of the sweep.
        number: Number of the trial.
    """
    return int.from_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest(), "big") % 2**32
