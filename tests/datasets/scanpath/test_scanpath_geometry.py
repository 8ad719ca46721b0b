"""Pitch, grids, letterbox, and the rules from fixations to objects, against hand calculation and plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_suite.datasets.scanpath.assign import INSIDE, NEAREST, OUTSIDE, AssignRule, fractions
from vision_suite.datasets.scanpath.geometry import grid_boxes, letterbox, overlap
from vision_suite.errors import ConfigError, DataError
from vision_suite.types import BACKGROUND, Scene
from vision_suite.types.scanpath import object_pitch


@pytest.mark.parametrize(
    ("size", "scale", "dx", "dy", "shown"),
    [
        ((640, 480), 2.1875, 140, 0, [286.5625, 249.375, 170.625, 91.875]),
        ((640, 427), 2.4578125, 53, 0, [217.6734, 280.1906, 191.7094, 103.2281]),
        ((480, 640), 1.6395833, 446, 0, [555.8521, 186.9125, 127.8875, 68.8625]),
        ((640, 360), 2.625, 0, 52, [175.875, 351.25, 204.75, 110.25]),
    ],
)
def test_letterbox_oracle(size, scale, dx, dy, shown):
    found = letterbox(*size)
    assert found.scale == pytest.approx(scale, abs=1e-7)
    assert (found.dx, found.dy) == (dx, dy)
    box = found.boxes(np.array([[67, 114, 67 + 78, 114 + 42]]))[0]
    np.testing.assert_allclose([box[0], box[1], box[2] - box[0], box[3] - box[1]], shown, atol=5e-5)
    if size == (640, 480):
        small = np.array([box[0], box[1], box[2] - box[0], box[3] - box[1]]) * 512 / 1680
        np.testing.assert_allclose(small, [87.3333, 76, 52, 28], atol=5e-5)


def test_a_picture_without_size_is_refused():
    with pytest.raises(DataError, match="0 x 10 pixels"):
        letterbox(0, 10)


def test_pitch_is_the_median_nearest_distance():
    assert object_pitch(grid_boxes(3, 4, cell=(30, 50))) == 30
    assert object_pitch(np.array([[0, 0, 10, 30]])) == 20, "one object: its mean side"
    assert object_pitch(np.array([[0, 0, 0, 0], [0, 0, 0, 0]])) == 1


def test_grids_are_row_major_without_gaps():
    boxes = grid_boxes(2, 3, cell=(10, 20), top=5)
    assert boxes.tolist()[4] == [10, 25, 20, 45]
    scene = Scene("s", (30.0, 45.0), boxes, ("",) * 6, grid=(2, 3))
    assert scene.positions().tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    odd = grid_boxes(1, 14, cell=(2559 / 14, 1))
    assert (odd[1:, 0] == odd[:-1, 2]).all()


def test_overlap():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [0, 0, 0, 0]])
    np.testing.assert_allclose(overlap(boxes, [0, 0, 10, 10]), [1, 50 / 150, 0, 0])


boxes_of = st.lists(
    st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(0, 20)] * 2).map(
        lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
    ),
    min_size=1,
    max_size=6,
)
points_of = st.lists(st.tuples(st.integers(-10, 70), st.integers(-10, 70)), min_size=1, max_size=8)


@given(boxes_of, points_of)
def test_first_box_else_nearest_centre(boxes, points):
    objects, used = AssignRule("first_box")(np.array(points, dtype=float), np.array(boxes, dtype=float))
    for point, chosen in zip(points, objects.tolist(), strict=True):
        inside = [n for n, b in enumerate(boxes) if b[0] <= point[0] <= b[2] and b[1] <= point[1] <= b[3]]
        if inside:
            assert chosen == inside[0]
            continue
        far = [np.hypot((b[0] + b[2]) / 2 - point[0], (b[1] + b[3]) / 2 - point[1]) for b in boxes]
        assert far[chosen] == pytest.approx(min(far))
    assert used[OUTSIDE] == 0
    assert used[INSIDE] + used[NEAREST] == len(points)


@given(boxes_of, points_of, st.floats(0, 30))
def test_smallest_box_else_nearest_edge_within_reach_else_background(boxes, points, reach):
    rule = AssignRule("smallest_box", max_offset=reach)
    objects, used = rule(np.array(points, dtype=float), np.array(boxes, dtype=float))
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in boxes]
    for point, chosen in zip(points, objects.tolist(), strict=True):
        inside = [n for n, b in enumerate(boxes) if b[0] <= point[0] <= b[2] and b[1] <= point[1] <= b[3]]
        gaps = [
            np.hypot(max(b[0] - point[0], 0, point[0] - b[2]), max(b[1] - point[1], 0, point[1] - b[3])) for b in boxes
        ]
        if inside:
            assert chosen in inside
            assert areas[chosen] == min(areas[n] for n in inside)
        elif min(gaps) <= reach:
            assert gaps[chosen] == pytest.approx(min(gaps))
        else:
            assert chosen == BACKGROUND
    assert sum(used.values()) == len(points)
    assert sum(fractions(used).values()) == pytest.approx(1)


def test_the_usual_reach_is_half_the_pitch():
    boxes = np.array([[0, 0, 10, 10], [100, 0, 110, 10]], dtype=float)  # pitch 100
    objects, used = AssignRule("smallest_box")(np.array([[59.0, 5.0], [55.0, 61.0]]), boxes)
    assert objects.tolist() == [1, BACKGROUND]
    assert used == {INSIDE: 0, NEAREST: 1, OUTSIDE: 1}


def test_an_offset_without_use_is_refused():
    with pytest.raises(ConfigError, match="max_offset=3 with assign=first_box"):
        AssignRule("first_box", max_offset=3)
    with pytest.raises(ConfigError, match="max_offset=-1"):
        AssignRule("smallest_box", max_offset=-1)
