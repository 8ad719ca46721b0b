"""Losses of scanpath models by hand."""

import math

import pytest
import torch

from vision_suite.losses.scanpath import log_normal_nll, next_fixation_loss, scanpath_loss

LOGITS = [1.4142135, 0.7071068, 2.1213203, 0.3535534, 0.0]


def test_cross_entropy_counts_the_padding_class_and_labelled_steps_only():
    logits = torch.tensor([[LOGITS, [5.0, 0, 0, 0, 0], LOGITS]])
    assert float(next_fixation_loss(logits, torch.tensor([[2, -100, -100]]))) == pytest.approx(0.706445, abs=1e-6)
    both = next_fixation_loss(logits, torch.tensor([[2, -100, 3]]))
    assert float(both) == pytest.approx((0.706445 - math.log(0.084229)) / 2, abs=1e-5)


def test_missing_classes_take_no_mass_and_no_gradient():
    logits = torch.tensor([[[0.0, -torch.inf, 0.0]]], requires_grad=True)
    loss = next_fixation_loss(logits, torch.tensor([[0]]))
    assert loss.item() == pytest.approx(math.log(2))
    loss.backward()
    assert logits.grad.tolist() == [[[-0.5, 0.0, 0.5]]]


def test_log_normal_by_torch():
    timing = torch.tensor([[[-1.2, -0.5], [0.3, 0.2], [4.0, 4.0]]], requires_grad=True)
    duration = torch.tensor([[0.25, 1.5, torch.nan]])
    loss = log_normal_nll(timing, duration)
    wanted = torch.distributions.LogNormal(timing[0, :2, 0], timing[0, :2, 1].exp()).log_prob(duration[0, :2])
    assert loss.item() == pytest.approx(-wanted.mean().item(), abs=1e-6)
    loss.backward()
    assert torch.isfinite(timing.grad).all()
    assert (timing.grad[0, 2] == 0).all()


def test_nothing_to_learn_from_is_a_loss_of_zero():
    logits = torch.tensor([[[0.0, -torch.inf]]], requires_grad=True)
    timing = torch.zeros(1, 1, 2, requires_grad=True)
    total, terms = scanpath_loss(logits, torch.tensor([[-100]]), timing, torch.tensor([[torch.nan]]))
    assert total.item() == 0
    assert set(terms) == {"fixation", "duration"}
    total.backward()
    assert logits.grad.abs().sum() == 0
    assert timing.grad.abs().sum() == 0


def test_the_sum_is_weighted():
    logits, timing = torch.tensor([[LOGITS]]), torch.zeros(1, 1, 2)
    total, terms = scanpath_loss(logits, torch.tensor([[2]]), timing, torch.ones(1, 1), duration_weight=0.5)
    assert float(total) == pytest.approx(float(terms["fixation"]) + 0.5 * 0.5 * math.log(2 * math.pi))
    assert set(scanpath_loss(logits, torch.tensor([[2]]))[1]) == {"fixation"}
