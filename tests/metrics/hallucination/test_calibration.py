"""Thresholds and reliability: found by trying every pair by hand, and laws of the choice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.errors import ConfigError
from vision_suite.metrics.hallucination.agreement import decisions
from vision_suite.metrics.hallucination.calibration import choose_thresholds, thresholds_by_class
from vision_suite.metrics.reliability import calibration_error, reliability


def drawn(seed, count=120):
    generator = np.random.default_rng(seed)
    real = generator.random(count) < 0.6
    scores = np.clip(generator.normal(np.where(real, 0.6, 0.4)[:, None], 0.15, (count, 2)), 0, 1).round(2)
    return scores, real


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_verdicts_are_precise_and_no_pair_of_thresholds_gives_more(seed):
    scores, real = drawn(seed)
    found = choose_thresholds(scores, real, 0.9)
    best = 0
    grids = [np.unique(column) for column in scores.T]
    for one in grids[0]:
        for two in grids[1]:
            verdict = (scores >= [one, two]).all(1)
            if verdict.sum() >= 10 and real[verdict].mean() >= 0.9:
                best = max(best, int(verdict.sum()))
    decided = decisions(scores, found.high, found.low)
    present, absent = (decided == 1).all(1), (decided == 0).all(1)
    assert present.sum() == best == round(found.present * len(real))
    assert not best or real[present].mean() == pytest.approx(found.present_precision)
    assert not absent.any() or (~real[absent]).mean() == pytest.approx(found.absent_precision)
    assert not absent.any() or np.any(found.low == found.high) or found.absent_precision >= 0.9


def test_perfect_scores_leave_nothing_uncertain():
    real = np.array([False] * 20 + [True] * 20)
    scores = np.where(real, 0.9, 0.1)[:, None] + np.linspace(0, 0.05, 40)[:, None]
    found = choose_thresholds(scores, real, 1.0)
    assert (found.present, found.absent) == (0.5, 0.5)
    assert (found.present_precision, found.absent_precision) == (1.0, 1.0)


def test_too_few_or_hopeless_objects_give_no_threshold():
    found = choose_thresholds(np.full((30, 2), 0.5), np.arange(30) % 2 == 0)
    assert np.isnan(found.high).all()
    assert np.isnan(found.low).all()
    assert np.isnan(decisions(np.full((3, 2), 0.5), found.high, found.low)).all(), "nobody decides by it"
    assert np.isnan(choose_thresholds(np.full((3, 1), np.nan), np.ones(3, bool)).high).all()


def test_a_small_class_takes_the_thresholds_of_all():
    scores, real = drawn(0, 400)
    names = ["dog"] * 397 + ["cat"] * 3
    found = thresholds_by_class(names, scores, real, 0.9)
    shared = choose_thresholds(scores, real, 0.9)
    assert np.array_equal(found["cat"].high, shared.high)
    assert np.array_equal(found["dog"].high, choose_thresholds(scores[:397], real[:397], 0.9).high)


def test_reliability_of_calibrated_scores():
    generator = np.random.default_rng(0)
    scores = generator.random(20_000)
    curve = reliability(np.append(scores, np.nan), np.append(generator.random(20_000) < scores, True))
    assert sum(each.count for each in curve) == 20_000
    assert calibration_error(curve) < 0.02
    assert calibration_error(reliability(scores, generator.random(20_000) < scores**3)) > 0.1
    with pytest.raises(ConfigError, match="give scores from 0 to 1"):
        reliability(np.array([2.0]), np.array([True]))


def test_arrays_that_do_not_fit_are_one_line():
    with pytest.raises(ConfigError, match=r"scores \(3,\) and labels \(3,\)"):
        choose_thresholds(np.zeros(3), np.zeros(3, bool))
