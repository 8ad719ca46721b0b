"""Learnt loss weights: hand values, optimum, bounds."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vision_suite.losses.uncertainty import UncertaintyWeighting

NAMES = ("sa", "glca", "pwca")


def losses(*values):
    return {name: torch.tensor(v, dtype=torch.float64) for name, v in zip(NAMES, values, strict=True)}


def gradients(module):
    return [module.log_variance[name].grad.item() for name in NAMES]


def test_three_losses_by_hand():
    module = UncertaintyWeighting(NAMES)
    total = module(losses(1.0, 2.0, 3.0))
    total.backward()
    assert total.item() == pytest.approx(3.0, abs=1e-12)
    assert gradients(module) == pytest.approx([0.0, -0.5, -1.0], abs=1e-7)
    assert {name: w.item() for name, w in module.weights().items()} == dict.fromkeys(NAMES, 0.5)


def test_the_optimum_is_the_logarithm_of_the_loss():
    module = UncertaintyWeighting(NAMES).double()
    for name, value in zip(NAMES, (1.0, 2.0, 3.0), strict=True):
        module.log_variance[name].data.fill_(math.log(value))
    total = module(losses(1.0, 2.0, 3.0))
    total.backward()
    assert total.item() == pytest.approx(2.3958797346, abs=1e-9)
    assert gradients(module) == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)


def test_starts_of_fairmot():
    for initial, weight in ((-1.85, 3.180), (-1.05, 1.429)):
        assert UncertaintyWeighting(["x"], initial=initial).weights()["x"].item() == pytest.approx(weight, abs=1e-3)


def test_a_negative_total_is_legal():
    module = UncertaintyWeighting(["x"], initial=-5.0)
    assert module({"x": torch.tensor(1e-4)}).item() < 0


@given(st.floats(-30, 30))
def test_weights_stay_in_bounds_and_can_come_back(start):
    module = UncertaintyWeighting(["x"], initial=start, limit=4.0)
    loss = torch.tensor(1.0, requires_grad=True)
    module({"x": loss}).backward()
    assert 0.5 * math.exp(-4) - 1e-7 <= loss.grad.item() <= 0.5 * math.exp(4) + 1e-4
    assert module.weights()["x"].item() == pytest.approx(loss.grad.item(), rel=1e-6)
    w = module.log_variances()["x"].item()
    assert abs(w) <= 4.0
    # On the bound the gradient is that of the loss, not cut to 0, which would hold w there for ever.
    assert module.log_variance["x"].grad.item() == pytest.approx(0.5 * (1 - math.exp(-w)), rel=1e-5, abs=1e-7)


def test_float32_under_autocast():
    module = UncertaintyWeighting(["x"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = module({"x": torch.tensor(0.7, dtype=torch.bfloat16)})
    assert total.dtype == torch.float32
