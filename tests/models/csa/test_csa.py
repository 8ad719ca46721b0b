"""The CSA block: the hand oracle, what must never change, and its open points."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.errors import ConfigError
from vision_suite.models.csa import CSA, CSAConfig, CSADetector, FeatureAttention, SqueezeExcitation
from vision_suite.models.csa.network import another_video

R, F = torch.tensor([[[2.0, -4.0]]]), torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])


def hand_block():
    block = CSA(1, 2, 2, CSAConfig(hidden=1, conv_kernel=1))
    with torch.no_grad():
        for conv in (block.conv_channel[0], block.conv_temporal[0]):
            conv.weight.fill_(1.0)
            conv.bias.zero_()
        block.fc_channel.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        block.fc_temporal.weight.copy_(torch.eye(2))
        block.project.weight.copy_(torch.eye(2).repeat(1, 2)[:, :, None])
        for layer in (block.fc_channel, block.fc_temporal, block.project):
            layer.bias.zero_()
    return block


def test_hand_oracle():
    out, gates = hand_block()(F, R)
    torch.testing.assert_close(gates.channel, torch.tensor([[0.731059, 0.268941]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(gates.temporal, torch.tensor([[0.880797, 0.5]]), atol=1e-6, rtol=0)
    expected = torch.tensor([[[1.611856, 2.462117], [3.449215, 3.075766]]])
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=0)


def test_hand_oracle_with_padding():
    """Only the first time step is valid: its average alone, and no gate behind it."""
    _, gates = hand_block()(F, R, torch.tensor([[True, False]]))
    torch.testing.assert_close(gates.channel[0], torch.sigmoid(torch.tensor([2.0, -2.0])))
    torch.testing.assert_close(gates.temporal[0], torch.tensor([torch.sigmoid(torch.tensor(2.0)).item(), 0.0]))


@pytest.mark.parametrize(
    ("sizes", "parameters"),
    [
        ((400, 256, 100), 822_132),
        ((512, 256, 100), 994_164),
        ((2048, 256, 128), 3_359_872),
        ((2048, 256, 256), 3_409_152),
    ],
)
def test_parameter_counts(sizes, parameters):
    assert sum(p.numel() for p in CSA(*sizes).parameters()) == parameters


CONFIGS = [
    CSAConfig(),
    CSAConfig(temporal_mode="transpose", norm="batch"),
    CSAConfig(temporal_fc="conv", conv_kernel=5, hidden=7),
    CSAConfig(proj_kernel=3),
    CSAConfig(branches="channel"),
    CSAConfig(branches="temporal"),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_linear_in_the_features_and_equivariant_over_the_batch(config):
    torch.manual_seed(0)
    block = CSA(5, 8, 6, config).double().eval()
    semantics, features = torch.randn(3, 5, 6).double(), torch.randn(3, 8, 6).double()
    zero = block(torch.zeros_like(features), semantics)[0]
    once, twice = (block(k * features, semantics)[0] - zero for k in (1, 2))
    torch.testing.assert_close(twice, 2 * once)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(block(features[order], semantics[order])[0], block(features, semantics)[0][order])


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(["linear", "conv"]), st.sampled_from([1, 3]), st.integers(1, 3), st.integers(2, 9))
def test_identity_start_changes_nothing(temporal_fc, kernel, batch, length):
    block = CSA(4, 6, length, CSAConfig(init="identity", temporal_fc=temporal_fc, proj_kernel=kernel))
    features = torch.randn(batch, 6, length)
    out, gates = block(features, torch.randn(batch, 4, length))
    assert torch.equal(out, features)
    assert torch.equal(gates.channel, torch.full((batch, 6), 0.5))


def test_one_time_point_reaches_every_gate():
    block = CSA(3, 4, 5)
    semantics = torch.randn(1, 3, 5)
    changed = semantics.clone()
    changed[:, :, 2] += 3
    one, two = (block(torch.randn(1, 4, 5), r)[1] for r in (semantics, changed))
    assert (one.channel != two.channel).all()
    assert (one.temporal != two.temporal).all()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("config", [*CONFIGS, CSAConfig(source="features"), CSAConfig(norm="batch")])
def test_padding_never_matters(config, training):
    """Whatever stands in the padding of semantics and features, the valid time steps and the gates stay."""
    torch.manual_seed(1)
    block = CSA(3, 4, 8, config).train(training)
    valid = torch.arange(8)[None] < torch.tensor([[5], [8]])
    semantics, features = torch.randn(2, 3, 8), torch.randn(2, 4, 8)
    noise = [torch.randn(2, width, 8) * ~valid[:, None] for width in (3, 4)]
    one, two = block(features, semantics, valid), block(features + noise[1], semantics + noise[0], valid)
    torch.testing.assert_close(one[0] * valid[:, None], two[0] * valid[:, None])
    if one[1].temporal is not None:
        assert (one[1].temporal[~valid] == 0).all()


def test_any_length_with_the_convolution_and_a_clear_error_without():
    free = CSA(3, 4, 8, CSAConfig(temporal_fc="conv"))
    assert free(torch.randn(2, 4, 13), torch.randn(2, 3, 13))[0].shape == (2, 4, 13)
    with pytest.raises(ConfigError, match="built for 8 time steps and got 13"):
        CSA(3, 4, 8)(torch.randn(2, 4, 13), torch.randn(2, 3, 13))
    with pytest.raises(ConfigError, match="4 time steps but semantics 5"):
        free(torch.randn(1, 4, 4), torch.randn(1, 3, 5))


@pytest.mark.parametrize(
    "settings_",
    [
        {"conv_kernel": 2},
        {"proj_kernel": 0},
        {"temporal_mode": "transpose", "temporal_fc": "conv"},
        {"init": "identity", "proj_act": "relu"},
        {"hidden": 0},
        {"temporal_mode": "pool"},
        {"temporal_fc": "convolution"},
        {"init": "idntity"},
        {"branches": "chanel"},
        {"source": "semantic"},
        {"norm": "layer"},
    ],
)
def test_impossible_settings(settings_):
    with pytest.raises(ConfigError):
        CSAConfig(**settings_)


@pytest.mark.parametrize("settings_", [{"host": "dbg"}, {"bm_impl": "sparse"}, {"classifier_input": "raw"}])
def test_unknown_words_of_a_detector(settings_):
    with pytest.raises(ConfigError, match="is not known: choose one of"):
        CSADetector(8, 3, 12, **settings_)


def test_attention_learnt_from_the_features_ignores_the_semantics():
    block = CSA(3, 4, 5, CSAConfig(source="features"))
    features = torch.randn(2, 4, 5)
    one, two = (block(features, torch.randn(2, 3, 5))[0] for _ in range(2))
    assert torch.equal(one, two)


def test_squeeze_excitation_equals_timm():
    from timm.layers import SEModule

    torch.manual_seed(0)
    ours = SqueezeExcitation(32)
    theirs = SEModule(32, rd_ratio=1 / 16, rd_divisor=1)
    with torch.no_grad():
        theirs.fc1.weight.copy_(ours.squeeze.weight[:, :, None, None])
        theirs.fc1.bias.copy_(ours.squeeze.bias)
        theirs.fc2.weight.copy_(ours.excite.weight[:, :, None, None])
        theirs.fc2.bias.copy_(ours.excite.bias)
    features = torch.randn(2, 32, 9)
    torch.testing.assert_close(ours(features), theirs(features[:, :, None])[:, :, 0])


def test_se_comes_before_csa():
    torch.manual_seed(0)
    both = FeatureAttention("csa_se", 3, 16, 5)
    features, semantics = torch.randn(2, 16, 5), torch.randn(2, 3, 5)
    expected = both.csa(both.se(features), semantics)[0]
    torch.testing.assert_close(both(features, semantics)[0], expected)
    assert torch.equal(FeatureAttention("none", 3, 16, 5)(features, semantics)[0], features)


def test_the_classifier_reads_what_it_is_told_to():
    torch.manual_seed(0)
    semantics = torch.randn(2, 8, 12)
    network = CSADetector(8, 3, 12, classifier_input="attended")
    own, shuffled = network(semantics), network(semantics, attend_to=semantics.flip(0))
    assert own.snippet.shape == (2, 3, 12)
    assert not torch.allclose(own.snippet, shuffled.snippet)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=8))
def test_another_video_is_another_one(videos):
    """Windows of the same video never serve each other, and where there is no other video nothing is pretended."""
    video = torch.tensor(videos)
    if len(set(videos)) == 1:
        with pytest.raises(ConfigError, match="semantics=shuffled found only video"):
            another_video(video)
    else:
        assert (video[another_video(video)] != video).all()


def test_another_video_is_the_next_one():
    assert another_video(torch.tensor([4, 7, 9])).tolist() == [1, 2, 0]


@pytest.mark.parametrize("host", ["bmn", "gtad"])
def test_shuffled_semantics_reach_the_gates_only(host):
    """The control experiment: attention from other videos, everything else unchanged."""
    torch.manual_seed(0)
    network = CSADetector(8, 3, 12, host=host, self_attention="csa").eval()
    semantics = torch.randn(2, 8, 12)
    own, shuffled = network(semantics), network(semantics, attend_to=semantics.flip(0))
    torch.testing.assert_close(own.gates.channel, shuffled.gates.channel.flip(0))
    assert not torch.allclose(own.iou, shuffled.iou)
    torch.testing.assert_close(own.snippet, shuffled.snippet)
    plain = CSADetector(8, 3, 12, host=host, self_attention="se").eval()
    torch.testing.assert_close(plain(semantics).iou, plain(semantics, attend_to=semantics.flip(0)).iou)
