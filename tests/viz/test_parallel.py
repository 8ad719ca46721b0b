"""Parallel coordinates: places on the axes, and pictures of all kinds of sweeps."""

import numpy as np
import pytest

from vision_suite.viz.parallel import _placed, parallel_picture


def test_numbers_lie_between_their_ends():
    places, ticks = _placed([2.0, 4.0, None, 3.0])
    assert places.tolist() == [0.0, 1.0, 0.0, 0.5]
    assert [text for _, text in ticks] == ["2", "3", "4"]


def test_wide_positive_numbers_are_logarithmic():
    places, _ = _placed([1e-4, 1e-3, 1e-2, 1e-1])
    assert places == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert _placed([1.0, 10.0, 3.0], log=True)[0].tolist() == pytest.approx([0.0, 1.0, np.log10(3.0)])
    assert _placed([0.0, 10.0, 1.0], log=True)[0].tolist() == pytest.approx([0.0, 1.0, 0.1]), "zero has no logarithm"
    assert _placed([-1.0, 1000.0, 0.0])[0].tolist() == pytest.approx([0.0, 1.0, 1 / 1001])


def test_words_and_flags_have_places_by_their_text():
    places, ticks = _placed(["b", True, "b", [1, 2]])
    assert places.tolist() == [1.0, 0.0, 1.0, 0.5]
    assert [text for _, text in ticks] == ["True", "[1, 2]", "b"]
    assert _placed(["a"])[0].tolist() == [0.5]


def draw(maximise, values):
    return parallel_picture(
        ["model.optim.lr", "kind"],
        [[1e-4, 1e-2, 1.0], ["a", "b", "a"]],
        values,
        metric="loss",
        maximise=maximise,
        title="t",
    )


def test_the_picture_shows_the_goal_and_trials_without_a_value():
    less, more = draw(False, [1.0, 2.0, None]), draw(True, [1.0, 2.0, None])
    assert less.size == more.size
    assert less.mode == "RGB"
    assert not np.array_equal(np.asarray(less), np.asarray(more)), "the better end is up"
    assert not np.array_equal(np.asarray(less), np.asarray(draw(False, [1.0, 2.0, 3.0])))


def test_hostile_names_are_drawn_as_text():
    image = parallel_picture(["$x^$\n" * 40], [[1, 2]], [0.0, 1.0], metric="$_$", maximise=False, title="$\\frac$")
    assert image.width > 300
