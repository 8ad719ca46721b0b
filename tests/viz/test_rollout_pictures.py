"""Attention maps drawn over pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from vision_suite.viz.rollout import normalised, overlay, rollout_panel


@pytest.mark.parametrize(
    ("grid", "size"), [((16, 8), (64, 128)), ((2, 5), (100, 40)), ((1, 1), (9, 9)), ((3, 3), (7, 50))]
)
def test_the_brightest_place_is_the_heaviest_patch(grid, size):
    rng = np.random.default_rng(0)
    weights = rng.random(grid) * 0.01
    row, column = rng.integers(grid[0]), rng.integers(grid[1])
    weights[row, column] = 1.0
    drawn = overlay(Image.new("RGB", size, (0, 0, 0)), weights)
    assert drawn.size == size
    if grid == (1, 1):
        return
    bright = np.asarray(drawn).sum(axis=2)
    y, x = np.unravel_index(bright.argmax(), bright.shape)
    assert (int(y * grid[0] / size[1]), int(x * grid[1] / size[0])) == (row, column)


@given(arrays(np.float64, (4, 3), elements=st.floats(0, 1)))
def test_order_of_weights_is_kept(weights):
    values = normalised(weights)
    assert values.min() >= 0
    assert values.max() <= 1
    if values.any():
        order = np.argsort(weights, axis=None, kind="stable")
        assert (np.diff(values.ravel()[order]) >= 0).all()
        assert (values.min(), values.max()) == (0, 1)


@pytest.mark.parametrize("value", [0.0, 1 / 128, 3.0])
def test_an_even_map_shows_no_pattern(value):
    weights = np.full((16, 8), value, dtype=np.float32) * (1 + 1e-7 * np.random.default_rng(0).random((16, 8)))
    assert not normalised(weights).any()


@pytest.mark.parametrize("weights", [np.zeros(3), np.zeros((0, 4)), np.array([[np.nan, 1.0]]), np.array([[np.inf]])])
def test_what_is_no_map_is_refused(weights):
    with pytest.raises(ValueError, match="rollout map"):
        normalised(weights)


@pytest.mark.parametrize("size", [(64, 128), (300, 20), (5, 5)])
def test_panel_holds_original_and_map_of_equal_size(size):
    panel = np.asarray(rollout_panel(Image.new("RGB", size, (10, 200, 30)), np.eye(4), caption="a/" * 200, longest=200))
    original = (panel == (10, 200, 30)).all(axis=2)
    rows, columns = np.flatnonzero(original.any(axis=1)), np.flatnonzero(original.any(axis=0))
    shown = (columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)
    assert max(shown) == 200
    assert shown[0] / shown[1] == pytest.approx(size[0] / size[1], rel=0.1)
    assert (panel[:, -8:] == 255).all()
    # The map starts after the gap and is as wide: its last column is followed by white.
    start = columns[-1] + 1 + 14
    half = panel[rows[0] : rows[-1] + 1, start : start + shown[0]]
    assert (half != 255).any(axis=(0, 2)).all()
    assert (panel[rows[0] : rows[-1] + 1, start + shown[0]] == 255).all()
