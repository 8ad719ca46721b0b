"""Delta and kinds of objects against hand oracles."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.errors import DataError
from vision_suite.metrics.scanpath import (
    BEHAVIOURS,
    KINDS,
    behaviour,
    behaviour_delta,
    fixation_proportions,
    object_kinds,
)
from vision_suite.metrics.scanpath.behaviours import delta_of_means
from vision_suite.types import BACKGROUND, PADDING

HUMAN = [[([3, 3, 7, 2, 7, 9], 9)], [([5, 1, 1, 9], 9)]]
MODEL = [[([3, 7, 2, 9], 9)], [([5, 5, 1, 4, 4, 2], 9)]]


def test_oracle():
    np.testing.assert_allclose(behaviour(*HUMAN[0][0]), [1, 6, 2 / 3, 1 / 6, 1 / 6])
    np.testing.assert_allclose(behaviour(*HUMAN[1][0]), [1, 4, 0.75, 0.25, 0])
    result = behaviour_delta(HUMAN, MODEL)
    assert float(result) == result.delta == pytest.approx(0.375294118, abs=1e-9)
    np.testing.assert_allclose(list(result.human.values()), [1, 5, 0.708333, 0.208333, 0.083333], atol=1e-6)
    np.testing.assert_allclose(list(result.model.values()), [0.5, 5, 0.833333, 0.166667, 0], atol=1e-6)
    np.testing.assert_allclose(list(result.terms.values()), [0.5, 0, 0.176471, 0.2, 1], atol=1e-6)
    assert tuple(result.terms) == BEHAVIOURS
    assert (result.skipped, result.trials, result.skipped_trials, result.empty_paths) == ((), 2, 0, 0)
    np.testing.assert_allclose(delta_of_means(result.human_trials.mean(0), result.model_trials.mean(0)), result.delta)


def test_delta_is_a_number():
    result = behaviour_delta(HUMAN, MODEL)
    assert result == result.delta
    assert result < 0.4
    assert f"{result:.3f}" == "0.375"
    assert round(result - 0.375, 3) == 0
    again = pickle.loads(pickle.dumps(result))
    assert (again, again.terms) == (result, result.terms)
    assert "delta=0.375" in repr(result)


def test_single_paths_need_no_list():
    flat = behaviour_delta([trial[0] for trial in HUMAN], [list(trial[0]) for trial in MODEL])
    assert flat.delta == behaviour_delta(HUMAN, MODEL).delta
    targets = behaviour_delta([(path, {9, 4}) for [(path, _)] in HUMAN], [(path, np.int64(9)) for [(path, _)] in MODEL])
    assert targets.delta == flat.delta


def test_people_against_themselves_are_perfect():
    assert float(behaviour_delta(HUMAN, HUMAN)) == 0


def test_samples_are_averaged_before_trials():
    many = behaviour_delta(HUMAN, [[MODEL[0][0], HUMAN[0][0]], [MODEL[1][0]]])
    expected = (behaviour(*MODEL[0][0]) + behaviour(*HUMAN[0][0])) / 2
    np.testing.assert_allclose(many.model_trials[0], expected)


def test_behaviours_people_never_show_are_left_out_and_named():
    human, model = [[([1, 2, 3], 3)]], [[([1, 1, 3], 3)]]
    result = behaviour_delta(human, model)
    assert result.skipped == ("refix", "revisit")
    assert result.delta == pytest.approx((0 + 0 + 1 / 3) / 3)
    absent = behaviour_delta([[([1, 2], None)]], [[([1, 2], None)]])
    assert absent.skipped == ("correct", "refix", "revisit")


def test_trials_without_fixations_are_counted():
    result = behaviour_delta([*HUMAN, [([], 9)], [([1], 1)]], [*MODEL, [([1], 9)], [([], 1), ([], 1)]])
    assert result.delta == behaviour_delta(HUMAN, MODEL).delta
    assert (result.trials, result.skipped_trials, result.empty_paths) == (2, 2, 3)
    with pytest.raises(DataError, match="none of 1 trials"):
        behaviour_delta([[([], 9)]], [[([1], 9)]])
    for wrong in ([3], [[([1], 9, 1)]], [[([1],)]]):
        with pytest.raises(DataError, match=r"a trial is .*: give a list of \(sequence, target\) for each"):
            behaviour_delta(wrong, [[([1], 9)]])
    with pytest.raises(DataError, match="2 human trials, 1 of the model"):
        behaviour_delta(HUMAN, MODEL[:1])
    with pytest.raises(DataError, match="holds padding"):
        behaviour_delta([[([1, PADDING], 9)]], [[([1], 9)]])


def test_targets_of_any_kind():
    for target in (2, np.int64(2), np.array(2), torch.tensor(2), {2, 5}, [5, 2], torch.tensor([2]), "2"):
        assert behaviour([1, 2], target)[0] == 1
    assert behaviour([1, 2], [])[0] == 0


def test_weights():
    doubled = behaviour_delta([*HUMAN, HUMAN[0]], [*MODEL, MODEL[0]])
    assert behaviour_delta(HUMAN, MODEL, [2, 1]).delta == pytest.approx(doubled.delta)


@pytest.mark.parametrize(("weights", "message"), [([0, 0], "are 0"), ([2, -1], "-1 to 2"), ([1, np.nan], "finite")])
def test_weights_without_a_mean_are_refused(weights, message):
    with pytest.raises(DataError, match=message):
        behaviour_delta(HUMAN, MODEL, weights)


def test_background_and_single_fixations():
    np.testing.assert_array_equal(behaviour([4], 4), [1, 1, 1, 0, 0])
    np.testing.assert_array_equal(behaviour([BACKGROUND] * 4, BACKGROUND), [0, 4, 0.25, 0.75, 0])
    np.testing.assert_array_equal(behaviour([1, BACKGROUND, 1, BACKGROUND], 1), [0, 4, 0.5, 0, 0.5])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=20))
def test_shares_equal_a_loop(sequence):
    seen, previous, counts = set(), None, {"search": 0, "refix": 0, "revisit": 0}
    for number in sequence:
        if number == previous:
            counts["refix"] += 1
        elif number in seen:
            counts["revisit"] += 1
        else:
            counts["search"] += 1
        seen.add(number)
        previous = number
    found = behaviour(sequence, 3)
    np.testing.assert_allclose(found[2:], np.array(list(counts.values())) / len(sequence))
    assert found[2:].sum() == pytest.approx(1)
    assert found[0] == (sequence[-1] == 3)


def test_proportions_of_kinds():
    kinds = object_kinds(5, {0}, ["cup", "cup", "fork", "fork", "dish"], [True, True, True, False, False])
    assert kinds == ["target", "same_category", "similar_colour", "other", "other"]
    shares = fixation_proportions([[0, 1, 1, BACKGROUND], np.array([2, 3, 4, 4])], kinds)
    assert tuple(shares) == KINDS
    assert list(shares.values()) == [1 / 8, 2 / 8, 1 / 8, 3 / 8, 1 / 8]
    assert object_kinds(2, []) == ["other", "other"]
    assert np.isnan(list(fixation_proportions([[]], kinds).values())).all()
    with pytest.raises(DataError, match="object 7 has kind None"):
        fixation_proportions([[7]], kinds)
    with pytest.raises(DataError, match=r"targets \[5\]: the scene has objects 0 to 1"):
        object_kinds(2, [5])
    with pytest.raises(DataError, match="one entry for each of 3"):
        object_kinds(3, {0}, ["cup"])
