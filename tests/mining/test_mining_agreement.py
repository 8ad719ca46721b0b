"""Agreement of detectors, against scikit-learn and a count by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mining_tiny import mine_tiny, tiny_step
from sklearn.metrics import cohen_kappa_score

from vision_suite.mining.agreement import agreements, kappa
from vision_suite.mining.reading import mined_images
from vision_suite.mining.store import Store


def test_the_documents_oracle():
    assert kappa([[70, 0, 9], [0, 0, 0], [6, 0, 15]]) == pytest.approx(0.5704467353951889, abs=1e-15)


@given(st.lists(st.integers(0, 30), min_size=9, max_size=9))
def test_kappa_is_that_of_scikit_learn(counts):
    table = np.array(counts).reshape(3, 3)
    first, second = (np.repeat(each.ravel(), table[[0, 0, 2, 2], [0, 2, 0, 2]]) for each in np.indices((2, 2)))
    found = kappa(table.tolist())
    if len(set(first)) + len(set(second)) < 3:  # one outcome alone, or nothing
        assert math.isnan(found)
    else:
        assert found == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)


def test_objects_of_pictures_are_counted_once(tmp_path):
    path = tmp_path / "a.sqlite"
    mine_tiny(path)
    step = tiny_step()
    with Store(path, new=False) as store:
        (found,) = agreements(mined_images(store, "tiny"), step.thresholds)
        scores = {
            (image.sha256, name): tuple(image.scores[each][name] for each in "ab")
            for image in mined_images(store, "tiny")
            for name in image.scores["a"]
        }
    told = [(a >= 0.5, _second(name, b)) for (_, name), (a, b) in scores.items()]
    order = [True, None, False]
    assert found.counts == [[told.count((a, b)) for b in order] for a in order]
    assert found.counts[0][1] + found.counts[2][1] > 0, "some are unknown to the second one"
    assert sum(np.array(each) for each in found.names.values()).tolist() == found.counts
    assert f"kappa {found.kappa:.3f}" in found.line()


def _second(name, score):
    low, high = (0.3, 0.3) if name == "cup" else (0.4, 0.6)
    return True if score >= high else False if score < low else None
