"""Query expansion against a loop in float64."""

import numpy as np
import pytest
import torch

from vision_suite.errors import ConfigError
from vision_suite.metrics.reid import evaluate, expansion, ranking, rerank
from vision_suite.metrics.reid.expansion import Expansion, expand_queries
from vision_suite.metrics.reid_metric import ReIDMetric
from vision_suite.types import Role


def by_hand(query, gallery, k, alpha, same=False):
    unit = [
        x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True) for x in (query, gallery)
    ]
    out = []
    for row, q in enumerate(unit[0]):
        similarity = unit[1] @ q
        if same:
            similarity[row] = -np.inf
        near = np.argsort(-similarity, kind="stable")[:k]
        weights = np.maximum(similarity[near], 0) ** alpha
        out.append(q + weights @ unit[1][near])
    return np.array(out)


@pytest.fixture
def features():
    r = np.random.RandomState(4)
    return r.randn(23, 6).astype(np.float32), r.randn(40, 6).astype(np.float32)


@pytest.mark.parametrize(("k", "alpha"), [(1, 0.0), (5, 0.0), (5, 3.0), (40, 1.0)])
def test_equals_the_formula(features, k, alpha, monkeypatch):
    query, gallery = features
    monkeypatch.setattr(ranking, "BLOCK_ELEMENTS", 7 * 40)
    monkeypatch.setattr(expansion, "AVERAGED_ELEMENTS", 3 * k * 6)
    found = expand_queries(torch.from_numpy(query), torch.from_numpy(gallery), Expansion(k, alpha)).numpy()
    np.testing.assert_allclose(found, by_hand(query, gallery, k, alpha), atol=1e-5)


def test_pictures_are_not_their_own_neighbours(features):
    gallery = torch.from_numpy(features[1])
    found = expand_queries(gallery, gallery, Expansion(3, 2.0), same=True).numpy()
    np.testing.assert_allclose(found, by_hand(features[1], features[1], 3, 2.0, same=True), atol=1e-5)


def test_scores_of_expanded_queries_and_their_branches_and_re_ranking():
    r = np.random.RandomState(3)
    identity, camera = r.randint(0, 8, 120), r.randint(0, 3, 120)
    feature = (r.randn(8, 10)[identity] + 1.3 * r.randn(120, 10)).astype(np.float32)
    role = np.repeat([Role.QUERY, Role.GALLERY], [30, 90])
    metric = ReIDMetric({"sa": (0, 5)}, rerank=True, k1=8, k2=3, expansion=Expansion(4, 2.0))
    metric.update(*(torch.from_numpy(each) for each in (feature, identity, camera, role)), torch.arange(120))
    report = metric.report({})
    labels = identity[:30], identity[30:], camera[:30], camera[30:]

    def cosine(query, gallery):
        unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, gallery)]
        return 1 - unit[0] @ unit[1].T

    for prefix, columns in (("", slice(0, 10)), ("sa/", slice(0, 5))):
        query, gallery = feature[:30, columns], feature[30:, columns]
        expanded = by_hand(query, gallery, 4, 2.0)
        expected = evaluate(cosine(expanded, gallery.astype(np.float64)), *labels)["mAP"]
        assert report.metrics[f"{prefix}mAP"] == pytest.approx(expected, abs=1e-6)
        assert expected != pytest.approx(evaluate(cosine(query, gallery), *labels)["mAP"], abs=1e-3)
    expanded = by_hand(feature[:30], feature[30:], 4, 2.0)
    expected = evaluate(rerank(expanded, feature[30:], k1=8, k2=3), *labels)["mAP"]
    assert report.metrics["rerank/mAP"] == pytest.approx(expected, abs=1e-6)
    assert report.protocol["query_expansion"] == {"k": 4, "alpha": 2.0, "neighbours": "gallery, without labels"}


def test_settings_out_of_range():
    for settings in ({"k": -1}, {"alpha": -0.5}, {"alpha": float("nan")}):
        with pytest.raises(ConfigError, match="query expansion"):
            Expansion(**settings)
    with pytest.raises(ConfigError, match="k=3 and 2 gallery pictures: choose k <= 2"):
        Expansion(3).check(2)
