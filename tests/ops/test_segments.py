"""Overlap, soft suppression and voting against hand oracles and plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.errors import ConfigError
from vision_suite.ops.segments import paired_tiou, soft_nms, tiou_matrix, vote

FOUR = np.array([[0.1, 0.5], [0.12, 0.5], [0.5, 0.9], [0.0, 1.0]])
SCORES = np.array([0.9, 0.8, 0.7, 0.6])


def test_published_oracle_keeps_the_last():
    kept, scores = soft_nms(FOUR, SCORES, method="bsn", sigma=0.4, low=0.5, high=0.9)
    np.testing.assert_allclose(scores, [0.9, 0.7, 0.6, 0.083794], atol=1e-6)
    assert kept.tolist() == [0, 2, 3, 1]


def loop_soft_nms(segments, scores, method, sigma, low, high, min_score, keep):
    left = [[float(s), n] for n, s in enumerate(scores)]
    out = []
    while left and len(out) < keep:
        best = max(left, key=lambda entry: (entry[0], -entry[1]))
        left.remove(best)
        if best[0] < min_score:
            break
        out.append(best)
        a = segments[best[1]]
        for entry in left:
            b = segments[entry[1]]
            inter = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
            union = (a[1] - a[0]) + (b[1] - b[0]) - inter
            overlap = inter / union if union > 0 else 0.0
            limit = 0.0 if method == "gaussian" else low + (high - low) * (a[1] - a[0])
            if overlap > limit:
                entry[0] *= math.exp(-(overlap**2) / sigma)
    return [n for _, n in out], [s for s, _ in out]


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(0, 40), st.sampled_from(["gaussian", "bsn"]),
    st.sampled_from([0.0, 1e-3, 0.3]), st.sampled_from([1, 5, 100]),
)  # fmt: skip
def test_equals_a_plain_loop(seed, count, method, min_score, keep):
    rng = np.random.default_rng(seed)
    segments, scores = np.sort(rng.random((count, 2)), axis=1), rng.random(count)
    kept, values = soft_nms(segments, scores, method=method, sigma=0.4, min_score=min_score, keep=keep)
    expected, expected_values = loop_soft_nms(segments, scores, method, 0.4, 0.5, 0.9, min_score, keep)
    assert kept.tolist() == expected
    np.testing.assert_allclose(values, expected_values, rtol=1e-12)


def test_nothing_and_identical_segments():
    kept, values = soft_nms(np.zeros((0, 2)), np.zeros(0))
    assert (len(kept), len(values)) == (0, 0)
    kept, values = soft_nms(np.array([[0, 1.0], [0, 1.0]]), np.array([0.5, 0.5]), sigma=0.5)
    assert kept.tolist() == [0, 1]
    np.testing.assert_allclose(values, [0.5, 0.5 * math.exp(-2)])


def test_without_suppression_the_best_stay():
    kept, values = soft_nms(FOUR, SCORES[::-1], method="none", keep=3, min_score=0.75)
    assert kept.tolist() == [3, 2]
    assert values.tolist() == [0.9, 0.8]


def test_seconds_are_refused_where_shares_are_needed():
    with pytest.raises(ConfigError, match="divide segments by its duration"):
        soft_nms(FOUR * 100, SCORES, method="bsn")
    with pytest.raises(ConfigError, match="sigma=0"):
        soft_nms(FOUR, SCORES, sigma=0)


def test_overlap_of_touching_and_empty_segments():
    assert paired_tiou(np.array([0.0, 5.0]), np.array([5.0, 9.0])) == 0
    assert paired_tiou(np.array([5.0, 5.0]), np.array([5.0, 5.0])) == 0
    assert paired_tiou(np.array([0.0, 10.0]), np.array([0.0, 5.0])) == 0.5
    assert tiou_matrix(FOUR, FOUR[:2]).shape == (4, 2)
    assert tiou_matrix(FOUR, FOUR)[0, 1] == pytest.approx(0.95)


def test_voting_averages_close_neighbours():
    moved = vote(FOUR[:1], FOUR, SCORES, 0.95)
    weights = np.array([0.9, 0.95 * 0.8])
    np.testing.assert_allclose(moved[0], [(weights * FOUR[:2, 0]).sum() / weights.sum(), 0.5])
    np.testing.assert_allclose(vote(FOUR, FOUR, np.zeros(4), 0.9), FOUR)
