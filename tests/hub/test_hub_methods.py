"""Every method: an entry gives, bit for bit, what the checkpoint gives, and what ``predict`` makes of it."""

import hub_tiny
import pytest
import torch
from hub_tiny import PICTURES, checkpoint, entry, local, shaken
from safetensors.torch import load

from vision_suite import hub as checkpoint_hub
from vision_suite.cli.trainer.hub_entry import contents_of
from vision_suite.cli.trainer.modules import load_module
from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.hub import registry
from vision_suite.hub.loading import open_entry
from vision_suite.hub.verification import verify

VIT = {"backbone": "vit_micro_conv8_64", "backbone_args": {"depth": 2, "embed_dim": 32, "num_heads": 2}}
FEATURES = {
    "mode": "resize", "num_cells": 16, "every": 1, "overlap": 0.5, "join": "interpolate",
    "sampling": {"fps": 2.0, "stride": 1, "clip": 1},
}  # fmt: skip
GRID = {"objects": "features", "in_channels": 6, "target_from": "object"}
CROPS = {"objects": "crops", "crop_size": [30, 32], "mean": [0.5] * 3, "std": [0.5] * 3, "target_from": "object"}
CHAT = {
    "colour": "RGB", "square": "pad", "resize": [64, 64], "interpolation": "bicubic", "scale": 1 / 255,
    "mean": [0.5] * 3, "std": [0.5] * 3, "tokenizer": "/home/me/words.txt", "image_tokens": 5, "template": "plain",
    "system": "", "max_length": 64,
}  # fmt: skip
WORDS = {"facts": {"vocabulary_size": {"count": 30, "sha256": "ab" * 32}}}
SMALL_OAT = {"embed_dim": 32, "num_heads": 2, "ff_dim": 32, "encoder_layers": 1, "decoder_layers": 1, "max_length": 6}


def dcal(**settings):
    from vision_suite.lit_modules.dcal import LitDCAL

    return LitDCAL(4, image_size=(32, 32), **VIT, **settings), "ReIDData", PICTURES, {}


def csa(**settings):
    from vision_suite.lit_modules.csa import LitCSA

    return LitCSA(2, 8, 16, **settings), "TADData", FEATURES, {"class_names": ["jump", "run"]}


def recognizer():
    from vision_suite.lit_modules.recognizer import LitRecognizer

    return LitRecognizer(2, 8, 16, width=8, depth=2), "TADData", FEATURES, {}


def oat(preprocessing=GRID, **settings):
    from vision_suite.lit_modules.oat import LitOAT

    return LitOAT(num_positions=5, samples=2, **SMALL_OAT, **settings), "ScanpathData", preprocessing, {}


def mllm(kind="LitWings", pictures=True, **settings):
    from instruct_tiny import SHAPE, TOWER

    from vision_suite.lit_modules.sentinel import LitSentinel
    from vision_suite.lit_modules.wings import LitWings
    from vision_suite.models.wings.build import DecoderConfig

    torch.manual_seed(0)
    seen = {"tower": TOWER} if pictures else {}
    chosen = {"decoder": DecoderConfig(shape=SHAPE), **seen, **settings}
    module = {"LitWings": LitWings, "LitSentinel": LitSentinel}[kind](30, 5 if pictures else 0, **chosen)
    module.model.image_token_id = 7 if pictures else -1
    return module, "InstructData", CHAT if pictures else {**CHAT, "image_tokens": 0}, WORDS


def wings(**settings):
    from instruct_tiny import WINGS

    return mllm(wings=WINGS, **settings)


def lora(**settings):
    from vision_suite.models.mllm.lora import LoraSettings

    return mllm(lora=LoraSettings(rank=2), **settings)


def presence():
    from vision_suite.lit_modules.presence import LitPresence

    return LitPresence(3, 8), "PresenceData", PICTURES, {"class_names": ["cat", "dog", "owl"]}


def tower():
    from vision_suite.lit_modules.tower import LitTower

    return LitTower(4, width=16, image_size=(32, 32)), "ReIDData", PICTURES, {}


CASES = {
    "dcal_reid.x": dcal,
    "dcal_flip.x": lambda: dcal(retrieval={"flip": True}, glca={"readout": "mean"}),
    "dcal_fgvc.x": lambda: dcal(task="fgvc"),
    "csa_bmn.plain": lambda: csa(self_attention="none"),
    "csa_bmn.csa": lambda: csa(csa={"source": "features"}),
    "csa_gtad.csa": lambda: csa(host="gtad", self_attention="csa_se"),
    "csa_recognizer.x": recognizer,
    "oat_table.x": lambda: oat(in_channels=6, appearance="table", duration=True),
    "oat_crops.x": lambda: oat(CROPS, appearance="cnn", crop_size=(30, 32), background=True),
    "oat_timm.x": lambda: oat(CROPS, appearance="timm:test_vit", pretrained=False),
    "oat_given.x": lambda: oat(
        in_channels=6, appearance="table", target_token="given", conditions=True, relative=4, position="learned_fourier"
    ),
    "wings_text.x": lambda: mllm(pictures=False),
    "wings_llava.x": mllm,
    "wings_two.x": wings,
    "wings_lora.x": lora,
    "sentinel_lora.x": lambda: lora(kind="LitSentinel"),
    "presence.x": presence,
    "tower_conv.x": tower,
}


def equal(one, other):
    assert set(one) == set(other)
    for name, value in one.items():
        assert torch.equal(value.nan_to_num(), other[name].nan_to_num()), name
        assert value.isfinite().any(), name


def made(name, build, tmp_path, **asked):
    module, data, preprocessing, more = build()
    path = checkpoint(shaken(module), data, preprocessing, tmp_path / "run.ckpt", **more)
    return path, entry(path, tmp_path / "hub", name, **asked)


def restored(path):
    """The module of a checkpoint, as ``predict`` has it."""
    found = load_module(path)
    found.module.on_load_checkpoint(dict(found.contents))
    return found.module.eval()


@pytest.mark.parametrize("name", CASES)
def test_an_entry_gives_what_the_checkpoint_gives(name, tmp_path, monkeypatch):
    hub_tiny.as_user(monkeypatch, tmp_path)
    path, folder = made(name, CASES[name], tmp_path)
    state = torch.get_rng_state()
    network, preprocess, config = checkpoint_hub.load(local(folder))
    assert torch.equal(torch.get_rng_state(), state)
    assert not network.training
    assert not any(value.is_meta for value in [*network.parameters(), *network.buffers()])
    module = restored(path)
    method = registry.find(config["method"], config["model"]["class_path"])
    own = method.network_in(module).eval()
    batch = method.example(own, preprocess)
    with torch.no_grad():
        equal(method.outputs(network, batch), method.outputs(own, batch))
        if "image" in batch and "input_ids" not in batch:
            predicted = module.predict_step({**batch, "index": torch.arange(2), "role": torch.zeros(2)}, 0)
            flipped = {"flip": True} if name.startswith("dcal_flip") else {}
            found = network.inference(batch["image"], **flipped) if flipped else method.outputs(network, batch)
            assert torch.equal(found["feature"], predicted["feature"])
    # What test and predict take: the same weights in the same module.
    again = contents_of(open_entry(local(folder)))["state_dict"]
    for key, value in module.state_dict().items():
        if key.startswith("model."):
            assert torch.equal(again[key], value), key
    assert verify(local(folder), run=True).faults == []
    assert "/home/me" not in "".join(
        each.read_text() for each in folder.rglob("*") if each.suffix in (".json", ".yaml")
    )
    assert "exp_avg" not in (folder / "model.safetensors").read_bytes()[:100_000].decode(errors="ignore")


def test_the_average_of_training_is_taken(tmp_path, monkeypatch):
    hub_tiny.as_user(monkeypatch, tmp_path)
    module, data, preprocessing, _ = dcal()
    raw = {name: value + 1 for name, value in module.model.named_parameters()}
    path = checkpoint(module, data, preprocessing, tmp_path / "run.ckpt", ema={})
    contents = torch.load(path, weights_only=True)
    contents["ema"] = {"weights": raw, "average": {}}
    from vision_suite.checkpoints.files import write

    write(contents, path)
    folder = entry(path, tmp_path / "hub")
    network, _, config = checkpoint_hub.load(local(folder))
    assert config["weights"]["ema"] is True
    name, value = next(iter(network.named_parameters()))
    assert torch.equal(value, contents["state_dict"][f"model.{name}"])
    assert not torch.equal(value, raw[name])


def test_lora_is_merged_when_asked(tmp_path, monkeypatch):
    hub_tiny.as_user(monkeypatch, tmp_path)
    path, folder = made("wings_lora.x", lora, tmp_path, merge_lora=True)
    network, preprocess, config = checkpoint_hub.load(local(folder))
    assert config["weights"]["lora_merged"] is True
    assert config["model"]["init_args"].get("lora") is None
    assert not any("lora" in name for name in network.state_dict())
    method = registry.find("wings", config["model"]["class_path"])
    own = restored(path).model
    batch = method.example(own, preprocess)
    with torch.no_grad():
        torch.testing.assert_close(network(batch), own(batch), rtol=1e-5, atol=1e-5)
    with pytest.raises(ConfigError, match="has no LoRA"):
        made("wings_plain.x", mllm, tmp_path, merge_lora=True)


def test_an_adapter_names_and_hashes_its_base(tmp_path, monkeypatch):
    from instruct_tiny import SHAPE

    from vision_suite.layers.decoders import new_decoder
    from vision_suite.models.mllm.lora import LoraSettings
    from vision_suite.models.wings.build import DecoderConfig

    hub_tiny.as_user(monkeypatch, tmp_path)
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "data"))
    torch.manual_seed(3)
    base = new_decoder(SHAPE, 30)
    base.save_pretrained(tmp_path / "data/tinylm")

    def build():
        module, *rest = mllm(decoder=DecoderConfig(source="tinylm"), lora=LoraSettings(rank=2))
        module.load_base()
        for name, value in module.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(value)
        return module, *rest

    module, data, preprocessing, more = build()
    path = checkpoint(module.eval(), data, preprocessing, tmp_path / "run.ckpt", **more)
    folder = entry(path, tmp_path / "hub", "wings_lora.x")
    config = open_entry(local(folder)).config
    assert config["base"]["source"] == "package:tinylm"
    names = load((folder / "model.safetensors").read_bytes())
    assert all(".lora_" in name for name in names if name.startswith("decoder."))
    assert any(name.startswith("tower.") for name in names)
    network, preprocess, _ = checkpoint_hub.load(local(folder))
    method = registry.find("wings", config["model"]["class_path"])
    batch = method.example(network, preprocess)
    with torch.no_grad():
        equal(method.outputs(network, batch), method.outputs(module.model, batch))
    whole = entry(path, tmp_path / "hub", "wings_whole.x", with_base=True)
    with torch.no_grad():
        equal(method.outputs(checkpoint_hub.load(local(whole)).network, batch), method.outputs(module.model, batch))
    with torch.no_grad():
        next(base.parameters()).add_(0.1)
    base.save_pretrained(tmp_path / "data/tinylm")
    with pytest.raises(CheckpointError, match="has other weights than those beside which"):
        checkpoint_hub.load(local(folder))


def test_a_method_of_another_package(tmp_path, monkeypatch):
    from importlib import metadata

    from vision_suite.hub.method import HubMethod

    ours = registry.methods()[0]
    theirs = HubMethod("toy", "torch.nn.Linear", ("LitToy",), ("fgvc",), ours.outputs, ours.example, ours.preprocess)
    points = metadata.EntryPoints([metadata.EntryPoint("toy", "toy_hub:METHODS", registry.GROUP)])
    monkeypatch.setattr(metadata.EntryPoint, "load", lambda self: theirs)
    monkeypatch.setattr(metadata, "entry_points", lambda group: points.select(group=group))
    registry.methods.cache_clear()
    try:
        assert registry.find("toy", "torch.nn.Linear") is theirs
        assert registry.of_module("LitToy") is theirs
    finally:
        registry.methods.cache_clear()
