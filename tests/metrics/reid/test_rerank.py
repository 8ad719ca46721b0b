"""Re-ranking against its stated reference numbers and a dense version written from the paper's definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.reid import evaluate, ranking, rerank
from vision_suite.metrics.reid import reranking as rerank_module


def dense(query, gallery, k1, k2, lambda_):
    """Sets and full matrices in float64, one definition of the paper after another."""
    x = np.concatenate([query, gallery]).astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    n = len(x)
    d = ((x[:, None] - x[None]) ** 2).sum(-1)
    d /= d.max(axis=1, keepdims=True)
    order = np.argsort(d, axis=1, kind="stable")
    neighbours = {k: [set(order[i, : k + 1].tolist()) for i in range(n)] for k in (k1, int(np.around(k1 / 2)))}

    def reciprocal(i, k):
        return {j for j in neighbours[k][i] if i in neighbours[k][j]}

    v = np.zeros((n, n))
    for i in range(n):
        core = reciprocal(i, k1)
        expanded = set(core)
        for c in core:
            extra = reciprocal(c, int(np.around(k1 / 2)))
            if len(extra & core) > 2 / 3 * len(extra):
                expanded |= extra
        members = sorted(expanded)
        v[i, members] = np.exp(-d[i, members])
        v[i] /= v[i].sum()
    v = np.stack([v[order[i, :k2]].mean(axis=0) for i in range(n)])
    q = len(query)
    shared = np.array([[np.minimum(v[i], v[j]).sum() for j in range(q, n)] for i in range(q)])
    return (1 - lambda_) * (1 - shared / (2 - shared)) + lambda_ * d[:q, q:]


def reference_features():
    r = np.random.RandomState(3)
    cent = r.randn(20, 16)
    qp, gp = r.randint(0, 20, 40), r.randint(0, 20, 160)
    qc, gc = r.randint(0, 4, 40), r.randint(0, 4, 160)
    qf, gf = cent[qp] + 1.2 * r.randn(40, 16), cent[gp] + 1.2 * r.randn(160, 16)
    return qf, gf, (qp, gp, qc, gc)


def test_reference_numbers():
    qf, gf, labels = reference_features()
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (qf, gf)]
    plain = evaluate(1 - unit[0] @ unit[1].T, *labels)
    assert plain["cmc"][0] == pytest.approx(0.70)
    assert plain["mAP"] == pytest.approx(0.4981145847, abs=1e-10)
    final = evaluate(rerank(qf, gf), *labels)
    assert final["cmc"][0] == pytest.approx(0.65)
    assert final["mAP"] == pytest.approx(0.6146968417, abs=1e-10)


@pytest.mark.parametrize(("k1", "k2", "lambda_"), [(20, 6, 0.3), (25, 1, 0.3), (7, 4, 0.0), (1, 1, 0.5), (50, 15, 1.0)])
def test_equals_the_dense_definition(k1, k2, lambda_):
    qf, gf, _ = reference_features()
    np.testing.assert_allclose(rerank(qf, gf, k1, k2, lambda_), dense(qf, gf, k1, k2, lambda_), atol=1e-12)


def test_float32_stays_close_and_float32():
    qf, gf, _ = reference_features()
    final = rerank(torch.from_numpy(qf).float(), torch.from_numpy(gf).float())
    assert final.dtype == np.float32
    np.testing.assert_allclose(final, dense(qf, gf, 20, 6, 0.3), atol=2e-6)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    queries=st.integers(1, 8),
    gallery=st.integers(4, 30),
    k1=st.integers(1, 4),
    k2=st.integers(1, 4),
)
def test_equals_the_dense_definition_in_any_blocks(seed, queries, gallery, k1, k2):
    r = np.random.RandomState(seed)
    qf, gf = r.randn(queries, 5), r.randn(gallery, 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "BLOCK_ELEMENTS", 3 * (queries + gallery))
        patch.setattr(rerank_module, "EXPAND_ROWS", 4)
        patch.setattr(rerank_module, "PAIR_ELEMENTS", 35)
        found = rerank(qf, gf, k1, k2)
    np.testing.assert_allclose(found, dense(qf, gf, k1, k2, 0.3), atol=1e-12)


def test_halves_are_rounded_to_the_even_number():
    qf, gf, _ = reference_features()
    assert np.abs(rerank(qf, gf, k1=25) - dense(qf, gf, 25, 6, 0.3)).max() < 1e-12
    # 25 / 2 = 12.5 -> 12: the same neighbourhoods R(c, .) as k1 = 24 has.
    assert round(25 / 2) == 12


def test_exact_duplicates_keep_their_own_encoding():
    features = np.repeat(np.random.RandomState(0).randn(3, 8), 30, axis=0)
    final = rerank(features[:30:10], features, k1=5, k2=3)
    assert np.isfinite(final).all()
    equal = rerank(np.ones((4, 3)), np.ones((9, 3)), k1=3, k2=2, lambda_=1.0)
    assert (equal == 0).all()


def test_lambda_one_is_the_scaled_distance():
    qf, gf, _ = reference_features()
    x = np.concatenate([qf, gf])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    d = 2 - 2 * x @ x.T
    np.testing.assert_allclose(rerank(qf, gf, lambda_=1.0), (d / d.max(1, keepdims=True))[:40, 40:], atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"k1": 0}, ConfigError, "k1=0"),
        ({"k2": 0}, ConfigError, "k2=0"),
        ({"lambda_": 1.5}, ConfigError, "lambda_=1.5"),
        ({"k1": 200}, ConfigError, r"k1=200, k2=6 needs 201 pictures .* there are 200: choose k1 <= 199"),
        ({"k1": 5, "k2": 300}, ConfigError, "k2 <= 200"),
        ({"gallery_features": np.ones((4, 3))}, DataError, "16 columns .* 3"),
        ({"gallery_features": np.full((160, 16), np.nan)}, DataError, "row 0 of the gallery features"),
        ({"query_features": np.ones((0, 16))}, DataError, r"shape \(0, 16\)"),
    ],
)
def test_bad_input(arguments, error, message):
    qf, gf, _ = reference_features()
    with pytest.raises(error, match=message):
        rerank(**{"query_features": qf, "gallery_features": gf, **arguments})
