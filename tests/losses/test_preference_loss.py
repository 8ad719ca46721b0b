"""Losses on pairs against values worked out by hand in float64, and laws that hold for any pair."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.errors import ConfigError, DataError
from vision_suite.losses.preference import PreferenceLossConfig, preference_loss

# Two ids of context, two of the answer: log-probabilities under the model and the reference.
POLICY = torch.tensor([[-0.5, -1.2, -0.3, -0.9], [-0.5, -1.2, -2.0, -1.1]], dtype=torch.float64)
REFERENCE = torch.tensor([[-0.55, -1.1, -0.7, -1.0], [-0.55, -1.1, -1.4, -0.8]], dtype=torch.float64)
MASK = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64)


def sums(mask=MASK):
    """Per-id log-probabilities with a gradient, and both sums (1, 2)."""
    tokens = POLICY.clone().requires_grad_()
    return tokens, (tokens * mask).sum(1)[None], (REFERENCE * mask).sum(1)[None]


def loss_of(kind, mask=MASK, lengths=None, **more):
    _, policy, reference = sums(mask)
    return preference_loss(policy, reference, PreferenceLossConfig(kind, **more), lengths=lengths).loss.item()


@pytest.mark.parametrize(
    ("beta", "loss", "slope"),
    [(0.1, 0.6255951823371514, 0.04650570548417855), (0.5, 0.4031860488854579, 0.16590611391591698)],
)
def test_sentences_behind_a_common_context(beta, loss, slope):
    tokens, policy, reference = sums()
    found = preference_loss(policy, reference, PreferenceLossConfig(beta=beta))
    found.loss.backward()
    assert found.loss.item() == pytest.approx(loss, abs=1e-14)
    expected = torch.tensor([[0, 0, -slope, -slope], [0, 0, slope, slope]], dtype=torch.float64)
    torch.testing.assert_close(tokens.grad, expected, rtol=0, atol=1e-14)


def test_rewards_margin_and_accuracy():
    _, policy, reference = sums()
    found = preference_loss(policy, reference)
    torch.testing.assert_close(found.rewards, torch.tensor([[0.05, -0.09]], dtype=torch.float64))
    assert found.margins.item() == pytest.approx(0.14)
    assert found.accuracy.item() == 1
    assert preference_loss(policy.flip(1), reference.flip(1)).accuracy.item() == 0


def test_context_cancels_in_the_loss():
    assert loss_of("sigmoid", torch.ones(4, dtype=torch.float64)) == pytest.approx(0.6255951823371514, abs=1e-14)


@pytest.mark.parametrize(
    ("kind", "more", "loss"),
    [
        ("hinge", {}, 0.86),
        ("ipo", {}, 12.96),
        ("ipo_mean", {}, 18.49),
        ("sigmoid_norm", {}, 0.6587595555486971),
        ("robust", {"epsilon": 0.1}, 0.6080951823371514),
        ("label_smoothed", {"epsilon": 0.1}, 0.6395951823371515),
    ],
)
def test_other_kinds(kind, more, loss):
    assert loss_of(kind, lengths=torch.tensor([[2, 2]]), **more) == pytest.approx(loss, abs=1e-13)


@pytest.mark.parametrize(
    ("weight", "beta", "loss"),
    [(5, 0.5, 0.5579100484517362), (5, 0.1, 0.6644058008224248), (1, 0.5, 0.6094704306630467)],
)
def test_weights_on_what_was_changed(weight, beta, loss):
    weights = torch.tensor([1.0, 1.0, weight, weight], dtype=torch.float64)
    lengths = weights.sum().expand(1, 2)
    assert loss_of("ddpo", weights, lengths, beta=beta) == pytest.approx(loss, abs=1e-14)


def test_a_corrupted_picture():
    _, policy, reference = sums()
    third = [torch.tensor([[value]], dtype=torch.float64) for value in (-2.1, -2.1)]
    policy, reference = (torch.cat(each, 1) for each in zip((policy, reference), third, strict=True))
    found = preference_loss(policy, reference, PreferenceLossConfig("mdpo"))
    assert found.loss.item() == pytest.approx(1.962514478363724, abs=1e-14)
    assert found.rewards.shape == (1, 2)
    anchored = preference_loss(policy, reference, PreferenceLossConfig("mdpo", anchor=0.05))
    assert anchored.loss.item() == pytest.approx(0.6255951823371514 + 0.6684596480132863 + math.log(2), abs=1e-14)


def test_answers_of_unequal_length_and_the_mean_of_a_batch():
    masks = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 0]], [[0, 0, 1, 1], [0, 0, 1, 1]]], dtype=torch.float64)
    tokens = POLICY.repeat(2, 1, 1).requires_grad_()
    found = preference_loss((tokens * masks).sum(2), (REFERENCE * masks).sum(2))
    torch.testing.assert_close(
        found.losses, torch.tensor([0.639658918622423, 0.6255951823371514], dtype=torch.float64), rtol=0, atol=1e-14
    )
    assert found.loss.item() == pytest.approx(0.6326270504797872, abs=1e-14)
    found.loss.backward()
    slope = 0.04725276956554063 / 2
    expected = torch.tensor([[0, 0, -slope, -slope], [0, 0, slope, 0]], dtype=torch.float64)
    torch.testing.assert_close(tokens.grad[0], expected, rtol=0, atol=1e-14)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.sampled_from(["sigmoid", "robust", "label_smoothed", "sigmoid_norm", "ddpo"]))
def test_a_model_that_is_its_reference_loses_ln_2(seed, kind):
    values = -10 * torch.rand(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    found = preference_loss(values, values, PreferenceLossConfig(kind), lengths=torch.full((3, 2), 7))
    assert found.loss.item() == pytest.approx(math.log(2), abs=1e-14)
    assert found.accuracy.item() == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.floats(0.01, 0.49))
def test_the_robust_loss_is_unbiased(seed, epsilon):
    # Its mean over labels that are wrong with probability epsilon is the loss of right labels.
    draw = torch.Generator().manual_seed(seed)
    policy, reference = (-10 * torch.rand(4, 2, dtype=torch.float64, generator=draw) for _ in range(2))
    config = PreferenceLossConfig("robust", epsilon=epsilon)
    right = preference_loss(policy, reference, config).losses
    wrong = preference_loss(policy.flip(1), reference.flip(1), config).losses
    expected = preference_loss(policy, reference).losses
    torch.testing.assert_close((1 - epsilon) * right + epsilon * wrong, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "kind", ["sigmoid", "ipo", "ipo_mean", "robust", "label_smoothed", "sigmoid_norm", "mdpo", "supervised"]
)
def test_gradient_is_that_of_finite_differences(kind):
    config = PreferenceLossConfig(kind)
    draw = torch.Generator().manual_seed(1)
    policy, reference = (-5 * torch.rand(3, config.answers, dtype=torch.float64, generator=draw) for _ in range(2))
    lengths = torch.tensor([[3, 4], [1, 2], [9, 8]])
    policy.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: preference_loss(x, reference, config, lengths=lengths).loss, policy)


def test_the_control_is_the_cross_entropy_of_the_preferred_answer():
    policy, reference = torch.tensor([[-6.0, -9.0], [-1.0, -2.0]]), torch.tensor([[-5.0, -1.0], [-3.0, -2.0]])
    found = preference_loss(
        policy, reference, PreferenceLossConfig("supervised"), lengths=torch.tensor([[3, 7], [2, 1]])
    )
    torch.testing.assert_close(found.losses, torch.tensor([2.0, 0.5]))
    torch.testing.assert_close(found.rewards, 0.1 * (policy - reference))


def test_half_precision_is_widened_and_the_reference_gets_no_gradient():
    policy = torch.tensor([[-1.25, -2.5]], dtype=torch.bfloat16, requires_grad=True)
    reference = torch.tensor([[-1.5, -2.0]], dtype=torch.float64, requires_grad=True)
    found = preference_loss(policy, reference)
    found.loss.backward()
    assert found.loss.dtype == torch.float32
    assert found.loss.item() == pytest.approx(math.log1p(math.exp(-0.075)), abs=1e-6)
    assert reference.grad is None


def test_what_does_not_fit_is_refused():
    pair = torch.zeros(2, 2)
    with pytest.raises(ConfigError, match=r"give \(B, 3\)"):
        preference_loss(pair, pair, PreferenceLossConfig("mdpo"))
    with pytest.raises(ConfigError, match=r"give \(B, 2\)"):
        preference_loss(pair, pair[:1])
    with pytest.raises(ConfigError, match="needs lengths"):
        preference_loss(pair, pair, PreferenceLossConfig("ipo_mean"))
    with pytest.raises(DataError, match="no ids"):
        preference_loss(pair, pair, PreferenceLossConfig("ddpo"), lengths=pair)
    with pytest.raises(DataError, match="without pairs"):
        preference_loss(pair[:0], pair[:0])
    for more in ({"beta": 0.0}, {"epsilon": 0.5}, {"kind": "dpo"}):
        with pytest.raises(ConfigError, match="loss"):
            PreferenceLossConfig(**more)
