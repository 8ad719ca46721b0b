"""Bands, thresholds and stopped runs of hyperband."""

import math

import pytest

from vision_suite.sweeps.hyperband import bands, thresholds, to_stop
from vision_suite.sweeps.settings import HyperbandSettings

# Accuracies of seven runs, all but d still running.
SEVEN = {1: [0.9, 0.5], 2: [0.2, 0.6], 3: [0.4, 0.4], 5: [0.1], 6: [0.9, 0.1], 7: [0.3, 0.7, 0.2]}
FINISHED = [[0.8, 0.8]]
NAMES = "abcdefg"


@pytest.mark.parametrize(("settings", "expected"), [
    ({"max_iter": 27, "s": 2}, [3, 9]),
    ({"max_iter": 5, "s": 2, "eta": 2}, [1, 2]),
    ({"max_iter": 3, "s": 9, "eta": 2}, [1]),
    ({"min_iter": 3}, [3, 9, 27, 81]),
    ({"min_iter": 3, "eta": 1.5}, [3, 4, 6, 10, 15]),
])  # fmt: skip
def test_bands(settings, expected):
    assert bands(HyperbandSettings(**settings))[: len(expected)] == expected


def test_bands_below_a_whole_run_end():
    assert len(bands(HyperbandSettings(max_iter=27, s=2))) == 2


def negated(history):
    return [-value for value in history]


@pytest.mark.parametrize(("strict", "stopped"), [(True, "cef"), (False, "ce")])
def test_seven_runs(strict, stopped):
    settings = HyperbandSettings(min_iter=1, eta=2, strict=strict)
    running = {number: negated(history) for number, history in SEVEN.items()}
    others = [negated(history) for history in FINISHED]
    assert thresholds(settings, [*running.values(), *others])[:3] == [-0.4, -0.5, math.inf]
    assert "".join(NAMES[number - 1] for number in to_stop(settings, running, others)) == stopped


def test_a_lonely_run_goes_on():
    assert to_stop(HyperbandSettings(min_iter=1), {1: [3.0, 2.0, 5.0]}, []) == []
