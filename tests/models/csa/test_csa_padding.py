"""Padding: whatever stands in it, valid logits stay, and they are those of the sequence without it."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from vision_suite.layers.proposal_map import ProposalMap
from vision_suite.models.csa import CSAConfig, CSADetector
from vision_suite.models.csa.hosts import neighbours
from vision_suite.models.csa.masking import MaskedBatchNorm1d
from vision_suite.models.csa.network import video_logits
from vision_suite.models.csa.postprocess import PostProcess
from vision_suite.models.csa.recognizer import SequenceRecognizer
from vision_suite.models.csa.streaming import StreamingDetector

T, LENGTHS = 12, (7, 12, 2)
VALID = torch.arange(T)[None] < torch.tensor(LENGTHS)[:, None]
CONTENTS = [5.0, 1e30, float("inf"), float("-inf"), float("nan")]
VARIANTS = [
    {"self_attention": "none"},
    {"self_attention": "se"},
    {"self_attention": "csa_se"},
    {"self_attention": "csa", "csa": CSAConfig(proj_kernel=3, temporal_fc="conv")},
    {"self_attention": "csa", "csa": CSAConfig(temporal_mode="transpose", norm="batch")},
    {"self_attention": "csa", "csa": CSAConfig(source="features", proj_act="relu")},
    {"self_attention": "csa", "csa": CSAConfig(branches="channel", conv_kernel=5)},
    {"self_attention": "csa", "csa": CSAConfig(branches="temporal"), "classifier_input": "attended"},
]
LAYOUTS = [{}, {"max_duration": 5}, {"convention": {"layout": "start_end"}}]


def network_of(host, variant, **settings):
    torch.manual_seed(0)
    return CSADetector(8, 3, T, host=host, **variant, **settings).eval()


def valid_logits(output, proposals):
    """Everything that counts of an output: positions, snippets, proposals, gates."""
    contained = proposals.contained(VALID)
    kept = [output.start[VALID], output.end[VALID], output.snippet.transpose(1, 2)[VALID]]
    kept += [output.iou[contained], output.confidence[contained]]
    return kept + [gate for gate in (output.gates.channel, output.gates.temporal) if gate is not None]


@pytest.mark.parametrize("host", ["bmn", "gtad"])
@pytest.mark.parametrize("number", range(len(VARIANTS)))
def test_whatever_stands_in_the_padding_valid_logits_stay(host, number):
    network = network_of(host, VARIANTS[number], **LAYOUTS[number % len(LAYOUTS)])
    sequence = torch.randn(3, 8, T)
    with torch.inference_mode():
        expected = valid_logits(network(sequence * VALID[:, None], VALID), network.proposals)
        for content in CONTENTS:
            found = valid_logits(network(sequence.masked_fill(~VALID[:, None], content), VALID), network.proposals)
            assert all(torch.equal(one, two) for one, two in zip(found, expected, strict=True)), content
        whole, same = network(sequence), network(sequence, torch.ones_like(VALID))
    assert all(torch.equal(getattr(whole, name), getattr(same, name)) for name in ("start", "end", "iou", "snippet"))


@pytest.mark.parametrize(
    ("host", "variant", "layout"),
    [
        *itertools.product(["bmn"], [VARIANTS[0], VARIANTS[1], VARIANTS[3], VARIANTS[6]], LAYOUTS),
        *itertools.product(["gtad"], [VARIANTS[0], VARIANTS[3]], LAYOUTS[:1]),
    ],
)
def test_valid_logits_are_those_of_the_sequence_without_padding(host, variant, layout):
    """Of all that G-TAD puts out, samples of its proposals near the end alone see zeros instead of the last cell."""
    padded = network_of(host, variant, **layout)
    sequence = torch.randn(3, 8, T)
    with torch.inference_mode():
        out = padded(sequence, VALID)
        for row, length in enumerate(LENGTHS):
            settings = {**variant, **layout}
            if "max_duration" in settings:
                settings["max_duration"] = min(settings["max_duration"], length)
            short = CSADetector(8, 3, length, host=host, **settings).eval()
            short.load_state_dict(padded.state_dict())
            alone = short(sequence[row : row + 1, :, :length])
            for name in ("start", "end", "snippet"):
                found = getattr(out, name)[row, ..., :length]
                torch.testing.assert_close(found, getattr(alone, name)[0], atol=1e-6, rtol=1e-5)
            if host == "bmn":
                valid = short.proposals.valid()
                high, wide = short.proposals.shape
                torch.testing.assert_close(out.iou[row, :high, :wide][valid], alone.iou[0][valid], atol=1e-6, rtol=1e-5)


def test_gradients_of_valid_cells_are_finite_whatever_stands_in_the_padding():
    for host in ("bmn", "gtad"):
        network = network_of(host, VARIANTS[2]).train()
        sequence = torch.randn(3, 8, T).masked_fill(~VALID[:, None], float("nan")).requires_grad_()
        sum(part.sum() for part in valid_logits(network(sequence, VALID), network.proposals)).backward()
        assert all(torch.isfinite(p.grad).all() for p in network.parameters())
        assert (sequence.grad[~VALID[:, None].expand_as(sequence)] == 0).all()


def test_padded_cells_are_nobodys_neighbours():
    sequence = torch.zeros(1, 2, 6)
    sequence[0, :, :2] = torch.tensor([[3.0, 5.0], [0.0, 0.0]])
    valid = torch.arange(6)[None] < 2
    near, known = neighbours(sequence, 3, valid)
    assert near[0, 0, :2, :2].tolist() == [[3.0, 5.0], [5.0, 3.0]]
    assert known[0, :2].tolist() == [[True, True, False]] * 2


def test_statistics_of_a_normalisation_leave_padding_out():
    torch.manual_seed(0)
    sequence = torch.randn(3, 4, T)
    ours, theirs = MaskedBatchNorm1d(4), nn.BatchNorm1d(4)
    found = ours(sequence.masked_fill(~VALID[:, None], 1e30), VALID[:, None])
    packed = sequence.transpose(1, 2)[VALID]
    torch.testing.assert_close(found.transpose(1, 2)[VALID], theirs(packed))
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
    lone = torch.zeros(3, T, dtype=torch.bool)
    lone[0, 0] = True
    before = ours.running_var.clone()
    assert torch.isfinite(ours(sequence, lone[:, None])).all()
    assert torch.equal(ours.running_var, before)
    assert torch.equal(ours.train()(sequence, torch.ones_like(VALID)[:, None]), theirs.train()(sequence))


@pytest.mark.parametrize("training", [False, True])
def test_a_recogniser_leaves_padding_out(training):
    torch.manual_seed(0)
    network = SequenceRecognizer(8, 2, width=4, depth=3, dropout=0.0).train(training)
    sequence = torch.randn(3, 8, T)
    first, second = (
        network(sequence.masked_fill(~VALID[:, None], content), VALID).transpose(1, 2)[VALID]
        for content in (0.0, float("nan"))
    )
    torch.testing.assert_close(first, second, rtol=0, atol=1e-6)
    if not training:
        alone = network(sequence[:1, :, : LENGTHS[0]])
        torch.testing.assert_close(network(sequence, VALID)[:1, :, : LENGTHS[0]], alone, atol=1e-6, rtol=1e-5)


def test_the_short_window_of_a_stream_is_the_sequence_without_padding():
    """A stream of fewer rows than a window gives what a network of that length gives."""
    rows = np.random.default_rng(0).standard_normal((7, 8)).astype(np.float32)
    long = network_of("bmn", VARIANTS[0])
    short = CSADetector(8, 3, 7, host="bmn", **VARIANTS[0]).eval()
    short.load_state_dict(long.state_dict())
    found = []
    for network in (long, short):
        stream = StreamingDetector(network, ["a", "b", "c"], PostProcess(class_scope="segment"), cell_seconds=0.5)
        found.append([(e["label"], *e["segment"], e["score"]) for e in stream.feed(rows) + stream.close()])
    assert [entry[:3] for entry in found[0]] == [entry[:3] for entry in found[1]]
    np.testing.assert_allclose([e[3] for e in found[0]], [e[3] for e in found[1]], rtol=1e-4)


def test_means_over_a_video_leave_padding_out():
    snippet = torch.tensor([[[1.0, 3.0, float("nan")]]])
    assert video_logits(snippet, torch.tensor([[True, True, False]])).item() == 2.0


def test_maps_without_padding():
    proposals = ProposalMap(4, 3)
    valid = torch.tensor([[True, True, True, False]])
    assert torch.equal(proposals.inside(valid)[0, :, :3], ProposalMap(3, 3).valid() | True)
    assert torch.equal(proposals.contained(valid)[0, :3, :3], ProposalMap(3, 3).valid())
    assert not proposals.contained(valid)[0, :, 3].any()


@pytest.mark.parametrize("host", ["bmn", "gtad"])
def test_whole_sequences_train_as_without_masks(host):
    """Logits and gradients bit for bit, so that masks which hide nothing neither cost nor change anything."""
    found = []
    for valid in (None, torch.ones(2, T, dtype=torch.bool)):
        network = network_of(host, {"self_attention": "none"}).train()
        calls = []
        network.host.sample.register_forward_pre_hook(lambda module, inputs, calls=calls: calls.append(inputs))
        output = network(torch.linspace(-1, 1, 2 * 8 * T).reshape(2, 8, T), valid)
        (output.iou.square().sum() + output.start.square().sum()).backward()
        assert all(one is None for one in calls[0][1:]), "no map is masked"
        found.append([output.iou, output.start, *(p.grad for p in network.parameters() if p.grad is not None)])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
