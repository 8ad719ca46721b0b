"""Agreement of detectors on what was mined, against scikit-learn and a count by hand."""

import numpy as np
import pytest
from mining_tiny import mine_tiny, tiny_step
from sklearn.metrics import cohen_kappa_score

from vision_suite.mining.agreement import agreements
from vision_suite.mining.reading import mined_images
from vision_suite.mining.store import Store


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
    decided = [each for each in told if None not in each]
    assert found.kappa == pytest.approx(cohen_kappa_score(*zip(*decided, strict=True)), abs=1e-12)
    assert found.uncertain == pytest.approx(sum(None in each or each[0] != each[1] for each in told) / len(told))
    assert f"kappa {found.kappa:.3f}" in found.line()


def _second(name, score):
    low, high = (0.3, 0.3) if name == "cup" else (0.4, 0.6)
    return True if score >= high else False if score < low else None
