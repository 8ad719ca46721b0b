"""Conditional saliency metrics against hand oracles and their chance levels."""

import numpy as np
import pytest

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.scanpath import (
    conditional_auc,
    conditional_auc_hat,
    conditional_information_gain,
    conditional_nss,
    fixation_prior,
    object_information_gain,
    sampled_nss,
    similarity,
    top_k_accuracy,
    true_probability,
    true_rank,
)

MAP = np.array([[0.05, 0.10, 0.05, 0.05], [0.10, 0.30, 0.10, 0.05], [0.05, 0.05, 0.05, 0.05]])
UNIFORM = np.full((3, 4), 1 / 12)
POINTS = [(1, 1), (0, 0), (2, 1)]
MAPS = np.stack([MAP] * 3)


def test_oracles():
    gain = conditional_information_gain(MAPS, POINTS, UNIFORM)
    np.testing.assert_allclose(gain, [1.847997, -0.736966, 0.263034], atol=1e-6)
    np.testing.assert_allclose(conditional_nss(MAPS, POINTS), [3.018732, -0.464420, 0.232210], atol=1e-6)
    np.testing.assert_allclose(conditional_nss(MAPS, POINTS, ddof=0), [3.152963, -0.485071, 0.242536], atol=1e-6)
    np.testing.assert_allclose(conditional_auc_hat(MAPS, POINTS), [1.0, 0.5, 0.863636], atol=1e-6)
    found = conditional_auc(MAPS, POINTS)
    np.testing.assert_allclose(found, [0.958333, 0.333333, 0.791667], atol=1e-6)
    assert found.mean() == pytest.approx(0.694444, abs=1e-6)
    assert similarity(MAP, UNIFORM) == pytest.approx(0.733333, abs=1e-6)
    assert similarity(5 * MAP, MAP) == pytest.approx(1)


def test_coordinates_are_floored():
    np.testing.assert_array_equal(conditional_auc(MAPS, np.array(POINTS) + 0.9), conditional_auc(MAPS, POINTS))


def test_constant_maps():
    flat = np.stack([UNIFORM] * 3)
    np.testing.assert_allclose(conditional_information_gain(flat, POINTS, UNIFORM), 0, atol=1e-12)
    np.testing.assert_array_equal(conditional_nss(flat, POINTS), 0)
    np.testing.assert_array_equal(conditional_auc(flat, POINTS), 0.5)
    np.testing.assert_array_equal(conditional_auc_hat(flat, POINTS), 0.5)


def test_chance_levels_differ():
    generator = np.random.default_rng(0)
    maps = generator.uniform(0, 1, (20000, 8, 8))
    points = generator.integers(0, 8, (20000, 2))
    assert conditional_auc(maps, points).mean() == pytest.approx(0.5, abs=0.01)
    assert conditional_auc_hat(maps, points).mean() == pytest.approx(0.75, abs=0.01)


def test_an_empty_pixel_costs_a_finite_number_of_bits():
    point = np.zeros((1, 3, 4))
    point[0, 1, 1] = 1
    assert conditional_information_gain(point, [(0, 0)], UNIFORM) == pytest.approx(np.log2(2.2204e-16 * 12), abs=1e-3)


def test_sampled_nss():
    union = np.zeros((3, 4))
    union[1, 1] = union[0, 2] = 1
    expected = [(1 - union.mean()) / union.std(), (0 - union.mean()) / union.std()]
    assert sampled_nss((3, 4), [(1, 1), (2, 0), (1, 1)], [(1, 1), (3, 2)]) == pytest.approx(np.mean(expected))
    assert sampled_nss((1, 2), [(0, 0), (1, 0)], [(1, 0)]) == 0
    with pytest.raises(DataError, match="no human fixation"):
        sampled_nss((3, 4), [(1, 1)], [])


def test_prior_is_a_distribution_around_the_fixations():
    prior = fixation_prior([(10, 5), (10.7, 5.2)], (20, 40), sigma=2)
    assert prior.sum() == pytest.approx(1)
    assert np.unravel_index(prior.argmax(), prior.shape) == (5, 10)
    with pytest.raises(DataError, match="no fixation"):
        fixation_prior([], (20, 40))
    with pytest.raises(DataError, match="1 of 1 points lie outside"):
        fixation_prior([(40, 0)], (20, 40))


def test_what_is_refused():
    with pytest.raises(DataError, match="map per fixation"):
        conditional_auc(MAP, POINTS)
    with pytest.raises(DataError, match="1 of 3 points lie outside"):
        conditional_auc(MAPS, [(0, 0), (-0.5, 0), (1, 1)])
    with pytest.raises(DataError, match="divide each map by its sum"):
        conditional_information_gain(2 * MAPS, POINTS, UNIFORM)
    with pytest.raises(DataError, match="baseline sum"):
        conditional_information_gain(MAPS, POINTS, 2 * UNIFORM)
    with pytest.raises(DataError, match="not be empty"):
        similarity(MAP, np.zeros((3, 4)))


def test_objects():
    table = np.array([[0.5, 0.25, 0.25, 0.0], [0.1, 0.2, 0.3, 0.4]])
    truth = [1, 3]
    np.testing.assert_array_equal(true_probability(table, truth), [0.25, 0.4])
    np.testing.assert_array_equal(true_rank(table, truth), [2.5, 1])
    assert (top_k_accuracy(table, truth, 1), top_k_accuracy(table, truth, 3)) == (0.5, 1)
    gain = object_information_gain(table, truth, np.full(4, 0.25))
    np.testing.assert_allclose(gain, [0, np.log2(1.6)])
    assert object_information_gain(table, [3, 3], np.full(4, 0.25))[0] == -np.inf
    assert np.isnan(top_k_accuracy(np.empty((0, 4)), []))
    with pytest.raises(DataError, match="columns below K"):
        true_rank(table, [1, 4])


def test_one_pixel_or_one_column_has_no_score():
    one = np.ones((2, 1, 1))
    for score in (conditional_nss, conditional_auc, conditional_auc_hat):
        assert np.isnan(score(one, [(0, 0), (0, 0)])).all()
    assert np.isnan(similarity(one[0], one[0]))
    table = np.array([[0.9, 0.1], [0.6, 0.4]])
    assert np.isnan(top_k_accuracy(table, [1, 0], k=2)), "the true one always is among all"
    assert top_k_accuracy(table, [1, 0], k=1) == 0.5


def test_settings_of_maps():
    with pytest.raises(ConfigError, match="ddof=2"):
        conditional_nss(MAPS, POINTS, ddof=2)
    for sigma in (0, -1, np.nan):
        with pytest.raises(ConfigError, match="sigma="):
            fixation_prior([(1, 1)], (3, 3), sigma=sigma)
    with pytest.raises(ConfigError, match="k=0"):
        top_k_accuracy(np.full((1, 3), 0.3), [0], k=0)
    with pytest.raises(DataError, match="no sampled point"):
        sampled_nss((3, 3), [], [(0, 0)])


def test_nothing_that_is_no_number_is_scored():
    for score in (true_rank, true_probability, top_k_accuracy):
        with pytest.raises(DataError, match="no numbers"):
            score(np.full((2, 6), np.nan), [0, 1])  # by comparison with NaN every object would rank first
    with pytest.raises(DataError, match="not logits"):
        object_information_gain(np.array([[-1.0, 2.0]]), [0], np.full(2, 0.5))
    with pytest.raises(DataError, match="be finite"):
        similarity(np.full((2, 2), np.nan), np.ones((2, 2)))
    with pytest.raises(DataError, match="infinite"):
        conditional_nss(np.array([[[-np.inf, 1.0]]]), [(0, 0)])
    with pytest.raises(DataError, match="maps hold negative values"):
        conditional_information_gain(np.array([[[1.5, -0.5]]]), [(0, 0)], np.full((1, 2), 0.5))
    maps = np.full((2, 3, 4), 1 / 12)
    with pytest.raises(DataError, match="1 of 2 points lie outside"):
        conditional_auc(maps, [(np.nan, 0), (1, 1)])
    with pytest.raises(DataError, match="no numbers"):
        conditional_auc(maps * np.nan, [(0, 0), (1, 1)])
    with pytest.raises(DataError, match=r"baseline \(5, 5\) for maps \(2, 3, 4\)"):
        conditional_information_gain(maps, [(0, 0), (1, 1)], np.full((5, 5), 1 / 25))
    assert conditional_auc(np.zeros((0, 3, 4)), np.zeros((0, 2))).shape == (0,)
