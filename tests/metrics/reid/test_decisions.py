"""Thresholds of the decision between same and different, against scikit-learn's ROC curve under the protocol."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_curve

from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.metrics.reid.decisions import KEY, Search, Verification, few_pairs, thresholds_for
from vision_suite.metrics.reid.expansion import Expansion
from vision_suite.metrics.reid_metric import ReIDMetric
from vision_suite.types import Role

QUERIES, GALLERY = 30, 120


def pictures(seed):
    """Features of six noisy identities with junk, distractors and cameras."""
    r = np.random.RandomState(seed)
    identity = r.randint(0, 6, QUERIES + GALLERY)
    feature = (r.randn(6, 8)[identity] + 0.9 * r.randn(len(identity), 8)).astype(np.float32)
    identity[QUERIES::11] = -1
    identity[QUERIES + 3 :: 13] = 99
    camera = r.randint(0, 3, len(identity))
    role = np.repeat([Role.QUERY, Role.GALLERY], [QUERIES, GALLERY])
    return feature, identity, camera, role


def kept_pairs(feature, identity, camera, role):
    """Distance and match of each pair that the protocol keeps, by hand in float64."""
    unit = feature.astype(np.float64) / np.linalg.norm(feature.astype(np.float64), axis=1, keepdims=True)
    distance, match = [], []
    for q in np.flatnonzero(role == Role.QUERY):
        for g in np.flatnonzero(role == Role.GALLERY):
            if identity[g] != -1 and not (identity[g] == identity[q] and camera[g] == camera[q]):
                distance.append(1 - unit[q] @ unit[g])
                match.append(identity[g] == identity[q])
    return np.array(distance), np.array(match)


def report_of(columns, fpr, thresholds=None):
    metric = ReIDMetric(fpr=(fpr,))
    metric.thresholds = thresholds
    metric.update(*(torch.from_numpy(each) for each in columns), torch.arange(len(columns[0])))
    return metric.report({})


def chosen(report, fpr=0.01, step=5, **search):
    return Verification.choose(report.roc, fpr, report.protocol["pairs"], search, step)


@pytest.mark.parametrize("fpr", [0.002, 0.01, 0.0137, 0.2])
def test_the_threshold_has_the_rate_that_was_asked_for(fpr):
    columns = pictures(0)
    report = report_of(columns, fpr)
    found = chosen(report, fpr).at()
    distance, match = kept_pairs(*columns)
    assert report.protocol["pairs"] == {"positive": match.sum(), "negative": (~match).sum()}
    rates, hits, _ = roc_curve(match, -distance, drop_intermediate=False)
    best = np.flatnonzero(rates <= fpr).max()
    accepted = distance <= found.accept
    assert accepted[~match].mean() == pytest.approx(rates[best])
    assert rates[best] > fpr - 1 / (~match).sum()
    assert found.tpr == accepted[match].mean() == pytest.approx(hits[best])
    rejected = distance[match] > found.reject + 1e-6
    assert rejected.mean() <= fpr
    assert rejected.mean() > fpr - 1 / match.sum() or found.reject == found.accept
    assert report.metrics[f"tpr_at_fpr_{fpr:g}"] == pytest.approx(hits[best])


def test_rates_of_a_threshold_on_other_pictures():
    point = chosen(report_of(pictures(0), 0.05), 0.05).at()
    columns = pictures(1)
    found = report_of(columns, 0.05, (point.accept, point.reject)).metrics
    distance, match = kept_pairs(*columns)
    same, different = distance <= point.accept, distance > point.reject
    assert found["decision/tpr"] == pytest.approx(same[match].mean())
    assert found["decision/fpr"] == pytest.approx(same[~match].mean())
    assert found["decision/fnr"] == pytest.approx(different[match].mean())
    assert found["decision/unsure"] == pytest.approx((~same & ~different).mean())
    assert 0 < found["decision/unsure"] < 1
    words = np.array(point.decide(distance))
    np.testing.assert_array_equal(words == "same", same)
    np.testing.assert_array_equal(words == "different", different)


def test_another_rate_takes_the_next_smaller_stored_one():
    columns = pictures(0)
    kept = Verification.read(json.loads(json.dumps(chosen(report_of(columns, 0.01)).plain())))
    distance, match = kept_pairs(*columns)
    for fpr in (0.05, 0.0537, 0.5):
        found = kept.at(fpr)
        assert 0.6 * fpr < found.fpr <= fpr
        assert (distance[~match] <= found.accept).mean() <= found.fpr
        assert (distance[~match] <= found.accept).mean() > found.fpr - 1 / (~match).sum()
    assert len(json.dumps(kept.plain())) < 10_000
    with pytest.raises(ConfigError, match=r"fpr=1e-06: the \d+ negative pairs of the validation split tell rates from"):
        kept.at(1e-6)


def test_separated_features_leave_nothing_unsure():
    identity = np.arange(40) % 4
    feature = np.eye(4, dtype=np.float32)[identity]
    role, camera = np.arange(40) // 20, np.arange(40) % 2 + np.arange(40) // 20
    found = chosen(report_of((feature, identity, camera, role), 0.01)).at()
    assert 0 <= found.accept == found.reject < 1
    assert found.decide(np.array([0.0, 1.0])) == ["same", "different"]


def test_few_negative_pairs_are_told():
    assert few_pairs(0.01, 1000) is None
    line = few_pairs(0.01, 400)
    assert "0.01 of 400 negative pairs is 4 pairs" in line
    assert few_pairs(float(line.split("--model.fpr ")[1].split()[0]), 400) is None


def test_one_identity_alone_has_no_threshold():
    feature, camera, role = pictures(0)[0], *pictures(0)[2:]
    report = report_of((feature, np.zeros(len(feature), dtype=np.int64), camera, role), 0.01)
    assert report.roc == {}
    assert any("no negative pair" in line for line in report.protocol["warnings"])
    assert report.metrics["mAP"] == 1


def test_thresholds_hold_for_the_settings_that_they_were_chosen_with():
    search = Search(0.01, Expansion(), {"flip": False})
    point = {KEY: chosen(report_of(pictures(0), 0.01), **search.facts).plain()}
    assert thresholds_for(point, search, 5) == (chosen(report_of(pictures(0), 0.01)).at(), [])
    assert thresholds_for(point, search, 6)[1] == [
        "the thresholds were chosen at step 5, and the weights are of step 6"
    ]
    none, (line,) = thresholds_for(point, Search(0.01, Expansion(), {"flip": True}))
    assert none is None
    assert "flip=True now, False in validation" in line
    none, (line,) = thresholds_for(point, Search(0.01, Expansion(3), {"flip": False}))
    assert none is None
    assert "query_expansion" in line
    assert thresholds_for({}, search)[0] is None


@pytest.mark.parametrize(
    "change",
    [
        {"points": {}},
        {"points": {"fpr": [0.2, 0.1], "tpr": [0.0, 1.0], "accept": [0.1, 0.2], "reject": [0.1, 0.2]}},
        {"points": {"fpr": [0.1], "tpr": [1.0], "accept": [float("nan")], "reject": [0.1]}},
        {"negatives": -1},
        {"fpr": "0.1"},
        {"search": 1},
        {"other": 1},
    ],
)
def test_a_damaged_point_is_one_line(change):
    stored = {**chosen(report_of(pictures(0), 0.01)).plain(), **change}
    with pytest.raises(CheckpointError, match="is damaged"):
        Verification.read(stored)
    with pytest.raises(CheckpointError, match="is damaged"):
        Verification.read([stored])
