"""The loss of all branches against its parts."""

import pytest
import torch
import torch.nn.functional as F

from vision_suite.losses.multi_branch import MultiBranchLoss
from vision_suite.losses.triplet import batch_hard_triplet_loss

NAMES = ("sa", "glca", "pwca")
LABEL = torch.tensor([0, 0, 1, 1])


def branches(seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = {name: torch.randn(4, 6, dtype=torch.float64, generator=generator) for name in NAMES}
    logits = {name: torch.randn(4, 3, dtype=torch.float64, generator=generator) for name in NAMES}
    return features, logits


@pytest.mark.parametrize(("smoothing", "expected"), [(0.0, 0.4076059645), (0.1, 0.5076059645)])
def test_cross_entropy_by_hand(smoothing, expected):
    loss = MultiBranchLoss(["sa"], triplet=False, label_smoothing=smoothing)
    logits = {"sa": torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64)}
    total, parts = loss({}, logits, torch.tensor([0]))
    assert parts["sa"].item() == pytest.approx(expected, abs=1e-10)
    assert total.item() == pytest.approx(expected / 2, abs=1e-10)


def test_reid_adds_the_triplet_loss_to_each_branch():
    features, logits = branches()
    loss = MultiBranchLoss(NAMES, triplet=True, triplet_margin=0.3, triplet_normalize=True, triplet_weight=2.0)
    total, parts = loss(features, logits, LABEL)
    for name in NAMES:
        triplet = batch_hard_triplet_loss(features[name], LABEL, margin=0.3, normalize=True)
        assert parts[name].item() == pytest.approx((F.cross_entropy(logits[name], LABEL) + 2 * triplet).item())
    assert total.item() == pytest.approx(0.5 * sum(part.item() for part in parts.values()))


def test_equal_weights_have_no_parameter_and_start_like_learnt_ones():
    learnt, equal = (MultiBranchLoss(NAMES, triplet=True, weighting=way) for way in ("uncertainty", "equal"))
    assert learnt(*branches(), LABEL)[0].item() == pytest.approx(equal(*branches(), LABEL)[0].item())
    assert not list(equal.parameters())
    assert equal.weights() == {}
    assert len(list(learnt.parameters())) == 3


def test_what_the_log_gets():
    loss = MultiBranchLoss(NAMES, triplet=False, initial_log_variance=1.0, log_variance_limit=0.5)
    log = loss.weights()
    assert set(log) == {f"{kind}_{name}" for kind in ("weight", "log_variance") for name in NAMES}
    assert log["log_variance_sa"].item() == 0.5  # within its limit
    assert log["weight_sa"].item() == pytest.approx(0.5 * torch.tensor(-0.5).exp().item())
    assert not any(value.requires_grad for value in log.values())


def test_half_precision_logits_are_scored_in_float32():
    features, logits = branches()
    half = {name: value.bfloat16() for name, value in logits.items()}
    total, parts = MultiBranchLoss(NAMES, triplet=True)({n: f.bfloat16() for n, f in features.items()}, half, LABEL)
    assert total.dtype == torch.float32
    assert {part.dtype for part in parts.values()} == {torch.float32}
    expected = F.cross_entropy(half["sa"].float(), LABEL) + batch_hard_triplet_loss(features["sa"].bfloat16(), LABEL)
    torch.testing.assert_close(parts["sa"], expected)


def test_a_branch_may_hold_a_part_of_the_batch():
    features, logits = branches()
    rows = torch.tensor([3, 1, 2])
    logits["pwca"], features["pwca"] = logits["pwca"][rows], features["pwca"][rows]
    loss = MultiBranchLoss(NAMES, triplet=True, weighting="equal")
    _, parts = loss(features, logits, LABEL, {"pwca": rows, "glca": None})
    own = F.cross_entropy(logits["pwca"], LABEL[rows]) + batch_hard_triplet_loss(features["pwca"], LABEL[rows])
    torch.testing.assert_close(parts["pwca"], own)
