"""Bayesian search: the space, what every trial counts as, and proposals that history alone decides."""

import pytest

from vision_suite.sweeps.bayes import MOST_GAUSSIAN, next_place, outcomes
from vision_suite.sweeps.events import FINISHED, SweepTrial, TrialEvents
from vision_suite.sweeps.propose import propose, trial_seed
from vision_suite.sweeps.settings import parse_sweep


def bayes(**metric):
    return parse_sweep({
        "method": "bayes",
        "program": "a.py",
        "metric": {"name": "loss", **metric},
        "parameters": {
            "x": {"min": -5.0, "max": 10.0},
            "kind": {"values": ["a", "b"]},
            "n": {"min": 1, "max": 4},
            "fixed": {"value": 7},
        },
    })  # fmt: skip


@pytest.fixture
def history(tmp_path):
    return TrialEvents(tmp_path / "trials.jsonl")


def tell(history, place, values=(), state=None):
    """One trial with its values; it runs on where no state is given."""
    number = len(history.trials) + 1
    history.add("propose", trial=number, args={}, unit=list(place))
    history.add("start", trial=number, attempt=1, resumes=False)
    for step, value in enumerate(values):
        history.add("value", trial=number, step=step, value=value)
    if state is not None:
        history.add("end", trial=number, state=state, status=0, epoch=0)


def test_values_of_trials(history):
    tell(history, [0.1], [3.0, 1.0, 2.0], "finished")
    tell(history, [0.2], [9.0, 4.0, 6.0], "stopped")
    tell(history, [0.3], [0.5], "failed")
    tell(history, [0.4], [0.1])
    tell(history, [0.5], [None], "finished")
    found = outcomes(bayes().metric, history)
    assert found == [([0.1], 1.0), ([0.2], 6.0), ([0.3], 9.0), ([0.5], 9.0), ([0.4], 9.0)]


def test_values_are_negated_where_more_is_better(history):
    tell(history, [0.1], [3.0, 1.0], "finished")
    tell(history, [0.2], [], "failed")
    assert outcomes(bayes(goal="maximize").metric, history) == [([0.1], -3.0), ([0.2], -1.0)]


def test_imputation_that_the_file_chooses(history):
    tell(history, [0.1], [3.0], "finished")
    tell(history, [0.2], [1.0, 2.0], "failed")
    tell(history, [0.3], [4.0, 5.0])
    chosen = bayes(impute="best", impute_while_running="latest").metric
    assert outcomes(chosen, history) == [([0.1], 3.0), ([0.2], 1.0), ([0.3], 5.0)]


def test_nothing_is_known_before_a_value(history):
    tell(history, [0.1])
    assert outcomes(bayes().metric, history) is None
    assert next_place(bayes().metric, history, 1, 0) is None


def test_the_first_points_are_random_and_others_are_not(history):
    pytest.importorskip("optuna")
    sweep, random = bayes(), parse_sweep({**bayes().contents, "method": "random"})
    for number in range(1, 4):
        args, place = propose(sweep, history, 1)
        assert (args, place) == propose(random, history, 1)
        assert set(args) == {"x", "kind", "n", "fixed"}
        assert args["fixed"] == 7
        assert len(place) == 3, "a constant is no part of the search"
        assert args["x"] == pytest.approx(-5 + 15 * place[2])
        tell(history, place, [float(number)], "finished")
    assert propose(sweep, history, 1) != propose(random, history, 1)


def test_history_and_seed_decide(history, tmp_path):
    pytest.importorskip("optuna")
    sweep = bayes()
    for number, place in enumerate([(0.1, 0.2, 0.3), (0.9, 0.1, 0.5), (0.4, 0.8, 0.7)]):
        tell(history, place, [float(number)], "finished")
    first = propose(sweep, history, 1)
    assert propose(sweep, TrialEvents(history.path), 1) == first, "read again from the file"
    assert propose(sweep, history, 2) != first
    tell(history, first[1])
    second = propose(sweep, history, 1)
    distance = max(abs(a - b) for a, b in zip(first[1], second[1], strict=True))
    assert distance > 0.01, "a trial in flight is not proposed again"


def test_beyond_two_hundred_trials_tpe_proposes(history, monkeypatch):
    optuna = pytest.importorskip("optuna")
    metric = bayes().metric
    for number in range(1, MOST_GAUSSIAN + 2):
        x = number / 250
        history.trials[number] = SweepTrial(number, {}, [x], FINISHED, {1: (x - 0.5) ** 2})
        history.order.append(number)
    monkeypatch.setattr(optuna.samplers, "GPSampler", None)  # calling it fails
    (place,) = next_place(metric, history, 1, 0)
    assert 0 <= place <= 1
    assert [place] == next_place(metric, history, 1, 0)
    history.order.pop()
    history.trials.popitem()
    with pytest.raises(TypeError):
        next_place(metric, history, 1, 0)


def test_seeds_of_trials_are_fixed():
    assert trial_seed(1, 1) == trial_seed(1, 1)
    assert len({trial_seed(seed, number) for seed in range(20) for number in range(20)}) == 400
    assert all(0 <= trial_seed(0, number) < 2**32 for number in range(50))
