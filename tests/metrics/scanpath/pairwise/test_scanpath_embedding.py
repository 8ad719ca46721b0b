"""Time-delay embedding against the numbers of the reference program and plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.errors import ConfigError
from vision_suite.metrics.scanpath import stde, stdes, time_delay_embedding

HUMAN = [(100, 100, 0.20), (300, 150, 0.25), (350, 400, 0.15), (700, 420, 0.30), (640, 200, 0.22)]
MODEL = [(120, 110, 0.22), (310, 170, 0.20), (600, 400, 0.35), (660, 220, 0.25)]


def loop_stde(model, human, screen):
    model, human = (np.asarray(path, dtype=float)[:, :2] / max(screen) for path in (model, human))
    by_length = []
    for k in range(1, min(len(model), len(human)) + 1):
        nearest = [
            min(
                sum(np.hypot(*(model[i + step] - human[j + step])) for step in range(k)) / k
                for j in range(len(human) - k + 1)
            )
            for i in range(len(model) - k + 1)
        ]
        by_length.append(np.exp(-np.mean(nearest)))
    return np.mean(by_length)


def test_oracles():
    assert stde(MODEL, HUMAN, (1024, 768)) == pytest.approx(0.9179254012, abs=1e-10)
    assert stde(HUMAN, MODEL, (1024, 768)) == pytest.approx(0.8990973760, abs=1e-10)
    assert time_delay_embedding(MODEL, HUMAN, 1) == pytest.approx(43.746505, abs=1e-6)
    assert time_delay_embedding(MODEL, HUMAN, 3) == pytest.approx(109.739729, abs=1e-6)
    assert time_delay_embedding(MODEL, HUMAN, 3, "hausdorff") == pytest.approx(121.239004, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_many_pairs_equal_a_loop(seed):
    generator = np.random.default_rng(seed)
    paths = [generator.uniform(0, 500, (n, 2)) for n in generator.integers(1, 7, 5)]
    pairs = [(i, j) for i in range(5) for j in range(5)]
    found = stdes(paths, pairs, (512, 320))
    np.testing.assert_allclose(found, [loop_stde(paths[i], paths[j], (512, 320)) for i, j in pairs], atol=1e-12)
    np.testing.assert_allclose(found.reshape(5, 5).diagonal(), 1)
    assert ((found > 0) & (found <= 1)).all()


def test_edges():
    assert np.isnan(stde([], HUMAN, (1024, 768)))
    assert np.isnan(time_delay_embedding(MODEL[:2], HUMAN, 3))
    with pytest.raises(ConfigError, match="k=0"):
        time_delay_embedding(MODEL, HUMAN, 0)
    with pytest.raises(ConfigError, match="'median'"):
        time_delay_embedding(MODEL, HUMAN, 1, "median")
