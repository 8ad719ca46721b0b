"""Likelihood against hand calculations and the pointer head's oracle."""

import numpy as np
import pytest

from vision_suite.errors import DataError
from vision_suite.metrics.scanpath import likelihood, step_log_probabilities

POINTER = np.array([1.4142136, 0.7071068, 2.1213203, 0.3535534])  # three objects and the end


def test_uniform():
    steps = step_log_probabilities(np.zeros((4, 85)), [3, 3, 80])
    assert -steps.sum() == pytest.approx(17.758770, abs=1e-6)
    result = likelihood([steps, steps])
    np.testing.assert_allclose(result.per_scanpath, [-17.758770] * 2, atol=1e-6)
    assert (result.fixations, result.decisions) == (6, 8)
    assert result.nats_per_fixation == pytest.approx(17.758770 / 3, abs=1e-6)
    assert result.nats_per_decision == pytest.approx(17.758770 / 4, abs=1e-6)
    assert result.perplexity == pytest.approx(84**0.25 * 85**0.75)
    assert np.isnan(result.bits_over_baseline)


def test_pointer_head_oracle():
    logits = np.stack([POINTER] * 2)
    first, end = np.exp(step_log_probabilities(logits, [2]))
    assert first == pytest.approx(0.575975, abs=1e-6)  # without the end
    assert end == pytest.approx(0.089524, abs=1e-6)  # with it
    later = [np.exp(step_log_probabilities(np.stack([POINTER] * 3), [0, target]))[1] for target in range(3)]
    np.testing.assert_allclose(later, [0.258571, 0.127493, 0.524412], atol=1e-6)
    # Leaving the padding column of logit 0 in, as training does, costs 0.06 nat here.
    assert 0.706445 + np.log(later[2]) == pytest.approx(0.0610, abs=1e-4)


def test_log_probabilities_serve_as_logits():
    logits = np.random.default_rng(0).normal(size=(3, 5))
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(
        step_log_probabilities(logits, [0, 3]), step_log_probabilities(log_probabilities, [0, 3])
    )


def test_all_paths_up_to_a_length_sum_to_one():
    logits = np.random.default_rng(1).normal(size=(3, 4))
    total = 0.0
    for first in range(3):
        total += np.exp(step_log_probabilities(logits[:2], [first]).sum())
        for second in range(3):
            total += np.exp(step_log_probabilities(logits, [first, second], end=False)).prod()
    assert total == pytest.approx(1)


def test_given_fixations_and_open_ends():
    logits = np.random.default_rng(2).normal(size=(4, 6))
    whole = step_log_probabilities(logits, [1, 2, 3])
    np.testing.assert_array_equal(step_log_probabilities(logits, [1, 2, 3], given=1), whole[1:])
    open_end = step_log_probabilities(logits[:3], [1, 2, 3], end=False, given=1)
    np.testing.assert_array_equal(open_end, whole[1:3])
    result = likelihood([whole[1:], open_end], ends=[True, False])
    assert (result.fixations, result.decisions) == (4, 5)


def test_masked_objects_and_impossible_truths():
    logits = np.zeros((2, 4))
    logits[:, 1] = -np.inf
    np.testing.assert_allclose(np.exp(step_log_probabilities(logits, [0])), [1 / 2, 1 / 3])
    assert step_log_probabilities(logits, [1])[0] == -np.inf


def test_bits_over_a_baseline():
    model, base = np.log([0.5, 0.25]), np.log([0.25, 0.25])
    assert likelihood([model], baseline=[base]).bits_over_baseline == pytest.approx(0.5)
    with pytest.raises(DataError, match="other decisions"):
        likelihood([model], baseline=[base[:1]])


def test_what_is_refused():
    with pytest.raises(DataError, match=r"columns 0\.\.1"):
        step_log_probabilities(np.zeros((2, 3)), [2])
    with pytest.raises(DataError, match=r"logits \(1, 3\), 1 objects"):
        step_log_probabilities(np.zeros((1, 3)), [0])
    with pytest.raises(DataError, match="at most 0"):
        likelihood([np.array([0.5])])
    with pytest.raises(DataError, match="at most 0"):
        likelihood([])
    with pytest.raises(DataError, match="an end is a decision"):
        likelihood([np.array([-1.0]), np.array([])])
