"""Trials in pieces, durations in seconds, unusual lengths, and every trap of raw fixations counted."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_suite.datasets.scanpath.assign import AssignRule
from vision_suite.datasets.scanpath.geometry import grid_boxes
from vision_suite.datasets.scanpath.paths import PathBuilder
from vision_suite.datasets.scanpath.records import ScanpathSet, check_scene, drop_long
from vision_suite.datasets.scanpath.windows import cut_windows
from vision_suite.errors import DataError
from vision_suite.types import BACKGROUND, Condition, Scene, Trial

SCENE = Scene("s", (200.0, 100.0), grid_boxes(1, 2, cell=(100, 100)), ("", ""))


def make(length, given=0, subject="p"):
    sequence = np.arange(length, dtype=np.int64)
    xy = np.zeros((length, 2), dtype=np.float32)
    return Trial("s", subject, "t", Condition.PRESENT, (0,), 0, sequence, xy, xy[:, 0], given=given)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=4), st.integers(2, 15), st.data())
def test_with_overlap_every_fixation_but_the_first_is_predicted_once(lengths, window, data):
    overlap = data.draw(st.integers(1, window - 1))
    pieces, lost = cut_windows([make(length) for length in lengths], window, overlap)
    for index, length in enumerate(lengths):
        own = [piece for piece in pieces if piece.recording == index]
        predicted = [n for piece in own for n in piece.sequence[piece.given :].tolist()]
        assert predicted == list(range(1, length))
        assert all(piece.length <= window and piece.sequence[0] == piece.first for piece in own)
        assert [piece.terminated for piece in own] == [False] * (len(own) - 1) + [True] * bool(own)
        assert all(piece.given == (overlap if n else 1) for n, piece in enumerate(own))
    assert lost == lengths.count(1)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=4), st.integers(2, 15))
def test_without_overlap_only_whole_pieces(lengths, window):
    pieces, lost = cut_windows([make(length) for length in lengths], window, 0)
    assert len(pieces) == sum(length // window for length in lengths)
    assert lost == sum(length % window for length in lengths)
    assert all(piece.length == window and piece.given == 1 for piece in pieces)


def test_unusual_lengths_go_and_are_told():
    trials = [make(5, subject=str(n)) for n in range(30)] + [make(90)]
    found = ScanpathSet("table", Path("."), {"s": SCENE}, trials)
    drop_long(found, 3)
    assert len(found.trials) == 30
    assert found.problems["trials_of_unusual_length"] == 1
    lengths = np.array([5] * 30 + [90])
    assert found.notes["length_filter"]["high"] == pytest.approx(lengths.mean() + 3 * lengths.std())


def test_traps_of_raw_fixations():
    builder = PathBuilder(AssignRule("first_box"))
    assert builder.from_pixels(SCENE, [1, 2], [1]) is None
    found = builder.from_pixels(SCENE, [10, math.nan, 150, 260], [10, 10, 10, 10], [100, 200])
    assert found.sequence.tolist() == [0, 1, 1], "outside goes to the nearest; without coordinates to none"
    assert np.isnan(found.duration).all(), "durations of another number belong to nobody"
    assert builder.from_pixels(SCENE, [], []) is None
    assert {name: count for name, count in builder.problems.items() if count} == {
        "trials_with_unequal_x_and_y": 1,
        "trials_with_durations_of_other_number": 1,
        "fixations_without_place": 1,
        "fixations_outside": 1,
        "trials_without_fixation": 1,
    }


def test_outside_is_left_out_or_moved_to_the_middle():
    builder = PathBuilder(AssignRule("smallest_box"), drop_outside=True, first_to_middle=True)
    found = builder.from_pixels(SCENE, [-50, 150, 500], [10, 10, 10], [100, 200, 300], unit="ms")
    assert found.xy.tolist() == [[100, 50], [150, 10]]
    np.testing.assert_allclose(found.duration, [0.1, 0.2], rtol=1e-6)
    assert builder.problems["first_fixations_moved_to_the_middle"] == 1
    strict = PathBuilder(AssignRule("smallest_box"), drop_outside=True)
    assert strict.from_pixels(SCENE, [-50], [10]) is None


def test_on_no_object_background_or_nothing():
    scene = Scene("s", (500.0, 500.0), np.array([[0, 0, 10, 10], [30, 0, 40, 10]], dtype=np.float32), ("", ""))
    keep, drop = (PathBuilder(AssignRule("smallest_box", unassigned=what)) for what in ("background", "drop"))
    assert keep.from_pixels(scene, [5, 300], [5, 300]).sequence.tolist() == [0, BACKGROUND]
    assert drop.from_pixels(scene, [5, 300], [5, 300]).sequence.tolist() == [0]
    assert drop.from_pixels(scene, [300], [300]) is None
    assert drop.problems["trials_without_fixation_on_an_object"] == 1
    assert keep.from_objects(scene, [0, 7, -1, -2]).sequence.tolist() == [0, BACKGROUND]
    assert keep.problems["fixations_on_no_such_object"] == 2


def test_scenes_and_sets_refuse_nonsense():
    boxes = grid_boxes(1, 2, cell=(1, 1))
    with pytest.raises(DataError, match="2 boxes but 1 labels"):
        check_scene(Scene("s", (1, 1), boxes, ("",)))
    with pytest.raises(DataError, match="no 2 x 3 grid"):
        check_scene(Scene("s", (1, 1), boxes, ("", ""), grid=(2, 3)))
    with pytest.raises(DataError, match="N of 1 or more"):
        check_scene(Scene("s", (1, 1), boxes[:0], ()))
    with pytest.raises(DataError, match=r"box 0 \[5.0, 0.0, 1.0, 1.0\] is no x1.*1 of 1 boxes"):
        check_scene(Scene("s", (1, 1), np.array([[5, 0, 1, 1]], dtype=np.float32), ("",)))
    with pytest.raises(DataError, match="no usable trial"):
        ScanpathSet("table", Path("."), {"s": SCENE}, []).check()
    with pytest.raises(DataError, match="names object 4, but the scene has objects 0 to 1"):
        ScanpathSet("table", Path("."), {"s": SCENE}, [make(5)]).check()


def test_positions_in_pitches():
    free = Scene("s", (400.0, 200.0), np.array([[0, 0, 20, 40], [80, 0, 100, 40]], dtype=np.float32), ("", ""))
    np.testing.assert_allclose(free.positions(), [[0.25, 0.125], [0.25, 1.125]])
    assert free.start() == (200 / 2 / 80, 400 / 2 / 80)
    grid = Scene("s", (1.0, 1.0), grid_boxes(6, 14, cell=(1, 1)), ("",) * 84, grid=(6, 14))
    assert grid.positions()[17].tolist() == [1, 3]
    assert grid.start() == (3, 7)
