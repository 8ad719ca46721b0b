"""Evaluation against hand oracles, scikit-learn, and a naive evaluator written from the protocol's text."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.reid import evaluate, evaluate_features, evaluate_single_shot, ranking

GALLERY_IDS = [1, 1, 2, 0, -1, 2, 1, 3]
GALLERY_CAMS = [1, 2, 1, 3, 2, 3, 3, 1]
QUERY_IDS, QUERY_CAMS = [1, 2, 3], [1, 1, 1]
TOY = np.array(
    [
        [0.10, 0.40, 0.30, 0.20, 0.15, 0.60, 0.50, 0.90],
        [0.50, 0.10, 0.05, 0.30, 0.20, 0.40, 0.60, 0.70],
        [0.10, 0.20, 0.30, 0.40, 0.50, 0.60, 0.70, 0.05],
    ]
)


def naive(distance, query_ids, gallery_ids, query_cams, gallery_cams, max_rank):
    """Sort, walk down, count. Returns the means of AP rect, AP trapz, INP, CMC over valid queries, and their number."""
    rect, trapz, inp, cmc = [], [], [], []
    for q, row in enumerate(distance):
        order = sorted(range(len(row)), key=lambda j: (row[j], j))
        hits = []
        for j in order:
            same = gallery_ids[j] == query_ids[q]
            if gallery_ids[j] == -1 or (same and query_cams[q] >= 0 and gallery_cams[j] == query_cams[q]):
                continue
            hits.append(bool(same))
        if not any(hits):
            continue
        total, found, p_rect, p_trapz, old_recall, old_precision = sum(hits), 0, 0.0, 0.0, 0.0, 1.0
        for rank, hit in enumerate(hits, start=1):
            found += hit
            precision, recall = found / rank, found / total
            p_rect += hit * precision / total
            p_trapz += (recall - old_recall) * (old_precision + precision) / 2
            old_recall, old_precision = recall, precision
            if hit:
                last = rank
        rect.append(p_rect)
        trapz.append(p_trapz)
        inp.append(total / last)
        first = hits.index(True) + 1
        cmc.append([float(first <= k) for k in range(1, max_rank + 1)])
    if not rect:
        return None
    return np.mean(rect), np.mean(trapz), np.mean(inp), np.mean(cmc, axis=0), len(rect)


def random_reference():
    r = np.random.RandomState(0)
    qp, gp = r.randint(0, 50, 200), r.randint(0, 50, 1000)
    qc, gc = r.randint(0, 6, 200), r.randint(0, 6, 1000)
    return r.rand(200, 1000), qp, gp, qc, gc


def test_toy_correct_treatment():
    scores = evaluate(TOY, QUERY_IDS, GALLERY_IDS, QUERY_CAMS, GALLERY_CAMS, max_rank=5)
    np.testing.assert_allclose(scores["average_precision"], [5 / 12, 1 / 3, np.nan], rtol=1e-12)
    assert scores["mAP"] == pytest.approx(0.375, abs=1e-12)
    assert scores["mINP"] == pytest.approx((0.5 + 1 / 3) / 2, abs=1e-12)
    assert scores["cmc"].tolist() == [0, 0, 1, 1, 1]
    assert scores["num_valid"] == 2


def test_toy_trapezoidal():
    scores = evaluate(TOY, QUERY_IDS, GALLERY_IDS, QUERY_CAMS, GALLERY_CAMS, max_rank=5, ap="trapz")
    np.testing.assert_allclose(scores["average_precision"][:2], [0.2916667, 0.1666667], atol=1e-7)
    assert scores["mAP"] == pytest.approx(0.2291667, abs=1e-7)
    assert scores["cmc"].tolist() == [0, 0, 1, 1, 1]


def test_toy_junk_as_wrong_is_another_number():
    distractor = [9 if i == -1 else i for i in GALLERY_IDS]
    scores = evaluate(TOY, QUERY_IDS, distractor, QUERY_CAMS, GALLERY_CAMS, max_rank=5)
    np.testing.assert_allclose(scores["average_precision"][:2], [0.325, 0.25], rtol=1e-12)
    assert scores["mAP"] == pytest.approx(0.2875)
    assert scores["cmc"].tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("cams", [(None, None), ([-1] * 3, [-1] * 8), (QUERY_CAMS, None)])
def test_toy_without_cameras_warns_and_removes_nothing(cams):
    with pytest.warns(UserWarning, match="11 of 11 pictures have no camera"):
        scores = evaluate(TOY, QUERY_IDS, GALLERY_IDS, *cams, max_rank=5)
    np.testing.assert_allclose(scores["average_precision"], [0.7, 0.75, 1], rtol=1e-12)
    assert scores["mAP"] == pytest.approx(0.8166667, abs=1e-7)
    assert scores["cmc"].tolist() == [1] * 5


def test_short_gallery_repeats_the_last_value():
    distance = [[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]]
    scores = evaluate(distance, [1, 2], [1, 1, 2, 3], [0, 0], [0, 1, 1, 1], max_rank=4)
    assert scores["average_precision"].tolist() == [1.0, 0.5]
    assert scores["cmc"].tolist() == [0.5, 1, 1, 1]
    longer = evaluate(distance, [1, 2], [1, 1, 2, 3], [0, 0], [0, 1, 1, 1], max_rank=50)
    assert longer["cmc"].tolist() == [0.5] + [1] * 49


def test_random_reference():
    scores = evaluate(*random_reference())
    assert scores["mAP"] == pytest.approx(0.0238579304, abs=1e-10)
    assert scores["mINP"] == pytest.approx(0.0173155072, abs=1e-10)
    np.testing.assert_allclose(scores["cmc"][[0, 4, 9, 19]], [0.025, 0.1, 0.165, 0.295], rtol=1e-12)
    assert scores["num_valid"] == 200
    assert evaluate(*random_reference(), ap="trapz")["mAP"] == pytest.approx(0.0204561682, abs=1e-10)


def test_rectangular_ap_is_sklearns_average_precision():
    distance, qp, gp, qc, gc = random_reference()
    ap = evaluate(distance, qp, gp, qc, gc)["average_precision"]
    for q in range(0, 200, 17):
        kept = (gp != qp[q]) | (gc != qc[q])
        expected = average_precision_score(gp[kept] == qp[q], -distance[q][kept])
        assert ap[q] == pytest.approx(expected, abs=1e-12)


cases = st.integers(1, 6).flatmap(
    lambda queries: st.integers(1, 12).flatmap(
        lambda gallery: st.tuples(
            st.lists(
                st.lists(st.integers(0, 4), min_size=gallery, max_size=gallery), min_size=queries, max_size=queries
            ),
            st.lists(st.integers(0, 3), min_size=queries, max_size=queries),
            st.lists(st.integers(-1, 3), min_size=gallery, max_size=gallery),
            st.lists(st.integers(-1, 2), min_size=queries, max_size=queries),
            st.lists(st.integers(-1, 2), min_size=gallery, max_size=gallery),
        )
    )
)


@settings(max_examples=150, deadline=None)
@given(case=cases, count_up_to=st.sampled_from([0, 1, 256]), rows=st.sampled_from([1, 13, 1 << 24]))
def test_equals_the_naive_evaluator_with_ties(case, count_up_to, rows):
    expected = naive(*case, max_rank=7)
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr(ranking, "COUNT_UP_TO", count_up_to)
        patch.setattr(ranking, "BLOCK_ELEMENTS", rows)
        if expected is None:
            with pytest.raises(DataError, match="no query is valid"):
                evaluate(*case, max_rank=7)
            return
        rect, trapz = evaluate(*case, max_rank=7), evaluate(*case, max_rank=7, ap="trapz")
    assert (rect["mAP"], trapz["mAP"], rect["mINP"]) == pytest.approx(expected[:3], abs=1e-12)
    np.testing.assert_allclose(rect["cmc"], expected[3], atol=1e-12)
    assert rect["num_valid"] == expected[4]
    assert trapz["mAP"] <= rect["mAP"] + 1e-12
    assert (np.diff(rect["cmc"]) >= 0).all()


def test_order_of_queries_does_not_matter():
    distance, qp, gp, qc, gc = random_reference()
    distance = np.round(distance, 2)
    order = np.random.RandomState(1).permutation(200)
    one, two = evaluate(distance, qp, gp, qc, gc), evaluate(distance[order], qp[order], gp, qc[order], gc)
    np.testing.assert_array_equal(one["average_precision"][order], two["average_precision"])
    np.testing.assert_array_equal(one["cmc"], two["cmc"])
    single = [
        evaluate_single_shot(d, p, gp, c, gc)
        for d, p, c in ((distance, qp, qc), (distance[order], qp[order], qc[order]))
    ]
    np.testing.assert_array_equal(single[0]["cmc"], single[1]["cmc"])


def test_input_is_left_alone_and_every_container_gives_the_same():
    distance, qp, gp, qc, gc = random_reference()
    before = distance.copy()
    expected = evaluate(distance, qp, gp, qc, gc)
    np.testing.assert_array_equal(distance, before)
    tensors = [torch.from_numpy(each) for each in (distance, qp, gp, qc, gc)]
    assert evaluate(*tensors)["mAP"] == expected["mAP"]
    np.testing.assert_array_equal(distance, before)
    np.testing.assert_allclose(evaluate(tensors[0].bfloat16(), *tensors[1:])["mAP"], expected["mAP"], atol=2e-3)
    assert evaluate((distance * 1e9).astype(np.int64), qp, gp, qc, gc)["mAP"] == pytest.approx(
        expected["mAP"], abs=1e-6
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_features_equal_their_dense_distance_matrix(dtype, monkeypatch):
    r = np.random.RandomState(5)
    query, gallery = r.randn(30, 16).astype(dtype), r.randn(90, 16).astype(dtype)
    ids = r.randint(0, 6, 30), r.randint(-1, 6, 90), r.randint(0, 3, 30), r.randint(0, 3, 90)
    monkeypatch.setattr(ranking, "BLOCK_ELEMENTS", 7 * 90)
    unit = [x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True) for x in (query, gallery)]
    expected = evaluate(1 - unit[0] @ unit[1].T, *ids)
    found = evaluate_features(5 * query, gallery, *ids)
    np.testing.assert_allclose(found["average_precision"], expected["average_precision"], rtol=1e-12)
    np.testing.assert_array_equal(found["cmc"], expected["cmc"])


def test_fused_cosine_of_the_concatenation():
    query = np.array([[1.0, 0, 0, 1]])
    gallery = np.array([[10.0, 0, 1, 0], [6, 8, 0, 1]])
    for columns, first in ((slice(0, 4), 0), (slice(0, 2), 0)):
        assert (
            evaluate_features(query[:, columns], gallery[:, columns], [1], [1, 2], [0], [1, 1])["cmc"][0] == 1 - first
        )
    per_branch = [
        np.hstack([x[:, :2] / np.linalg.norm(x[:, :2], axis=1, keepdims=True), x[:, 2:]]) for x in (query, gallery)
    ]
    assert evaluate_features(*per_branch, [1], [1, 2], [0], [1, 1])["cmc"][0] == 0


def test_single_shot_against_listing_every_gallery():
    """The mean over many draws approaches the mean over all possible galleries."""
    r = np.random.RandomState(2)
    gallery_ids, gallery_cams = np.array([0, 0, 0, 1, 1, 2, 2, -1]), np.array([0, 1, 2, 0, 1, 0, 1, 0])
    distance = r.randint(0, 5, (1, 8)).astype(float)
    kept = {0: [1, 2], 1: [3, 4], 2: [5, 6]}
    ranks = []
    for a in kept[0]:
        for b in kept[1]:
            for c in kept[2]:
                order = sorted([a, b, c], key=lambda j: (distance[0, j], j))
                ranks.append(order.index(a) + 1)
    expected = [np.mean([rank <= k for rank in ranks]) for k in (1, 2, 3)]
    scores = evaluate_single_shot(distance, [0], gallery_ids, [0], gallery_cams, max_rank=3, draws=20_000, seed=1)
    np.testing.assert_allclose(scores["cmc"], expected, atol=0.015)
    again = evaluate_single_shot(distance, [0], gallery_ids, [0], gallery_cams, max_rank=3, draws=20_000, seed=1)
    np.testing.assert_array_equal(scores["cmc"], again["cmc"])
    assert scores["mAP"] == evaluate(distance, [0], gallery_ids, [0], gallery_cams)["mAP"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distance": TOY[:, :7]}, r"distance has shape \(3, 7\)"),
        ({"distance": TOY.astype(str)}, "give real numbers"),
        ({"distance": np.where(TOY == 0.05, np.nan, TOY)}, "query 1 to gallery entry 2 is nan"),
        ({"distance": torch.full((3, 8), torch.inf)}, "query 0 to gallery entry 0 is inf"),
        ({"query_ids": []}, "the query set is empty"),
        ({"gallery_ids": []}, "the gallery set is empty"),
        ({"query_cams": [1, 1]}, "query_cams has 2 entries and query_ids has 3"),
        ({"query_ids": [1.0, 2.0, 3.0]}, "whole numbers"),
        ({"query_ids": [[1, 2, 3]]}, r"query_ids has shape \(1, 3\)"),
        ({"query_ids": [7, 8, 9]}, "none of the 3 query identities is in the gallery"),
        ({"gallery_cams": [1] * 8}, r"all camera numbers are equal \(1\)"),
        ({"query_ids": [3, 3, 3], "query_cams": [1, 1, 1]}, "every correct entry has the camera of its query"),
    ],
)
def test_bad_input_is_one_line_that_names_the_cause(change, message):
    given = {
        "distance": TOY,
        "query_ids": QUERY_IDS,
        "gallery_ids": GALLERY_IDS,
        "query_cams": QUERY_CAMS,
        "gallery_cams": GALLERY_CAMS,
    }
    with pytest.raises(DataError, match=message) as caught:
        evaluate(**{**given, **change})
    assert "\n" not in str(caught.value)


def test_bad_settings():
    with pytest.raises(ConfigError, match="ap='mean'"):
        evaluate(TOY, QUERY_IDS, GALLERY_IDS, QUERY_CAMS, GALLERY_CAMS, ap="mean")
    with pytest.raises(ConfigError, match="max_rank=0"):
        evaluate(TOY, QUERY_IDS, GALLERY_IDS, QUERY_CAMS, GALLERY_CAMS, max_rank=0)
    with pytest.raises(ConfigError, match="draws=0"):
        evaluate_single_shot(TOY, QUERY_IDS, GALLERY_IDS, QUERY_CAMS, GALLERY_CAMS, draws=0)


def test_bad_features():
    good = torch.eye(3)
    labels = ([1, 2, 3], [1, 2, 3], [0, 0, 0], [1, 1, 1])
    assert evaluate_features(good, good, *labels)["mAP"] == 1
    with pytest.raises(DataError, match="row 1 of the gallery features"):
        evaluate_features(good, good / torch.tensor([1, 0, 1])[:, None], *labels)
    with pytest.raises(DataError, match="do not fit"):
        evaluate_features(good, torch.ones(3, 2), *labels)
    with pytest.raises(DataError, match=r"shape \(9,\)"):
        evaluate_features(good.flatten(), good, *labels)


def test_threads_give_the_same_bits(monkeypatch):
    one = evaluate(*random_reference())
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    three = evaluate(*random_reference())
    np.testing.assert_array_equal(one["average_precision"], three["average_precision"])
    np.testing.assert_array_equal(one["cmc"], three["cmc"])
