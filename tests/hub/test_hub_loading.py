"""Loading without Lightning, wandb and a network; from read-only places and without a home; by every kind of name."""

import json
import logging
import os
import shutil
import subprocess
import sys

import pytest
import torch
from folders import ROOT
from hub_tiny import NAME, configured, local
from PIL import Image

from vision_suite import hub as checkpoint_hub
from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.hub.backbone import backbone_of
from vision_suite.hub.preprocess import Preprocess

ALONE = """
import importlib.abc, socket, sys

BLOCKED = ("pytorch_lightning", "lightning", "lightning_fabric", "wandb", "jsonargparse")

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ImportError(name + " is absent")

def refuse(*_, **__):
    raise RuntimeError("a socket was asked for")

sys.meta_path.insert(0, Blocked())
socket.socket.__init__ = refuse
socket.create_connection = socket.getaddrinfo = socket.socketpair = refuse

from vision_suite import hub

network, preprocess, config = hub.load(sys.argv[1], allow_unsigned=True)
feature = network.inference(preprocess(sys.argv[2]))["feature"]
padded = type(preprocess)({**preprocess, "resize": "pad"})(sys.argv[2])  # as language models see pictures
assert padded.shape == preprocess(sys.argv[2]).shape
print(config["name"], tuple(feature.shape), not set(BLOCKED) & set(sys.modules))
"""


def alone(name, folder, **environment):
    """Output of a process of its own after loading an entry."""
    kept = {key: value for key, value in os.environ.items() if key not in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, name, str(folder / "sample/input.png")], capture_output=True, text=True,
        env={**kept, "PYTHONPATH": str(ROOT), **environment}, cwd=folder, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_lightning_wandb_sockets_home_and_writable_places(hub, folder):
    expected = f"{NAME} (1, 24) True"
    for path in (hub, folder, folder / "sample"):
        path.chmod(0o555)
    try:
        assert alone(local(folder), folder) == expected
        blocked = {"XDG_CONFIG_HOME": "/proc/no", "XDG_CACHE_HOME": "/proc/no", "HOME": "/proc/no"}
        assert alone(f"hub:{NAME}", folder, **blocked) == expected
    finally:
        for path in (hub, folder, folder / "sample"):
            path.chmod(0o755)


def test_pictures_are_prepared_as_predict_does(folder):
    from vision_suite.datasets.pictures.images import Reader
    from vision_suite.datasets.pictures.transforms import Prepare

    network, preprocess, config = checkpoint_hub.load(local(folder))
    picture = folder / "sample/input.png"
    read, prepare = Reader((32, 32), "bicubic"), Prepare((32, 32), (0.5,) * 3, (0.5,) * 3, None)
    expected = prepare(read(str(picture))[None], torch.Generator())
    for given in (picture, str(picture), Image.open(picture)):
        assert torch.equal(preprocess(given), expected)
    assert dict(preprocess) == config["preprocess"]
    assert network.inference(expected)["feature"].shape == (1, 24)
    cut = Preprocess({**config["preprocess"], "size": [40, 36], "crop": {"center": [32, 32], "bottom": 9}})
    expected = prepare(Reader((40, 36), "bicubic", 9)(str(picture))[None], torch.Generator())
    assert torch.equal(cut(picture), expected)
    with pytest.raises(ConfigError, match="reads no pictures"):
        Preprocess({"fps": 2, "feature": {}})(picture)


def test_a_hub_is_told_before_the_package(folder, hub, tmp_path, monkeypatch, caplog):
    from vision_suite.hub import places

    monkeypatch.setattr(places, "PINS", tmp_path)
    (tmp_path / f"{NAME}.sha256").write_text("0" * 64)
    with caplog.at_level(logging.WARNING):
        checkpoint_hub.load(NAME, allow_unsigned=True)
    assert f"{NAME} is in {hub} and in the package" in caplog.text
    assert "is not signed" in caplog.text


def cached(folder, cache, name):
    """An entry as the client of a model hub keeps it: links into a folder of blobs."""
    place = cache / f"models--{name.replace('/', '--')}"
    snapshot = place / "snapshots" / ("a" * 40)
    (place / "refs").mkdir(parents=True)
    (place / "refs/main").write_text("a" * 40)
    (place / "blobs").mkdir()
    for number, path in enumerate(sorted(path for path in folder.rglob("*") if path.is_file())):
        target = snapshot / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place / f"blobs/{number}")
        target.symlink_to(os.path.relpath(place / f"blobs/{number}", target.parent))
    (snapshot / ".gitattributes").write_text("*.safetensors filter=lfs")
    return snapshot


def test_a_repository_of_a_model_hub(folder, tmp_path, monkeypatch):
    from huggingface_hub import constants

    cache = tmp_path / "hf"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    snapshot = cached(folder, cache, "someone/dcal")
    for name in ("hf-hub:someone/dcal", "hf-hub:someone/dcal@main"):
        assert checkpoint_hub.load(name).config["name"] == NAME
    (snapshot / "LICENSE").unlink()
    (snapshot / "LICENSE").symlink_to("/etc/hostname")
    with pytest.raises(CheckpointError, match="a link that leaves the entry"):
        checkpoint_hub.load("hf-hub:someone/dcal")
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE is set"):
        checkpoint_hub.load("hf-hub:someone/else")


def test_shared_tensors_stay_shared(tmp_path):
    from torch import nn

    from vision_suite.hub.building import fill, parameters_on_meta
    from vision_suite.hub.writing import once

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)
            self.two.weight = self.one.weight
            self.register_buffer("table", torch.arange(3.0), persistent=False)

    own = Tied()
    tensors = once(own.state_dict())
    assert list(tensors) == ["one.weight", "one.bias", "two.bias"]
    with parameters_on_meta():
        other = Tied()
    assert other.one.weight.is_meta
    assert torch.equal(other.table, torch.arange(3.0))
    fill(other, tensors)
    assert other.two.weight is other.one.weight
    assert torch.equal(other.two.weight, own.one.weight)
    assert not nn.Linear(2, 2).weight.is_meta
    part = torch.ones(4)
    with pytest.raises(CheckpointError, match="shares a part"):
        once({"a": part, "b": part[:2]})


def test_a_backbone_of_the_hub(hub, folder, tmp_path):
    from vision_suite.lit_modules.dcal import LitDCAL

    module = LitDCAL(5, image_size=(32, 16), backbone=local(folder), backbone_args={"depth": 9}, pretrained=True)
    network = checkpoint_hub.load(local(folder)).network
    ours, theirs = module.model.vit.state_dict(), network.vit.state_dict()
    for name in (name for name in theirs if name != "pos_embed"):
        assert torch.equal(ours[name], theirs[name]), name
    assert module.hparams["backbone"] == "vit_tiny_patch16_224"
    assert module.hparams["backbone_args"]["depth"] == 1
    assert module.hparams["pretrained"] is False
    assert module.initialised_from["file"] == local(folder)
    assert LitDCAL(**module.hparams).model.vit.embed_dim == 12  # as a checkpoint is loaded, without the entry
    (tmp_path / "of_timm").mkdir()
    assert backbone_of(f"local-dir:{tmp_path / 'of_timm'}") is None
    assert backbone_of("deit_tiny_patch16_224") is None
    with pytest.raises(CheckpointError, match="no such entry"):
        backbone_of("hub:no_such.entry")
    configured(folder, lambda config: config["model"]["init_args"].pop("backbone"))
    with pytest.raises(ConfigError, match="has no vision transformer"):
        backbone_of(local(folder))


def test_torch_hub(hub, folder):
    names = torch.hub.load(str(ROOT), "names", source="local")
    assert NAME in names
    network, _, config = torch.hub.load(str(ROOT), "load", local(folder), source="local")
    assert (type(network).__name__, config["name"]) == ("DCAL", NAME)
    assert json.loads((folder / "config.json").read_text()) == config
