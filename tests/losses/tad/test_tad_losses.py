"""Labels and losses of proposal networks against hand oracles; no batch gives NaN."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.layers.proposal_map import Convention, ProposalMap
from vision_suite.losses.tad.detection import (
    DetectionLoss,
    balanced_logistic,
    overlap_regression,
    segment_classification,
    video_classification,
)
from vision_suite.losses.tad.targets import boundary_targets, detection_targets, iou_targets

ONE = torch.tensor([[[2.0, 5.0]]])
HERE = torch.tensor([[True]])


@pytest.mark.parametrize(
    ("boundary", "start", "end"),
    [
        ("point", [0, 1, 1, 1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1, 0, 0, 0]),
        ("cell", [0.5, 1, 1, 0.5, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0.5, 1, 1, 0.5, 0, 0, 0]),
        ("two_cells", [0.5, 1, 1, 0.5, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0.5, 1, 1, 0.5, 0, 0, 0]),
    ],
)
def test_boundary_labels(boundary, start, end):
    for column, expected in enumerate((start, end)):
        found = boundary_targets(ONE[..., column], HERE, 10, boundary)
        torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.float))
    positives = (boundary_targets(ONE[..., 0], HERE, 10, boundary) > 0.5).sum()
    assert positives == (3 if boundary == "point" else 2)


@pytest.mark.parametrize("layout", ["duration_start", "start_end"])
def test_overlap_labels(layout):
    found = iou_targets(ONE, HERE, ProposalMap(10, 10, layout))[0]
    for (s, d), expected in {(2, 2): 1.0, (2, 1): 2 / 3, (1, 3): 0.75, (0, 4): 0.6, (0, 9): 0.3}.items():
        assert found[(d, s) if layout == "duration_start" else (s, s + d)] == pytest.approx(expected)
    assert (found[~ProposalMap(10, 10, layout).valid()] == 0).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(0, 4))
def test_overlap_labels_equal_loops(seed, length, count):
    rng = np.random.default_rng(seed)
    segments = np.sort(rng.uniform(-1, length + 1, (count, 2)), axis=1)
    proposals = ProposalMap(length, max(1, length - 2))
    found = iou_targets(torch.tensor(segments)[None], torch.ones(1, count, dtype=torch.bool), proposals)[0]
    for d in range(proposals.duration):
        for s in range(length):
            best = 0.0
            for a, b in segments if s + d < length else []:
                inter = max(0.0, min(b, s + d + 1) - max(a, s))
                best = max(best, inter / ((d + 1) + (b - a) - inter))
            assert found[d, s].item() == pytest.approx(best, abs=1e-9)


def test_padding_does_not_count():
    valid = torch.arange(10)[None] < 6
    targets = detection_targets(ONE, HERE, ProposalMap(10, 10), Convention(), valid)
    assert targets.position.sum() == 6
    assert targets.proposal.sum() == 6 * 7 // 2


def all_true(*shape):
    return torch.ones(shape, dtype=torch.bool)


def test_logistic_oracles():
    positive = torch.arange(12).reshape(3, 4) % 5 == 0
    half = balanced_logistic(torch.full((3, 4), 0.5), positive, all_true(3, 4))
    assert 2 * half.item() == pytest.approx(1.386290, abs=2e-6)
    sure = balanced_logistic(torch.where(positive, 0.9, 0.1), positive, all_true(3, 4))
    assert 2 * sure.item() == pytest.approx(0.210719, abs=5e-6)


def test_confidence_oracle():
    u = torch.tensor([[1, 0.95, 0.5], [0, 0.2, 0.8], [0, 0, 0.9]])
    p = torch.tensor([[0.8, 0.6, 0.3], [0.1, 0.2, 0.4], [0.9, 0.9, 0.5]])
    valid = ProposalMap(3, 3, "start_end").valid()
    assert balanced_logistic(p, u > 0.9, valid).item() == pytest.approx(0.406465, abs=5e-6)


def test_regression_oracle():
    u = torch.tensor([[0.9, 0.5, 0.1]])
    loss = overlap_regression(torch.zeros(1, 3), u, all_true(1, 3), torch.zeros(1, 3))
    assert loss.item() == pytest.approx(0.178333, abs=1e-6)


def test_more_high_than_middle_overlaps_never_select_other_places():
    """4 high, 2 middle, 3 low of 36: at most those 9 count, and none of a padded half, whatever stands there."""
    u = torch.zeros(6, 6)
    u[0, :4], u[1, :2], u[2, :3] = 0.9, 0.5, 0.1
    counted = all_true(6, 6)
    counted[3:] = False
    u[3:] = torch.rand(3, 6)
    loss = overlap_regression(torch.full((6, 6), 0.4), u, counted, torch.rand(6, 6) * 0.999)
    kept = [(0.5, 4), (0.1, 2), (0.3, 3)]
    expected = 0.5 * sum(n * d * d for d, n in kept) / 9
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_zero_overlap_counts_only_where_asked():
    u = torch.tensor([0.9, 0.0])
    left_out, counted = (
        overlap_regression(torch.ones(2), u, all_true(2), torch.zeros(2), low_with_zero=zero) for zero in (False, True)
    )
    assert left_out.item() == pytest.approx(0.005, rel=1e-4)
    assert counted.item() == pytest.approx(0.5 * (0.01 + 1) / 2, rel=1e-4)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_logits_count_in_full(kind):
    """At T = 256 a half-precision sum of ones would overflow; the loss equals that of the same logits in float32."""
    torch.manual_seed(0)
    proposals = ProposalMap(256, 256)
    targets = detection_targets(
        torch.tensor([[[10.0, 90.0]]]), torch.ones(1, 1, dtype=torch.bool), proposals, Convention()
    )
    logits = [torch.randn(s).to(kind) for s in [(1, 256)] * 2 + [(1, 256, 256)] * 2]
    found = []
    for inputs in (logits, [x.float() for x in logits]):
        torch.manual_seed(1)
        found.append(DetectionLoss()(*inputs, targets)[0])
    assert found[0].dtype == torch.float32
    assert torch.equal(found[0], found[1])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 3), st.sampled_from([1, 2, 4]), st.sampled_from([-40.0, 0.0, 40.0]))
def test_always_finite_with_finite_gradients(seed, count, batch, shift):
    torch.manual_seed(seed)
    proposals = ProposalMap(6, 6)
    segments = torch.sort(torch.rand(batch, count, 2) * 6, dim=2).values
    present = torch.rand(batch, count) < 0.7
    logits = [(torch.randn(s) + shift).requires_grad_() for s in [(batch, 6)] * 2 + [(batch, 6, 6)] * 2]
    targets = detection_targets(segments, present, proposals, Convention())
    total, terms = DetectionLoss()(*logits, targets)
    total.backward()
    assert math.isfinite(total.item())
    assert all(torch.isfinite(x.grad).all() for x in logits)
    assert set(terms) == {"boundary", "iou", "confidence"}


def test_classification_terms():
    assert segment_classification(torch.randn(0, 3), torch.zeros(0, dtype=torch.int64)).item() == 0
    assert segment_classification(torch.zeros(2, 3), torch.tensor([0, 2])).item() == pytest.approx(math.log(3))
    logits, labels = torch.randn(2, 3), torch.tensor([[2, 0, 2], [-1, -1, -1]])
    expected = torch.nn.BCEWithLogitsLoss()(logits, torch.tensor([[1.0, 0, 1], [0, 0, 0]]))
    torch.testing.assert_close(video_classification(logits, labels), expected)
    assert math.isfinite(video_classification(logits, torch.zeros(2, 0, dtype=torch.int64)).item())


@pytest.mark.parametrize("low_with_zero", [False, True])
def test_a_batch_without_any_action_pushes_every_score_down(low_with_zero):
    """Boundaries, overlaps and classes fall where they count; nothing moves in padding, and nothing is undefined."""
    proposals, valid = ProposalMap(6, 4), torch.arange(6)[None] < torch.tensor([[6], [4]])
    for annotations in (0, 2):
        segments, present = torch.zeros(2, annotations, 2), torch.zeros(2, annotations, dtype=torch.bool)
        targets = detection_targets(segments, present, proposals, Convention(), valid)
        logits = [torch.zeros(s, requires_grad=True) for s in [(2, 6)] * 2 + [(2, 4, 6)] * 2]
        total, terms = DetectionLoss(low_with_zero=low_with_zero)(*logits, targets)
        total.backward()
        assert terms["boundary"].item() == pytest.approx(math.log(2), abs=1e-4), "half of it is for the missing side"
        start, end, iou, confidence = (x.grad for x in logits)
        for grad, counted in ((start, valid), (end, valid), (confidence, targets.proposal)):
            assert (grad[counted] > 0).all()
            assert (grad[~counted] == 0).all()
        assert (iou == 0).all(), "no overlap is high, and the low band is as large as the high one"


def test_classes_of_videos_without_labels_fall_and_segments_without_labels_say_nothing():
    snippet = torch.zeros(2, 3, requires_grad=True)
    video_classification(snippet, torch.full((2, 2), -1)).backward()
    torch.testing.assert_close(snippet.grad, torch.full((2, 3), 0.5 / 6))
    logits = torch.randn(0, 3, requires_grad=True)
    loss = segment_classification(logits, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None, "the graph stays whole, for training in several processes"
