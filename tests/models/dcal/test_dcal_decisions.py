"""Each reading that the paper leaves open (D1 to D14) does what its switch says; contradictions are refused."""

import pytest
import torch
import torch.nn.functional as F
from dcal_tiny import pictures, tiny

from vision_suite.errors import ConfigError
from vision_suite.layers.vit import attention_of, blocks_of, embed_tokens, project_qkv
from vision_suite.models.dcal import DCAL, Branch, DCALOutput
from vision_suite.ops.pairing import draw_pairs
from vision_suite.ops.rollout import rollout_from_maps


def maps_of(net, image):
    """(X before each block and after the last, attention maps), by dense softmax."""
    tokens, maps = [embed_tokens(net.vit, image)], []
    for block in blocks_of(net.vit):
        query, key, _ = project_qkv(attention_of(block), block.norm1(tokens[-1]))
        maps.append((query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(-1))
        tokens.append(block(tokens[-1]))
    return tokens, maps


@pytest.mark.parametrize("fusion", ["mean", "product", "max"])
def test_d1_head_fusion(fusion):
    net = tiny(glca={"rollout_heads": fusion}).eval()
    _, maps = maps_of(net, pictures())
    expected = rollout_from_maps(maps, head_fusion=fusion)[:, 1:]
    torch.testing.assert_close(net(pictures()).rollout, expected, atol=1e-14, rtol=0)


def test_d1_fusions_differ():
    found = [tiny(glca={"rollout_heads": fusion}).eval()(pictures()).rollout for fusion in ("mean", "product", "max")]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (found[one] - found[other]).abs().max() > 1e-6


@pytest.mark.parametrize("depth", [1, 2, 0])
def test_d2_rollout_depth(depth):
    net = tiny(glca={"rollout_depth": depth}).eval()
    _, maps = maps_of(net, pictures())
    expected = rollout_from_maps(maps[-depth:])[:, 1:]
    torch.testing.assert_close(net(pictures()).rollout, expected, atol=1e-14, rtol=0)


@pytest.mark.parametrize(("backbone", "prefix"), [("vit_tiny_patch16_224", 1), ("deit_tiny_distilled_patch16_224", 2)])
def test_d3_candidates(backbone, prefix):
    net = tiny(backbone=backbone).eval()
    selected = net(pictures()).selected
    assert selected.shape == (4, 1 + 3)  # 0.3 of 12 patches
    assert (selected[:, 0] == 0).all()
    assert (selected[:, 1:] >= prefix).all()
    tokens = tiny(backbone=backbone, glca={"candidates": "tokens", "ratio": 1.0}).eval()
    chosen = tokens(pictures()).selected
    assert chosen.shape == (4, 12)
    assert (chosen[:, 0] == 0).all()
    assert (chosen[:, 1:] >= 1).all()


def test_d4_rounding():
    counts = [tiny(glca={"rounding": rounding}).num_queries for rounding in ("floor", "round", "ceil")]
    assert counts == [3, 4, 4]  # 0.3 of 12 patches is 3.6
    assert tiny(glca={"ratio": 1e-6}).num_queries == 1
    assert tiny(glca={"ratio": 1.0}).eval()(pictures()).selected.shape == (4, 13)


def test_d5_input_of_the_branch():
    image = pictures()
    for source, position in (("last", -1), ("parallel", -2)):
        net = tiny(glca={"input": source}).eval()
        tokens, _ = maps_of(net, image)
        output = net(image)
        expected = net.glca(tokens[position], output.selected)
        torch.testing.assert_close(output.glca.feature, expected, atol=1e-12, rtol=0)


def test_d6_and_block_count():
    one, two, every = (
        tiny(glca={"blocks": n, "all_rows": rows}).eval() for n, rows in ((1, True), (2, False), (2, True))
    )
    assert len(one.glca.blocks) == 1
    assert len(two.glca.blocks) == 2
    image = pictures()
    assert torch.equal(one(image).glca.feature, tiny().eval()(image).glca.feature)
    every.load_state_dict(two.state_dict())
    assert (every(image).glca.feature - two(image).glca.feature).abs().max() > 1e-4


def test_d7_readouts_differ():
    found = [
        tiny(glca={"readout": readout}).eval()(pictures()).glca.feature for readout in ("mean", "cls", "cls+local")
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (found[one] - found[other]).abs().max() > 1e-3


def test_d8_start_of_the_branch():
    small = {"backbone": "vit_tiny_patch16_224", "image_size": (32, 32), "backbone_args": {"depth": 2, "embed_dim": 24}}
    copied, fresh = DCAL(3, **small), DCAL(3, **small, glca={"copy": False})
    last = copied.vit.blocks[-1].mlp.fc1.weight
    assert torch.equal(copied.glca.blocks[0].mlp.fc1.weight, last)
    assert not torch.equal(fresh.glca.blocks[0].mlp.fc1.weight, fresh.vit.blocks[-1].mlp.fc1.weight)


@pytest.mark.parametrize(("partner", "same"), [("inter", False), ("intra", True)])
def test_d9_partners_by_label(partner, same, monkeypatch):
    label = torch.tensor([3, 3, 1, 1, 2, 2])
    seen = []

    def spy(*args, **kwargs):
        seen.append(draw_pairs(*args, **kwargs))
        return seen[-1]

    monkeypatch.setattr("vision_suite.models.dcal.network.draw_pairs", spy)
    tiny(pwca={"partner": partner})(pictures(6), label=label)
    pairs = label[seen[0][0]].view(-1, 2)
    assert bool((pairs[:, 0] == pairs[:, 1]).all()) is same
    assert bool((pairs[:, 0] != pairs[:, 1]).all()) is not same
    with pytest.raises(ValueError, match="needs labels"):
        tiny(pwca={"partner": partner})(pictures(6))


def fix_pairs(monkeypatch):
    order = torch.arange(4)
    monkeypatch.setattr("vision_suite.models.dcal.network.draw_pairs", lambda *args, **kwargs: (order, order))
    monkeypatch.setattr("vision_suite.models.dcal.network.random_partner", lambda *args: torch.tensor([1, 0, 3, 2]))


def test_d9_one_partner_map_gives_one_result_by_both_ways(monkeypatch):
    fix_pairs(monkeypatch)
    view = tiny()(pictures()).pwca.feature
    merged = tiny(pwca={"partner": "uniform"})(pictures()).pwca.feature
    torch.testing.assert_close(view, merged, atol=1e-12, rtol=0)


def test_d10_stream_of_the_partner(monkeypatch):
    fix_pairs(monkeypatch)
    own, sa = (tiny(pwca={"stream": stream})(pictures()).pwca.feature for stream in ("pwca", "sa"))
    assert (own - sa).abs().max() > 1e-4
    # In the first pair-wise block both streams are the same.
    own, sa = (tiny(pwca={"stream": stream, "blocks": 1})(pictures()).pwca.feature for stream in ("pwca", "sa"))
    torch.testing.assert_close(own, sa, atol=1e-12, rtol=0)


def test_d11_pair_features_do_not_move_the_shared_statistics():
    shared, image = tiny(), pictures(8)
    without = tiny(pwca={"enabled": False})
    without.load_state_dict(shared.state_dict())
    branch = shared(image).pwca
    without(image)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(getattr(shared.head.neck, name), getattr(without.head.neck, name))
    assert shared.head.neck.num_batches_tracked == 1
    expected = F.batch_norm(branch.feature, None, None, shared.head.neck.weight, shared.head.neck.bias, training=True)
    torch.testing.assert_close(branch.neck, expected, atol=1e-14, rtol=0)
    torch.testing.assert_close(branch.logits, shared.head.classifier(expected), atol=1e-14, rtol=0)


def test_d11_a_head_of_its_own_keeps_its_own_statistics():
    own = tiny(pwca={"head": "own"})
    before = own.head.neck.running_mean.clone()
    branch = own(pictures(8)).pwca
    torch.testing.assert_close(own.pwca_head.neck.running_mean, 0.1 * branch.feature.mean(0), atol=1e-12, rtol=0)
    assert not torch.equal(own.head.neck.running_mean, before)
    assert not torch.equal(own.head.neck.running_mean, own.pwca_head.neck.running_mean)


def test_a_synchronised_neck_still_spares_its_statistics():
    net = torch.nn.SyncBatchNorm.convert_sync_batchnorm(tiny())
    assert isinstance(net.head.neck, torch.nn.SyncBatchNorm)
    before = net.head.neck.running_mean.clone()
    net.head(torch.randn(4, 32, dtype=torch.float64), update_statistics=False)
    assert torch.equal(net.head.neck.running_mean, before)


def branch(*, feature=None, logits=None):
    feature = torch.tensor([feature or [0.0]], dtype=torch.float64)
    return Branch(feature, 10 * feature, torch.tensor([logits or [0.0]], dtype=torch.float64))


def test_d12_probabilities_are_added():
    p_sa, p_glca = [0.72, 0.27, 0.01], [0.01, 0.29, 0.70]
    sa, glca = (branch(logits=torch.tensor(p, dtype=torch.float64).log().tolist()) for p in (p_sa, p_glca))
    output = DCALOutput(sa, glca, None, None, None)
    summed = tiny(task="fgvc").probabilities(output)[0]
    torch.testing.assert_close(2 * summed, torch.tensor([0.73, 0.56, 0.71], dtype=torch.float64))
    assert int(summed.argmax()) == 0
    by_logits = tiny(task="fgvc", fusion={"fgvc": "logit"}).probabilities(output)[0]
    assert int(by_logits.argmax()) == 1
    assert by_logits.sum().item() == pytest.approx(1)
    alone = tiny(task="fgvc").probabilities(DCALOutput(sa, None, None, None, None))[0]
    torch.testing.assert_close(alone, torch.tensor(p_sa, dtype=torch.float64))


def similarities(net, *pairs):
    q, *gallery = (
        F.normalize(net.embeddings(DCALOutput(branch(feature=sa), branch(feature=glca), None, None, None)))
        for sa, glca in pairs
    )
    return [float((q * g).sum()) for g in gallery]


def test_d13_raw_and_normalised_concatenation_rank_differently():
    pairs = (([1.0, 0], [0.0, 1]), ([10.0, 0], [1.0, 0]), ([6.0, 8], [0.0, 1]))
    raw = similarities(tiny(), *pairs)
    assert raw == pytest.approx([0.7036, 0.4925], abs=1e-4)
    halves = similarities(tiny(fusion={"reid": "normalized"}), *pairs)
    assert halves == pytest.approx([0.5, 0.8], abs=1e-12)


def test_d14_weight_of_the_global_local_half():
    sa, glca = branch(feature=[1.0, 2.0], logits=[0.0, 1.0]), branch(feature=[3.0, 4.0], logits=[2.0, 0.0])
    output = DCALOutput(sa, glca, None, None, None)
    net = tiny(fusion={"glca_scale": 0.5})
    assert net.embeddings(output).tolist() == [[1.0, 2.0, 1.5, 2.0]]
    expected = (sa.logits.softmax(1) + 0.5 * glca.logits.softmax(1)) / 1.5
    torch.testing.assert_close(net.probabilities(output), expected)


def test_feature_before_or_after_the_neck():
    output = DCALOutput(branch(feature=[1.0, 2.0]), branch(feature=[3.0, 4.0]), None, None, None)
    assert tiny().embeddings(output).tolist() == [[1.0, 2.0, 3.0, 4.0]]
    assert tiny(fusion={"neck_feature": "after"}).embeddings(output).tolist() == [[10.0, 20.0, 30.0, 40.0]]


def test_heads_of_the_two_tasks():
    reid, fgvc = tiny(), tiny(task="fgvc")
    assert reid.head.classifier.bias is None
    assert not reid.head.neck.bias.requires_grad
    assert fgvc.head.neck is None
    assert fgvc.head.classifier.bias is not None
    output = reid(pictures())
    torch.testing.assert_close(output.sa.logits, output.sa.neck @ reid.head.classifier.weight.T, atol=1e-12, rtol=0)
    assert torch.equal(
        tiny(head={"neck": False})(pictures()).sa.neck, tiny(head={"neck": False})(pictures()).sa.feature
    )


def test_cosine_classifier():
    net = tiny(head={"classifier": "cosine", "cosine_scale": 20.0}).eval()
    output = net(pictures())
    expected = 20 * F.normalize(output.sa.neck) @ F.normalize(net.head.classifier.weight).T
    torch.testing.assert_close(output.sa.logits, expected, atol=1e-12, rtol=0)
    assert output.sa.logits.abs().max() <= 20


def test_reid_classifier_starts_near_zero():
    small = {"backbone": "vit_tiny_patch16_224", "image_size": (32, 32), "backbone_args": {"depth": 1}}
    assert DCAL(500, **small).head.classifier.weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert DCAL(500, task="fgvc", **small).head.classifier.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_side_information_is_added_to_every_token():
    net = tiny(side={"information": "camera+view", "scale": 2.0}, num_cameras=3, num_views=2).eval()
    image, camera, view = pictures(3), torch.tensor([2, 0, 1]), torch.tensor([1, 0, 1])
    tokens = embed_tokens(net.vit, image)
    row = torch.tensor([5, 0, 3])  # camera * views + view
    assert net.side.table.shape == (6, 1, 32)
    expected = tokens + 2.0 * net.side.table[row]
    torch.testing.assert_close(net.side(tokens, camera, view), expected, atol=0, rtol=0)
    assert not torch.equal(net(image, camera=camera, view=view).sa.logits, net(image, camera=view, view=view).sa.logits)


@pytest.mark.parametrize("kind", ["camera", "view"])
def test_an_unknown_place_takes_the_average(kind):
    net = tiny(side={"information": kind}, num_cameras=3, num_views=3).eval()
    tokens = embed_tokens(net.vit, pictures(3))
    numbers = {kind: torch.tensor([1, -1, 3]), "view" if kind == "camera" else "camera": None}
    found = net.side(tokens, numbers["camera"], numbers["view"]) - tokens
    torch.testing.assert_close(found[0, 0], 3.0 * net.side.table[1, 0], atol=1e-12, rtol=0)
    average = 3.0 * net.side.table.mean(0)[0]
    torch.testing.assert_close(found[1:], average.expand(2, found.shape[1], -1), atol=1e-12, rtol=0)
    assert net.inference(pictures(3))["feature"].shape == (3, 64)  # prediction knows no camera
    with pytest.raises(ConfigError, match=f"needs each picture's {kind}"):
        net.train()(pictures(3))


def test_without_side_information_cameras_are_ignored():
    net = tiny().eval()
    assert torch.equal(net(pictures(2), camera=torch.tensor([0, 7])).sa.logits, net(pictures(2)).sa.logits)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_classes": 0}, "num_classes=0"),
        ({"glca": {"ratio": 0.0}}, r"glca.ratio=0.0 must lie in \(0, 1\]"),
        ({"glca": {"ratio": 1.5}}, "glca.ratio=1.5"),
        ({"glca": {"rollout_depth": 4}}, "glca.rollout_depth=4: the backbone has 3 blocks"),
        ({"pwca": {"blocks": -1}}, "pwca.blocks=-1"),
        ({"glca": {"blocks": 0}}, "glca.enabled=false"),
        ({"side": {"information": "camera"}}, "num_cameras of at least 1"),
        ({"side": {"information": "camera+view"}, "num_cameras": 2}, "num_views of at least 1"),
        (
            {"glca": {"readout": "cls+local", "candidates": "tokens", "ratio": 0.1}},
            "leaves the class token alone",
        ),
    ],
)
def test_contradictions_are_refused_in_one_line(settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        tiny(**settings)
    assert "\n" not in str(caught.value)
