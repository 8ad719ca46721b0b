"""Agreement of two detectors: the oracles of kappa and of the posterior table, and scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from vision_suite.errors import ConfigError
from vision_suite.metrics.hallucination.agreement import (
    Agreement,
    Rates,
    agreement,
    agreement_by_class,
    decisions,
    expected_agreement,
    posterior,
    posteriors,
)

RATES = (Rates(0.90, 0.12), Rates(0.82, 0.08))
NAN = math.nan


def test_the_oracle_of_kappa():
    found = Agreement(both=70, first=9, second=6, neither=15)
    assert found.observed == 0.85
    assert found.expected == pytest.approx(0.6508, abs=1e-12)
    assert found.kappa == pytest.approx(0.5704467353951889, abs=1e-12)


@pytest.mark.parametrize(
    ("verdict", "share", "real"),
    [
        ("first alone: absent", 0.2560, 0.3125),
        ("second alone: absent", 0.3280, 0.4390),
        ("both absent", 0.1763, 0.0817),
        ("both present", 0.5923, 0.9968),
        ("first only", 0.1517, 0.8544),
        ("second only", 0.0797, 0.8233),
    ],
)
def test_the_oracle_of_posteriors(verdict, share, real):
    found = posteriors(0.8, RATES)[verdict]
    assert (round(found.share, 4), round(found.real, 4)) == (share, real)


def test_the_oracle_at_another_prior():
    assert round(1 - posteriors(0.9, RATES)["both absent"].real, 4) == 0.8333
    assert round(1 - posteriors(0.9, RATES)["first alone: absent"].real, 4) == 0.4944
    assert round(expected_agreement(0.8, RATES).kappa, 4) == 0.4439
    assert round(expected_agreement(0.9, RATES).kappa, 4) == 0.3042


def test_a_third_detector_multiplies_as_the_others():
    found = posterior(0.5, [*RATES, Rates(0.5, 0.5)], [True, True, True])
    assert found.real == pytest.approx(posterior(0.5, RATES, [True, True]).real)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=30))
def test_kappa_is_that_of_scikit_learn(pairs):
    first, second = np.array(pairs, dtype=float).T
    found = agreement(first, second)
    with np.errstate(all="ignore"):
        expected = cohen_kappa_score(first, second, labels=[0, 1])
    assert found.total == len(pairs)
    assert found.kappa == pytest.approx(expected, nan_ok=True)


def test_an_abstention_is_uncertain_and_in_no_cell():
    found = agreement(np.array([1, 1, 0, NAN, 0]), np.array([1, 0, 0, 1, NAN]))
    assert found == Agreement(1, 1, 0, 1, abstained=2)
    assert found.uncertain == 3 / 5


def test_classes_are_counted_apart():
    found = agreement_by_class(["dog", "cat", "dog"], np.array([1, 0, 0.0]), np.array([1, 1, 0.0]))
    assert found == {"dog": Agreement(1, 0, 0, 1), "cat": Agreement(0, 0, 1, 0)}


def test_scores_between_two_thresholds_are_no_decision():
    scores = np.array([[0.29, 0.3], [0.49, 0.5], [NAN, 0.9]])
    assert np.array_equal(decisions(scores, 0.5, 0.3), [[0, NAN], [NAN, 1], [NAN, 1]], equal_nan=True)
    assert np.array_equal(decisions(scores, np.array([0.3, 0.5])), [[0, 0], [1, 1], [NAN, 1]], equal_nan=True)
    with pytest.raises(ConfigError, match=r"low=0.5 and high=0.3"):
        decisions(scores, 0.3, 0.5)
    with pytest.raises(ConfigError, match="two lists on the same objects"):
        agreement(np.zeros(2), np.zeros(3))
