"""Batch-hard triplet loss against hand-computed and brute-force values."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.losses.triplet import batch_hard_triplet_loss

FEATURE = torch.tensor([[0.0], [1.0], [3.0], [7.0]], dtype=torch.float64)
LABEL = torch.tensor([0, 0, 1, 1])


def brute_force(feature, label, margin=None):
    """Anchor by anchor, in plain Python."""
    rows = feature.tolist()
    total = 0.0
    for i, anchor in enumerate(rows):
        positive = [math.dist(anchor, rows[j]) for j in range(len(rows)) if label[j] == label[i]]
        negative = [math.dist(anchor, rows[j]) for j in range(len(rows)) if label[j] != label[i]]
        gap = max(positive) - min(negative)
        total += math.log1p(math.exp(gap)) if margin is None else max(0.0, gap + margin)
    return total / len(rows)


def test_four_points_by_hand():
    # d_ap = (1, 1, 4, 4), d_an = (3, 2, 2, 6)
    assert batch_hard_triplet_loss(FEATURE, LABEL).item() == pytest.approx(0.6735114302, abs=1e-10)
    assert batch_hard_triplet_loss(FEATURE, LABEL, margin=0.3).item() == pytest.approx(0.575, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=3, max_size=12), st.sampled_from([None, 0.0, 0.5]), st.integers(0, 999))
def test_equals_brute_force(labels, margin, seed):
    if len(set(labels)) < 2:
        labels = [*labels, 4]
    feature = torch.randn(len(labels), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    found = batch_hard_triplet_loss(feature, torch.tensor(labels), margin=margin)
    assert found.item() == pytest.approx(brute_force(feature, labels, margin), abs=2e-6)


def test_unit_length_ignores_scale():
    feature = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    label = torch.tensor([0, 0, 1, 1, 2, 2])
    unit = torch.nn.functional.normalize(feature)
    one, two = (batch_hard_triplet_loss(s * feature, label, normalize=True) for s in (1.0, 9.0))
    assert one.item() == pytest.approx(brute_force(unit, label.tolist()), abs=1e-6)
    assert two.item() == pytest.approx(one.item(), abs=1e-12)


@pytest.mark.parametrize("margin", [None, 0.3])
def test_one_label_alone_costs_nothing_and_gives_no_nan(margin):
    feature = FEATURE.clone().requires_grad_()
    loss = batch_hard_triplet_loss(feature, torch.zeros(4, dtype=torch.int64), margin=margin)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(feature.grad, torch.zeros_like(feature))


def test_equal_features_have_finite_gradients():
    feature = torch.ones(4, 3, dtype=torch.float64, requires_grad=True)
    loss = batch_hard_triplet_loss(feature, LABEL)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2), abs=1e-6)
    assert feature.grad.isfinite().all()


def test_gradient_is_that_of_finite_differences():
    feature = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    label = torch.tensor([0, 0, 1, 1, 2, 2])
    assert torch.autograd.gradcheck(lambda x: batch_hard_triplet_loss(x, label), feature)


def test_distances_stay_float32_under_autocast():
    feature = torch.randn(8, 16, generator=torch.Generator().manual_seed(2))
    label = torch.arange(8) // 2
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = batch_hard_triplet_loss(feature, label)
        half = batch_hard_triplet_loss(feature.bfloat16(), label)
    assert torch.equal(under, batch_hard_triplet_loss(feature, label))
    assert half.dtype == torch.float32
