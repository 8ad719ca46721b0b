"""The pixel-based baseline: a proper density, integrals over boxes, and what it learns from made-up readers."""

from dataclasses import dataclass

import numpy as np
import pytest

from vision_suite.errors import DataError
from vision_suite.metrics.scanpath.report.baselines import Choices
from vision_suite.metrics.scanpath.report.pixel_baseline import PixelBaseline, fit_pixels
from vision_suite.types import Condition, Scene, Trial

COLUMNS, SIDE = 8, 50


@dataclass
class Reader:
    """Walks to the right by a fixed number of cells, wrapping."""

    stride: int

    def trial(self, first, length=6, terminated=False):
        path = (first + self.stride * np.arange(length)) % COLUMNS
        xy = np.stack([path * SIDE + SIDE / 2, np.full(length, SIDE / 2)], axis=1).astype(np.float32)
        unknown = np.full(length, np.nan, dtype=np.float32)
        return Trial("s", "p", "", Condition.FREE, (), -1, path, xy, unknown, given=1, terminated=terminated)


def row_scene():
    left = np.arange(COLUMNS, dtype=np.float32) * SIDE
    boxes = np.stack([left, np.zeros_like(left), left + SIDE, np.full_like(left, SIDE)], axis=1)
    return Scene("s", (COLUMNS * SIDE, 2.0 * SIDE), boxes, ("",) * COLUMNS)


def flat(shares, *, background=False, end=0.0, step=None):
    grid = 16
    table = np.ones((2 * grid + 1,) * 2) if step is None else step
    return PixelBaseline(25.0, np.ones((grid, grid)), table, shares, (1.0, 1.0), background, end)


def test_a_uniform_density_gives_objects_their_area():
    scene = row_scene()
    found = flat((0.3, 0.3, 0.4), background=True).transitions(scene)
    assert found.shape == (COLUMNS + 1, COLUMNS + 1)
    # Boxes fill the upper half of the screen, each an eighth of it.
    np.testing.assert_allclose(found[:, -1], 0.5)
    np.testing.assert_allclose(found[:, :-1], 1 / 16)


def test_a_move_is_taken_from_the_fixation_before():
    step = np.zeros((33, 33))
    step[16, 18] = 1.0  # two cells of 25 pixels to the right: the next box
    found = flat((0.0, 1.0, 0.0), step=step).transitions(row_scene())
    np.testing.assert_allclose(np.diag(found[:-2], 1), 1, atol=1e-6)


@pytest.mark.parametrize("before", [None, np.array([-40.0, 9000.0]), np.array([210.0, 60.0])])
def test_the_density_is_one_even_outside_the_screen(before):
    density = flat((0.2, 0.5, 0.3)).density((400.0, 100.0), before)
    assert density.shape == (4, 16)
    assert density.sum() == pytest.approx(1)
    assert (density > 0).all()


def test_it_learns_strides_and_probabilities_sum_to_one():
    scenes = {"s": row_scene()}
    trials = [Reader(3).trial(n % COLUMNS, terminated=True) for n in range(12)]
    fitted = fit_pixels(trials, scenes, Choices.of(trials))
    assert sum(fitted.shares) == pytest.approx(1)
    assert fitted.shares[1] > 0.5
    logs = fitted.log_probabilities(trials[0], scenes["s"])
    assert logs.shape == (7, COLUMNS + 2)
    np.testing.assert_allclose(np.exp(logs).sum(axis=1), 1)
    assert (logs[:, -2] == -np.inf).all()  # no background in the training trials
    np.testing.assert_allclose(np.exp(logs[:, -1]), 12.05 / (6 * 12 + 0.1 + 0.0), rtol=0.2)
    assert logs[1:-1, :-2].argmax(axis=1).tolist() == trials[0].sequence[1:].tolist()


def test_recorded_pixels_are_used_and_centres_stand_in():
    scenes = {"s": row_scene()}
    trials = [Reader(1).trial(n % COLUMNS) for n in range(8)]
    fitted = fit_pixels(trials, scenes, Choices.of(trials))
    blind = Reader(1).trial(0)
    blind = Trial(**{**blind.__dict__, "xy": np.full_like(blind.xy, np.nan)})
    known = fitted.log_probabilities(Reader(1).trial(0), scenes["s"])
    np.testing.assert_allclose(fitted.log_probabilities(blind, scenes["s"]), known)


def test_paths_begin_with_what_is_given_and_are_as_long():
    scenes = {"s": row_scene()}
    trials = [Reader(2).trial(n % COLUMNS) for n in range(8)]
    fitted = fit_pixels(trials, scenes, Choices.of(trials))
    chain = fitted.transitions(scenes["s"])
    drawn = fitted.paths(trials[3], chain, 5, np.random.default_rng(0))
    assert [len(path) for path in drawn] == [6] * 5
    assert all(path.objects[0] == 3 for path in drawn)
    again = fitted.paths(trials[3], chain, 5, np.random.default_rng(0))
    assert all((a.objects == b.objects).all() for a, b in zip(drawn, again, strict=True))


def test_too_little_to_learn_from():
    with pytest.raises(DataError, match="too few movements"):
        fit_pixels([Reader(1).trial(0)], {"s": row_scene()}, Choices(False, False))
