"""The boundary-matching layer: published oracles, the dense form, RoIAlign of torchvision, and the hosts' sizes."""

import numpy as np
import pytest
import torch
from torchvision.ops import roi_align

from vision_suite.errors import ConfigError
from vision_suite.layers.proposal_map import ProposalMap, convert_layout
from vision_suite.models.csa import CSADetector
from vision_suite.models.csa.boundary_matching import DenseSampledConvolution, SampledConvolution
from vision_suite.models.csa.hosts import BMN, GTAD, neighbours
from vision_suite.models.csa.sampling import align_weights, bmn_weights, dense


def weights(length, start, duration, bins, points, sampling="centre"):
    """Weights (bins, T) of one proposal."""
    proposals = ProposalMap(length, length)
    matrix = dense(*bmn_weights(proposals, bins, points, sampling), length * length, bins * length)
    return matrix.reshape(length, length, bins, length)[duration, start]


def loop_weights(length, start, duration, bins, points, sampling):
    """The same from the definition, one sample at a time."""
    last = start + duration + (sampling == "end_exclusive")
    size = last - start + 1
    low, high = start - size * 0.5, last + size * 0.5
    out = np.zeros((bins, length))
    for n in range(bins):
        for k in range(points):
            at = low + (n * points + k) * (high - low) / (bins * points - 1)
            lower, upper = int(at), int(np.ceil(at))
            share = at - lower
            if 0 <= lower <= length - 1:
                out[n, lower] += (1 - share) / points
            if 0 <= upper <= length - 1:
                out[n, upper] += share / points
    return out


def test_published_rows():
    assert torch.equal(weights(10, 3, 1, 4, 1)[:, 2:6], torch.eye(4))
    expected = torch.tensor([[1, 0], [1, 0], [5 / 6, 1 / 6], [1 / 2, 1 / 2]])
    torch.testing.assert_close(weights(10, 0, 0, 4, 1)[:, :2], expected)
    rows = torch.tensor([[7 / 15, 7 / 15, 1 / 15, 0], [0, 1 / 15, 7 / 15, 7 / 15]])
    torch.testing.assert_close(weights(4, 1, 1, 2, 3), rows)
    late = torch.tensor([[1 / 2, 1 / 3, 1 / 6, 0], [0, 0, 1 / 6, 1 / 3]])
    torch.testing.assert_close(weights(4, 1, 1, 2, 3, "end_exclusive"), late)
    torch.testing.assert_close(weights(100, 50, 9, 32, 3)[16, 54:56], torch.tensor([0.2, 0.8]), atol=1e-5, rtol=0)
    row = torch.tensor([0.02807, 0.389474, 0.389474, 0.192982])
    torch.testing.assert_close(weights(100, 20, 39, 32, 3)[16, 39:43], row, atol=1e-5, rtol=0)
    row = torch.tensor([0.668421, 0.331579])
    torch.testing.assert_close(weights(100, 50, 9, 32, 3, "end_exclusive")[16, 55:57], row, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("sampling", "entries", "total"), [("centre", 476_827, 145_904.414), ("end_exclusive", 479_238, 144_888.639)]
)
def test_published_totals(sampling, entries, total):
    proposals = ProposalMap(100, 100)
    rows, _, values = bmn_weights(proposals, sampling=sampling)
    assert len(rows) == entries
    assert len(rows.unique()) == int(proposals.valid().sum()) == 5050
    assert float(values.double().sum()) == pytest.approx(total, abs=1e-2)


@pytest.mark.parametrize("sampling", ["centre", "end_exclusive"])
@pytest.mark.parametrize(("start", "duration"), [(0, 0), (0, 6), (6, 0), (2, 3)])
def test_weights_equal_the_definition(sampling, start, duration):
    ours = weights(7, start, duration, 8, 3, sampling)
    torch.testing.assert_close(
        ours.double(), torch.tensor(loop_weights(7, start, duration, 8, 3, sampling)), atol=1e-6, rtol=0
    )


def test_alignment_equals_torchvision():
    proposals = ProposalMap(13, 9)
    matrix = dense(*align_weights(proposals), 9 * 13, 16 * 13)
    sequence = torch.randn(2, 3, 13)
    ours = (matrix.reshape(-1, 13) @ sequence.transpose(1, 2)).reshape(2, 9, 13, 16, 3)
    boxes = []
    for duration in range(9):
        for start in range(13):
            size = duration + 1
            inside = start + duration < 13
            boxes.append([0, start - size / 2, 0, start + duration + size / 2, 1] if inside else [0, 0, 0, 0, 1])
    for batch in range(2):
        theirs = roi_align(sequence[batch, None, :, None], torch.tensor(boxes, dtype=torch.float), (1, 16))
        torch.testing.assert_close(ours[batch].reshape(-1, 16, 3), theirs[:, :, 0].transpose(1, 2), atol=1e-5, rtol=0)


@pytest.mark.parametrize("layout", ["duration_start", "start_end"])
@pytest.mark.parametrize("kind", ["bmn", "align"])
def test_folded_equals_dense_with_gradients(layout, kind):
    torch.manual_seed(0)
    proposals = ProposalMap(11, 11, layout)
    entries, bins = (bmn_weights(proposals), 32) if kind == "bmn" else (align_weights(proposals), 16)
    folded = SampledConvolution(5, 6, proposals, entries, bins).double()
    plain = DenseSampledConvolution(5, 6, proposals, entries, bins).double()
    plain.load_state_dict(folded.state_dict())
    results = []
    for layer in (folded, plain):
        sequence = torch.randn(3, 5, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        sequence.requires_grad_()
        out = layer(sequence)
        (out * torch.linspace(-1, 1, out.numel(), dtype=torch.float64).reshape(out.shape)).sum().backward()
        results.append((out, sequence.grad, layer.weight.grad, layer.bias.grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    invalid = ~proposals.valid()
    if kind == "bmn":
        bias = folded.bias[:, None].expand(-1, int(invalid.sum()))
        torch.testing.assert_close(out[0][:, invalid], bias, msg="places without a proposal hold the bias")


def test_full_size_in_float32_and_nothing_in_the_checkpoint():
    torch.manual_seed(0)
    proposals = ProposalMap(100, 100)
    entries = bmn_weights(proposals)
    folded = SampledConvolution(16, 8, proposals, entries, 32)
    plain = DenseSampledConvolution(16, 8, proposals, entries, 32)
    plain.load_state_dict(folded.state_dict())
    assert list(folded.state_dict()) == ["weight", "bias"]
    sequence = torch.randn(1, 16, 100)
    torch.testing.assert_close(folded(sequence), plain(sequence), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("host", ["bmn", "gtad"])
def test_a_dense_network_gives_the_same_with_the_same_weights(host):
    torch.manual_seed(0)
    folded = CSADetector(8, 3, 12, host=host, max_duration=7)
    plain = CSADetector(8, 3, 12, host=host, max_duration=7, bm_impl="dense")
    plain.load_state_dict(folded.state_dict())
    sequence = torch.randn(2, 8, 12)
    one, two = folded(sequence), plain(sequence)
    for name in ("start", "end", "iou", "confidence", "snippet"):
        torch.testing.assert_close(getattr(one, name), getattr(two, name), atol=1e-5, rtol=1e-5)
    assert one.iou.shape == (2, 7, 12)


def test_half_precision_stays_close():
    torch.manual_seed(0)
    network = CSADetector(8, 3, 20)
    sequence = torch.randn(2, 8, 20)
    full = network(sequence).iou
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = network(sequence).iou
    torch.testing.assert_close(half.float(), full, atol=0.05, rtol=0.1)


@pytest.mark.parametrize(("options", "parameters"), [({}, 4_978_564), ({"pem_width": 128}, 2_782_980)])
def test_bmn_has_the_published_size(options, parameters):
    network = CSADetector(400, 200, 100, self_attention="none", **options)
    assert sum(p.numel() for p in network.host.parameters()) == parameters


def test_neighbours_are_the_nearest():
    sequence = torch.randn(2, 4, 9)
    points = sequence.transpose(1, 2)
    order = torch.cdist(points, points).argsort(dim=2)[:, :, :3]
    expected = torch.stack([points[b][order[b]] for b in range(2)]).permute(0, 3, 1, 2)
    torch.testing.assert_close(neighbours(sequence, 3)[0], expected)


def test_layouts_convert_both_ways():
    maps = torch.rand(2, 6, 6)
    by_start = convert_layout(maps, "duration_start", "start_end")
    assert by_start[1, 2, 4] == maps[1, 2, 2]  # start 2, end 4: two further cells
    valid = ProposalMap(6, 6).valid()
    assert torch.equal(convert_layout(by_start, "start_end", "duration_start"), maps * valid)


def test_both_layouts_sample_the_same_segments():
    by_duration, by_start = (ProposalMap(8, 8, layout) for layout in ("duration_start", "start_end"))
    one, two = (
        SampledConvolution(3, 4, proposals, bmn_weights(proposals), 32) for proposals in (by_duration, by_start)
    )
    two.load_state_dict(one.state_dict())
    sequence = torch.randn(1, 3, 8)
    converted = convert_layout(two(sequence), "start_end", "duration_start")
    valid = by_duration.valid()
    torch.testing.assert_close(converted[..., valid], one(sequence)[..., valid])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"host": "abc"}, "host='abc'"),
        ({"in_channels": 6}, "multiple of 4"),
        ({"max_duration": 30}, "max_duration=30 must be from 1 to the 12"),
        ({"convention": {"layout": "start_end"}, "max_duration": 5}, "start_end needs max_duration"),
        ({"host": "gtad", "convention": {"sampling": "end_exclusive"}}, "RoIAlign"),
        ({"convention": {"boundary": "edge"}}, "convention.boundary='edge'"),
        ({"classifier_input": "video"}, "classifier_input='video'"),
    ],
)
def test_what_cannot_be_built_is_one_line(arguments, said):
    with pytest.raises(ConfigError, match=said):
        CSADetector(**{"in_channels": 8, "num_classes": 3, "num_cells": 12, **arguments})


def test_a_sequence_of_another_length_is_one_line():
    with pytest.raises(ConfigError, match=r"shape \(2, 8, 13\) do not fit"):
        CSADetector(8, 3, 12)(torch.randn(2, 8, 13))


def test_hosts_are_plain_modules():
    proposals = ProposalMap(8, 8)
    for host in (GTAD(8, proposals), BMN(8, proposals, CSADetector(8, 2, 8).convention, xavier=True)):
        out = host.heads(host.encode(torch.randn(1, 8, 8)))
        assert (out.start.shape, out.maps.shape) == ((1, 8), (1, 2, 8, 8))
