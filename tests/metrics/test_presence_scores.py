"""Scores of presence against scikit-learn and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from vision_suite.errors import DataError
from vision_suite.metrics.presence import average_precision, presence_report, rates, roc, youden
from vision_suite.metrics.reliability import reliability


def draw(seed, ties):
    generator = np.random.default_rng(seed)
    present = generator.random((30, 4)) < 0.3
    present[0], present[1] = True, False
    score = np.clip(0.3 * present + 0.7 * generator.random((30, 4)), 0, 1)
    return (np.round(score, 1) if ties else score), present


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_curves_are_those_of_scikit_learn(seed, ties):
    score, present = draw(seed, ties)
    fpr, tpr, threshold = roc(score.ravel(), present.ravel())
    expected = sk.roc_curve(present.ravel(), score.ravel(), drop_intermediate=False)
    np.testing.assert_allclose(fpr, expected[0])
    np.testing.assert_allclose(tpr, expected[1])
    np.testing.assert_array_equal(threshold[1:], expected[2][1:])
    report = presence_report(score, present, list("abcd"), {})
    assert report.metrics["auc"] == pytest.approx(sk.roc_auc_score(present.ravel(), score.ravel()))
    if not ties:
        assert report.metrics["AP"] == pytest.approx(sk.average_precision_score(present.ravel(), score.ravel()))
        columns = [sk.average_precision_score(present[:, n], score[:, n]) for n in range(4)]
        np.testing.assert_allclose(report.average_precision, columns)
        assert report.metrics["mAP"] == pytest.approx(np.mean(columns))


def test_ties_never_help():
    score, present = np.full(4, 0.5), np.array([True, False, False, True])
    assert average_precision(score, present) == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert average_precision(score, present[::-1].copy()) == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert np.isnan(average_precision(score, np.zeros(4, dtype=bool)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_no_threshold_is_better_than_the_chosen_one(seed, ties):
    score, present = (column.ravel() for column in draw(seed, ties))
    best = youden(score, present)
    values = {at: np.subtract(*rates(score, present, at)) for at in score}
    assert values[best] == pytest.approx(max(values.values()))


def test_the_report_keeps_the_threshold_that_it_is_given():
    score, present = draw(3, ties=False)
    own = presence_report(score, present, list("abcd"), {"dataset": "x"})
    assert own.operating_point == {"threshold": own.threshold}
    assert own.protocol["threshold_from"] == "these pictures"
    later = presence_report(score, present, list("abcd"), {}, 0.9)
    assert (later.threshold, later.operating_point) == (0.9, {})
    assert (later.metrics["tpr"], later.metrics["fpr"]) == rates(score.ravel(), present.ravel(), 0.9)
    assert later.metrics["tpr"] == pytest.approx((score[present] >= 0.9).mean())


def test_reliability_by_hand():
    score = np.array([0.0, 0.1, 0.25, 0.95, 1.0])
    present = np.array([False, True, False, True, True])
    bins = [(each.score, each.real, each.count) for each in reliability(score, present, bins=4)]
    np.testing.assert_allclose(bins, [[0.05, 0.5, 2], [0.25, 0, 1], [0.975, 1, 2]])
    report = presence_report(score[:, None], present[:, None], ["a"], {})
    # Five pairs in four bins of ten: |0 - 0|, |.1 - 1|, |.25 - 0|, 2 |.975 - 1|.
    assert report.metrics["calibration_error"] == pytest.approx((0 + 0.9 + 0.25 + 2 * 0.025) / 5)


def test_a_name_that_is_never_shown_is_left_out_and_counted():
    score, present = draw(5, ties=False)
    present[:, 2] = False
    report = presence_report(score, present, list("abcd"), {})
    assert np.isnan(report.average_precision[2])
    assert report.protocol["names_not_shown"] == 1
    assert report.metrics["mAP"] == pytest.approx(np.mean(np.delete(report.average_precision, 2)))


def test_what_cannot_be_scored_is_refused():
    score = np.full((3, 2), 0.5)
    for present in (np.ones((3, 2), dtype=bool), np.zeros((3, 2), dtype=bool)):
        with pytest.raises(DataError, match="needs both kinds"):
            presence_report(score, present, ["a", "b"], {})
    score[0, 0] = np.nan
    with pytest.raises(DataError, match="not finite"):
        presence_report(score, np.eye(3, 2) > 0, ["a", "b"], {})
