"""Forgetting against Table 1 of Wings, and drift against a dense calculation in NumPy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.errors import DataError
from vision_suite.metrics.instruct.forgetting import compared_tasks, drift, forgetting, hidden_drift, perplexity
from vision_suite.types.instruct import TaskScore

# Wings, Table 1, the 16 text tasks: language model, Qwen+SigLIP, Wings.
TABLE = {
    "MMLU": (60.86, 51.16, 60.53),
    "CMMLU": (69.37, 60.46, 69.82),
    "ARC-E": (59.96, 55.87, 54.29),
    "ARC-C": (38.90, 39.50, 43.39),
    "WinoGrande": (71.38, 69.05, 69.28),
    "OpenbookQA": (81.73, 77.51, 81.05),
    "RACE-M": (74.82, 68.34, 74.24),
    "RACE-H": (71.05, 57.72, 69.62),
    "WSC": (56.17, 55.23, 66.35),
    "CHID": (71.94, 74.29, 74.06),
    "HellaSwag": (65.70, 63.24, 65.12),
    "SIQA": (45.57, 51.71, 49.64),
    "PIQA": (76.59, 75.19, 78.06),
    "OCNLI": (49.73, 50.29, 50.39),
    "GSM8K": (56.77, 51.37, 52.08),
    "MBPP": (37.50, 33.20, 38.92),
}


def column(number):
    return {name: values[number] for name, values in TABLE.items()}


@pytest.mark.parametrize(
    ("model", "expected"),
    [(1, (3.369375, 3.9725, 0.94983192, 12, 13.33)), (2, (-0.55, 1.00375, 1.01470088, 8, 5.67))],
)
def test_table_1_of_wings(model, expected):
    found = forgetting(column(0), column(model))
    assert found[:5] == pytest.approx(expected, abs=1e-8)
    assert found.tasks == 16


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 1), st.floats(0, 1)), min_size=1, max_size=20))
def test_hinge_is_never_below_the_mean_and_no_gain_reduces_it(pairs):
    before, after = ({str(n): pair[k] for n, pair in enumerate(pairs)} for k in (0, 1))
    found = forgetting(before, after)
    assert found.hinge_drop >= max(found.mean_drop, 0) - 1e-9
    better = {name: max(value, before[name]) for name, value in after.items()}
    assert forgetting(before, better).hinge_drop == 0


def test_errors_name_the_task():
    with pytest.raises(DataError, match="no score of the task 'b'"):
        forgetting({"a": 0.5, "b": 0.5}, {"a": 0.5})
    with pytest.raises(DataError, match="above 0"):
        forgetting({"a": 0.0}, {"a": 0.5})


def score(name, value, *, counted=True, kind="choice"):
    return TaskScore(name, kind, 500, value, 0.02, 0.25, counted)


def test_the_reference_decides_which_tasks_count():
    reference = [score("a", 0.6), score("b", 0.26, counted=False), score("pages", 37.3, kind="text")]
    tuned = [score("a", 0.25, counted=False), score("b", 0.6), score("pages", 99.0, kind="text")]
    found = compared_tasks(reference, tuned)
    assert (found.tasks, found.worst) == (1, 0.35)
    with pytest.raises(DataError, match="above chance on no task"):
        compared_tasks(reference, tuned, names=["b"])


def test_drift_equals_a_dense_calculation_and_its_gradient_is_that_of_cross_entropy():
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(2, 6, 11)) * 3
    p, q = (np.exp(z - z.max(1, keepdims=True)) for z in (one, two))
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    logits = torch.tensor(two, requires_grad=True)
    found = drift(torch.tensor(one), logits)
    assert found.kl.detach().numpy() == pytest.approx((p * np.log(p / q)).sum(1), rel=1e-12)
    assert found.agrees.tolist() == (one.argmax(1) == two.argmax(1)).tolist()
    (gradient,) = torch.autograd.grad(found.kl.sum(), logits)
    assert gradient.numpy() == pytest.approx(q - p, abs=1e-12)


def test_tokens_that_the_reference_excludes_add_nothing():
    one = torch.tensor([[0.0, 0.0, -math.inf]])
    assert drift(one, one).kl.tolist() == [0.0]
    open_ = torch.zeros(1, 3, requires_grad=True)
    found = drift(one, open_).kl
    assert float(found.detach()) == pytest.approx(math.log(3 / 2))
    assert torch.autograd.grad(found.sum(), open_)[0].isfinite().all()
    assert drift(torch.zeros(1, 3), one).kl.isinf().all(), "a token that only the reference allows"


@pytest.mark.parametrize("budget", [1, 700, 2**20])
def test_hidden_states_give_the_drift_of_their_logits(budget):
    torch.manual_seed(0)
    states, heads = torch.randn(2, 7, 5), torch.randn(2, 13, 5)
    found = hidden_drift((states[0], heads[0]), (states[1], heads[1]), budget=budget)
    whole = drift(states[0] @ heads[0].T, states[1] @ heads[1].T)
    torch.testing.assert_close(found.kl, whole.kl)
    assert found.agrees.equal(whole.agrees)
    empty = hidden_drift((states[0, :0], heads[0]), (states[1, :0], heads[1]))
    assert (len(empty.kl), len(empty.agrees)) == (0, 0)


def test_perplexity_of_a_uniform_model_is_its_vocabulary():
    assert perplexity(5 * math.log(49152), 5) == pytest.approx(49152)
    assert perplexity(1e6, 1) == math.inf
    with pytest.raises(DataError, match="0 tokens"):
        perplexity(0.0, 0)


def test_a_text_of_a_tasks_name_is_not_its_score():
    facts = TaskScore("facts", "choice", 500, 0.5, 0.022, 0.25, True)
    text = TaskScore("facts", "text", 90, 37.3, 1.0, math.nan, True)
    assert compared_tasks([facts, text], [facts, text]).worst == 0.0


def test_a_perplexity_of_nothing_known_is_none():
    assert math.isnan(perplexity(math.nan, 3))
