"""Search efficiency against hand oracles."""

import numpy as np
import pytest

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.scanpath import scanpath_ratio, search_efficiency, steps_to_box, steps_to_objects

BOX = [380, 180, 60, 40]
PATHS = [
    [(256, 160), (300, 170), (400, 200)],
    [(256, 160), (400, 200)],
    [(256, 160), (100, 100), (120, 90), (90, 80)],
    [(256, 160), (380, 200), (440, 200)],
]


def test_oracle():
    steps = [steps_to_box(path, BOX) for path in PATHS]
    assert steps == [3, 2, np.inf, np.inf]  # the last path touches edges only
    result = search_efficiency(steps, 6)
    np.testing.assert_allclose(result.cdf, [0, 0.25, 0.5, 0.5, 0.5, 0.5, 0.5])
    assert result.tfp[0] == 0.25
    assert (result.auc, result.paths, result.tasks) == (2.75, 4, 1)


def test_tasks_are_balanced():
    result = search_efficiency([1, 1, 1, np.inf], 1, ["cup", "cup", "cup", "fork"])
    np.testing.assert_array_equal(result.cdf, [0.5, 0.5])
    assert result.tasks == 2


def test_mismatch():
    fast, slow = search_efficiency([2, 2], 3), search_efficiency([2, 4], 3)
    assert fast.mismatch(slow) == slow.mismatch(fast) == 1
    assert fast.mismatch(fast) == 0
    with pytest.raises(DataError, match="one max_steps for both"):
        fast.mismatch(search_efficiency([2], 4))


def test_steps_to_objects():
    assert steps_to_objects([3, 5, 7, 5], {5, 7}) == 2
    assert steps_to_objects(np.array([3]), [5]) == np.inf
    assert steps_to_objects([], [5]) == np.inf
    assert np.isnan(steps_to_objects([3, 5], [])), "no target, so nothing to find"


def test_ratio():
    box = [80, 80, 40, 40]
    assert scanpath_ratio([(256, 160), (200, 100), (100, 100)], box) == pytest.approx(0.917986, abs=1e-6)
    # Straight into a corner of the box: shorter than to its centre, so cut at 1.
    assert scanpath_ratio([(256, 160), (119, 119), (0, 0)], box) == 1
    assert np.isnan(scanpath_ratio([(256, 160), (0, 0)], box))
    assert np.isnan(scanpath_ratio([(100, 100), (0, 0)], box))
    assert np.isnan(scanpath_ratio([], box))


def test_what_is_refused():
    with pytest.raises(DataError, match="positive size"):
        steps_to_box(PATHS[0], [0, 0, -1, 5])
    with pytest.raises(DataError, match="0 paths"):
        search_efficiency([], 6)
    for step in (0, -3, 1.5, np.nan):
        with pytest.raises(DataError, match="1 of 2 steps are no numbers of a fixation"):
            search_efficiency([2, step], 6)
    for steps in (0, 2.5, np.nan):
        with pytest.raises(ConfigError, match="max_steps="):
            search_efficiency([2], steps)
    with pytest.raises(DataError, match="1 paths, 2 tasks"):
        search_efficiency([1], 6, ["a", "b"])
