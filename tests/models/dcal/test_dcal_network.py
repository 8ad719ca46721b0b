"""The whole network: backbone untouched, rollout of its real attention, parameter counts, memory, precision."""

import shutil

import pytest
import torch
from dcal_tiny import pictures, tiny
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vision_suite.models.dcal import DCAL, network
from vision_suite.models.dcal.glca import GLCA
from vision_suite.ops.attention import compiled

BACKBONES = {
    "plain": ("vit_tiny_patch16_224", {}),
    "distilled": ("deit_tiny_distilled_patch16_224", {}),
    "registers": ("vit_tiny_patch16_224", {"reg_tokens": 4}),
    "layer scale": ("vit_tiny_patch16_224", {"init_values": 0.3}),
    "normed queries and keys": ("vit_tiny_patch16_224", {"qk_norm": True}),
}


def attention_maps(vit, image):
    """Every block's attention probabilities (B, H, N, N), from timm's unfused path."""
    maps = []
    for block in vit.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda module, args, out: maps.append(out))
    tokens = vit.forward_features(image)
    return maps, tokens


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("stride", [None, 12])
def test_backbone_and_rollout_are_those_of_timm(kind, stride):
    name, extra = BACKBONES[kind]
    net = tiny(backbone=name, backbone_args=extra, patch_stride=stride, head={"neck": False}).eval()
    image = pictures(3)
    output = net(image)
    with torch.no_grad():
        maps, tokens = attention_maps(net.vit, image)
    torch.testing.assert_close(output.sa.feature, tokens[:, 0], atol=1e-12, rtol=0)
    torch.testing.assert_close(output.sa.logits, net.head.classifier(tokens[:, 0]), atol=1e-12, rtol=0)
    count, prefix = tokens.shape[1], net.prefix
    product = torch.eye(count, dtype=torch.float64)
    for layer in maps:
        product = (0.5 * layer.mean(1) + 0.5 * torch.eye(count, dtype=torch.float64)) @ product
    row = product[:, 0]
    torch.testing.assert_close(output.rollout, row[:, prefix:], atol=1e-15, rtol=0)
    assert count == prefix + net.grid_size[0] * net.grid_size[1]
    best = row[:, prefix:].topk(net.num_queries).indices + prefix
    assert (output.selected[:, 0] == 0).all()
    assert [set(s) for s in output.selected[:, 1:].tolist()] == [set(b) for b in best.tolist()]


def test_patch_grid_follows_a_wide_picture():
    net = tiny(image_size=(32, 96)).eval()
    assert net.grid_size == (2, 6)
    assert net.inference(pictures(2, (32, 96)))["rollout"].shape == (2, 2, 6)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("backbone", "count"),
    [
        ("deit_tiny_patch16_224", 5_675_912),
        ("deit_small_patch16_224", 21_968_456),
        ("deit_base_patch16_224", 86_404_040),
        ("vit_base_patch16_224", 86_404_040),
        ("vit_base_r50_s16_224", 98_495_496),
    ],
)
def test_baseline_parameter_counts_of_the_paper_backbones(backbone, count):
    with torch.device("meta"):
        net = DCAL(
            200, task="fgvc", backbone=backbone, image_size=(448, 448), glca={"enabled": False}, pwca={"enabled": False}
        )
    assert parameters(net) == count
    assert net.grid_size == (28, 28)


def test_global_local_overhead_is_the_papers():
    with torch.device("meta"):
        cub = DCAL(200, task="fgvc", backbone="deit_tiny_patch16_224", image_size=(448, 448), glca={"ratio": 0.1})
        veri = DCAL(576, backbone="vit_base_patch16_224", image_size=(256, 256))
    branch = parameters(cub.glca) + parameters(cub.glca_head)
    assert round(100 * branch / (parameters(cub) - branch), 2) == 8.52
    assert parameters(veri.vit) == pytest.approx(85.845e6, abs=500)
    assert parameters(veri.glca) == pytest.approx(7.089e6, abs=500)
    assert round(100 * parameters(veri.glca) / parameters(veri.vit), 2) == 8.26
    assert (cub.num_queries, veri.num_queries) == (78, 76)


def test_pair_branch_has_no_parameter_of_its_own():
    with_pairs, without = tiny(), tiny(pwca={"enabled": False})
    assert with_pairs.state_dict().keys() == without.state_dict().keys()
    own = tiny(pwca={"head": "own"})
    assert own.state_dict().keys() - without.state_dict().keys() == {
        f"pwca_head.{name}" for name in without.head.state_dict()
    }


def test_class_readout_skips_rollout_and_equals_the_full_path(monkeypatch):
    net, image = tiny(glca={"readout": "cls"}).eval(), pictures()
    with monkeypatch.context() as patch:
        patch.setattr(network, "attention_rollout", None)
        patch.setattr(network, "select_queries", None)
        fast = net(image)
    assert fast.rollout is None
    assert fast.selected is None
    maps = net(image, need_rollout=True)
    assert maps.rollout.shape == (4, 12)
    with monkeypatch.context() as patch:
        patch.setattr(GLCA, "needs_selection", True)
        full = net(image)
    assert full.selected.shape == (4, 1 + net.num_queries)
    for other in (maps, full):
        torch.testing.assert_close(other.glca.logits, fast.glca.logits, atol=1e-13, rtol=0)
        torch.testing.assert_close(other.sa.logits, fast.sa.logits, atol=1e-13, rtol=0)


class Shapes(TorchDispatchMode):
    """Remembers the shape of every tensor that an operator gave back."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.seen |= {tuple(leaf.shape) for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)}
        return out


@pytest.mark.parametrize("training", [False, True])
def test_no_map_over_all_pairs_of_tokens_is_ever_stored(training):
    net = DCAL(5, backbone="vit_tiny_patch16_224", image_size=(320, 320), backbone_args={
        "depth": 2, "embed_dim": 32, "num_heads": 2}).train(training)  # fmt: skip
    tokens, batch = 401, 2
    image = torch.randn(batch, 3, 320, 320)
    with Shapes() as shapes:
        output = net(image)
        if training:
            sum(branch.logits.square().sum() for branch in output[:3]).backward()
    seen = [shape for shape in shapes.seen if 0 not in shape]
    assert not [shape for shape in seen if sum(axis >= tokens for axis in shape) > 1]
    assert not [shape for shape in seen if shape and shape[-1] >= tokens and len(shape) > 2 and shape[-2] > 128]


def test_evaluation_keeps_no_more_than_it_reads():
    image = pictures(1)
    plain = tiny(glca={"enabled": False}, pwca={"enabled": False}).eval()
    trace = plain._self_attention(network.embed_tokens(plain.vit, image), rollout=False, pair=False)
    assert [len(kept) for kept in trace] == [2, 0, 0, 0, 0, 0]
    trace = plain._self_attention(network.embed_tokens(plain.vit, image), rollout=True, pair=False)
    kept = 3 if compiled(image) else 0
    assert [len(each) for each in trace] == [2, 3, 3, 0, kept, 0]


def test_inference_gives_plain_tensors_of_unit_length():
    net = tiny().eval()
    result = net.inference(pictures())
    assert {key: tuple(value.shape) for key, value in result.items()} == {"feature": (4, 64), "rollout": (4, 4, 3)}
    torch.testing.assert_close(result["feature"].norm(dim=1), torch.ones(4, dtype=torch.float64))
    classes = tiny(task="fgvc", glca={"readout": "cls"}).eval().inference(pictures())
    assert set(classes) == {"feature", "rollout", "probability"}
    torch.testing.assert_close(classes["probability"].sum(1), torch.ones(4, dtype=torch.float64))


def test_gradients_reach_every_trainable_parameter():
    for settings in (
        {},
        {"glca": {"readout": "cls"}},
        {"pwca": {"head": "own"}},
        {"glca": {"blocks": 2}},
        {"glca": {"enabled": False}},
    ):
        net = tiny(**settings)
        output = net(pictures())
        sum((branch.logits * branch.logits.detach().cos()).sum() for branch in output[:3] if branch).backward()
        idle = [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
        assert not idle, f"{settings}: {idle}"


def test_bf16_autocast_trains_and_keeps_the_ranking_in_float32():
    net = tiny(drop_path=0.1).float()
    image = pictures().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = net(image)
        net.eval()
        evaluated = net(image)
        features = net.embeddings(evaluated)
    assert output.sa.logits.dtype == torch.bfloat16
    assert output.rollout.dtype == torch.float32
    assert features.dtype == torch.float32
    sum(branch.logits.float().square().sum() for branch in output[:3]).backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.requires_grad)
    torch.testing.assert_close(features, net.embeddings(net(image)), atol=0.1, rtol=0.1)


def test_merged_pairs_work_under_bf16_autocast():
    net = tiny(pwca={"partner": "uniform"}).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert net(pictures().float()).pwca.feature.isfinite().all()


def test_stochastic_depth_leaves_the_selection_alone():
    net = tiny(drop_path=0.9, backbone_args={"depth": 2}, pwca={"enabled": False})  # drops in block 2 only
    picture = pictures(1).expand(6, -1, -1, -1)
    output = net(picture)
    assert (output.sa.feature - output.sa.feature[0]).abs().max() > 1e-3
    torch.testing.assert_close(output.rollout, output.rollout[:1].expand(6, -1), atol=1e-15, rtol=0)


def assert_compiled_equals_eager(net, **options):
    net, image = net.float().eval(), pictures().float()
    eager = net(image, need_rollout=True)
    torch._dynamo.reset()
    compiled = torch.compile(net, fullgraph=True, **options)(image, need_rollout=True)
    torch.testing.assert_close(compiled.rollout, eager.rollout, atol=1e-6, rtol=0)
    for one, other in zip(compiled[:2], eager[:2], strict=True):
        torch.testing.assert_close(one.logits, other.logits, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("readout", ["mean", "cls"])
def test_evaluation_is_captured_in_one_graph(readout):
    assert_compiled_equals_eager(tiny(task="fgvc", glca={"readout": readout}), backend="eager")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="the compiler backend needs g++")
def test_evaluation_compiles():
    assert_compiled_equals_eager(tiny(backbone_args={"depth": 1}))


@pytest.mark.parametrize("partner", ["any", "inter", "uniform"])
def test_training_is_captured_in_one_graph(partner):
    torch._dynamo.reset()  # other tests' graphs of the same code count towards the limit of recompilations
    net = tiny(drop_path=0.1, pwca={"partner": partner})
    label = torch.tensor([0, 0, 1, 1])
    output = torch.compile(net, backend="eager", fullgraph=True)(pictures(), label=label)
    assert output.pwca.logits.shape == (4, 5)
