"""Weights of other code, proven by equal outputs on networks that are built here in the other layout."""

import pytest
import torch
from opentad_layout import OpenTADLayout
from transreid_layout import TransReIDLayout

from vision_suite.errors import CheckpointError
from vision_suite.models.csa import CSADetector
from vision_suite.models.dcal import DCAL
from vision_suite.weights import init_from


def shaken(network, seed=0, size=0.05):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in network.parameters():
            value.add_(size * torch.randn(value.shape, generator=generator))
    return network.eval()


def test_solider_to_dcals_backbone(tmp_path):
    """SOLIDER's file holds a teacher: timm's names behind ``backbone.``, and DINO's head."""
    torch.manual_seed(0)
    theirs = shaken(TransReIDLayout(5, image_size=(64, 48), width=32, depth=3, heads=2), size=0.2).base
    plain = {name: value for name, value in theirs.state_dict().items() if not name.startswith("fc.")}
    teacher = {**{f"backbone.{name}": value for name, value in plain.items()}, "head.mlp.0.weight": torch.ones(2, 2)}
    torch.save(
        {"teacher": teacher, "student": {"module.backbone.cls_token": torch.zeros(1)}, "epoch": 3}, tmp_path / "a"
    )
    torch.save(teacher, tmp_path / "b")  # as its convert_model.py writes it
    image = torch.randn(3, 3, 64, 48)
    for name in ("a", "b"):
        net = DCAL(
            5, backbone="vit_tiny_patch16_224", image_size=(64, 48), drop_path=0.0,
            backbone_args={"depth": 3, "embed_dim": 32, "num_heads": 2},
        ).eval()  # fmt: skip
        started = init_from(net, tmp_path / name)
        assert started.layout == "SOLIDER"
        assert {key for key in started.taken} >= {f"vit.{key}" for key in plain}
        with torch.no_grad():
            x = theirs.tokens(image, None)
            for block in theirs.blocks:
                x = block(x)
            torch.testing.assert_close(net(image).sa.feature, theirs.norm(x)[:, 0], rtol=1e-5, atol=1e-5)


def test_soliders_swin_is_no_backbone_of_dcal(tmp_path):
    swin = {"backbone.patch_embed.projection.weight": torch.ones(2, 3, 4, 4),
            "backbone.stages.0.blocks.0.attn.w_msa.qkv.weight": torch.ones(3, 1)}  # fmt: skip
    torch.save({"teacher": swin}, tmp_path / "swin.pth")
    with pytest.raises(CheckpointError, match="nothing taken"):
        init_from(DCAL(5, backbone="vit_micro_conv8_64", image_size=(32, 32)), tmp_path / "swin.pth")


@pytest.mark.parametrize("channels", ["class_first", "iou_first"])
def test_opentads_bmn(channels, tmp_path):
    theirs = shaken(OpenTADLayout(8, 10))
    state = {f"module.{name}": value for name, value in theirs.state_dict().items()}
    raw = {name: torch.zeros_like(value) for name, value in state.items()}
    torch.save({"state_dict": raw, "state_dict_ema": state, "epoch": 5}, tmp_path / "bmn.pth")
    ours = CSADetector(8, 3, 10, self_attention="none", pem_width=128, convention={"channels": channels}).eval()
    started = init_from(ours, tmp_path / "bmn.pth")
    assert started.layout == "OpenTAD"
    assert len(started.taken) == len(state)
    assert not started.left_out
    assert all(name.startswith("classifier.") for name in started.missing)
    features = torch.randn(2, 8, 10)
    with torch.no_grad():
        found, (sides, maps) = ours(features), theirs(features)
    kept = ours.proposals.valid()
    pairs = {"start": sides[:, 0], "end": sides[:, 1], "confidence": maps[:, 0], "iou": maps[:, 1]}
    for name, expected in pairs.items():
        value = getattr(found, name)
        value, expected = (value[:, kept], expected[:, kept]) if value.ndim == 3 else (value, expected)
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")
    with_csa = init_from(CSADetector(8, 3, 10, pem_width=128), tmp_path / "bmn.pth")
    assert any(name.startswith("attention.") for name in with_csa.missing)


def llava_names(name):
    """Name of a tensor of ours in a file of LLaVA's code."""
    return (
        name.replace("projector.layers.", "model.mm_projector.")
        .replace("tower.network.encoder.", "model.vision_tower.vision_tower.")
        .removeprefix("decoder.")
    )


@pytest.mark.parametrize("adapted", [(), ("wings",), ("lora",)])
def test_llava_to_the_base_of_wings(adapted, tmp_path):
    """The file has the names of LLaVA's code; the outputs are those of transformers' own LLaVA."""
    pytest.importorskip("transformers")
    import wings_tiny

    from vision_suite.models.mllm.llava import from_llava
    from vision_suite.models.mllm.lora import LoraSettings, add_lora
    from vision_suite.models.wings.attach import attach, wings_off
    from vision_suite.models.wings.config import WingsConfig

    theirs = wings_tiny.llava(torch.float32)
    own = from_llava(theirs)
    torch.save(
        {llava_names(name): value for name, value in renumbered(own.state_dict()).items()}, tmp_path / "llava.bin"
    )
    other = wings_tiny.llava(torch.float32)
    wings_tiny.draw(other.parameters(), seed=5)
    net = from_llava(other)
    if "wings" in adapted:
        attach(net.decoder, WingsConfig(rank=4, s_max=64, layers=(0, 1)))
    if "lora" in adapted:
        add_lora(net.decoder, LoraSettings(rank=2))
    started = init_from(net, tmp_path / "llava.bin")
    assert started.layout == "LLaVA"
    assert all(".wings." in name or ".lora_" in name for name in started.missing)
    image, ids = torch.randn(1, 3, 8, 8), torch.tensor([[9, 5, 5, 5, 5, 11, 12]])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids, dtype=torch.bool), "image": image}
    expected = theirs(input_ids=ids, pixel_values=image, use_cache=False).logits
    if "wings" in adapted:
        with wings_off(net.decoder):
            found = net(batch)
    else:
        found = net(batch)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def renumbered(state):
    """The projector of transformers' LLaVA as the two numbered layers of LLaVA's code."""
    numbers = {"projector.linear_1.": "projector.layers.0.", "projector.linear_2.": "projector.layers.2."}
    found = {}
    for name, value in state.items():
        for theirs, ours in numbers.items():
            name = name.replace(theirs, ours)
        found[name] = value
    return found
