"""Vision towers and projectors: tokens against the networks themselves, and against reshapes by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.models.dcal import DCAL
from vision_suite.models.mllm import Projector, ProjectorConfig, TowerConfig, build_tower
from vision_suite.models.mllm.conv_tower import ConvTower
from vision_suite.models.mllm.projector import pixel_shuffle
from vision_suite.models.mllm.tower import mean_and_cells
from vision_suite.models.presence import PresenceNet


def image(size, number=2):
    return torch.randn(number, 3, *size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layer", [-1, -2])
@torch.no_grad()
def test_tokens_of_a_transformer_are_those_of_its_blocks(layer, tmp_path):
    torch.manual_seed(0)
    whole = timm.create_model("deit_tiny_distilled_patch16_224", img_size=64).eval()
    save_file(whole.state_dict(), tmp_path / "weights.safetensors")
    kept = {"name": "deit_tiny_distilled_patch16_224", "checkpoint": str(tmp_path / "weights.safetensors")}
    tower = build_tower(TowerConfig("timm", **kept, layer=layer, image_size=(64, 64))).eval()
    x = image((64, 64))
    outputs = []
    for block in whole.blocks:
        block.register_forward_hook(lambda module, args, out: outputs.append(out))
    normed = whole.forward_features(x)
    expected = (normed if layer == -1 else outputs[-2])[:, 2:]  # without class and distillation token
    torch.testing.assert_close(tower(x), expected, atol=0, rtol=0)
    assert (tower.tokens, tower.width, tower.image_size) == (16, 192, (64, 64))
    assert tower.mean == whole.pretrained_cfg["mean"]
    assert tower.std == whole.pretrained_cfg["std"]
    torch.testing.assert_close(without_files(tower, tmp_path)(x), tower(x), atol=0, rtol=0)


@pytest.mark.parametrize("layer", [-1, -2])
def test_every_parameter_of_a_tower_is_used(layer):
    tower = build_tower(TowerConfig("timm", "vit_micro_conv8_64", layer=layer))
    tower(image((64, 64))).sum().backward()
    assert all(parameter.grad is not None for parameter in tower.parameters())


def test_picture_sizes_of_the_papers_give_their_tokens():
    with torch.device("meta"):
        siglip = timm.create_model("vit_so400m_patch14_siglip_384")
        clip = timm.create_model("vit_large_patch14_clip_336")
    assert siglip.patch_embed.num_patches == 729
    assert siglip.num_prefix_tokens == 0
    assert clip.patch_embed.num_patches == 576
    assert clip.num_prefix_tokens == 1


@torch.no_grad()
def test_convolutional_networks_give_their_map():
    tower = build_tower(TowerConfig("timm", "mobilenetv3_small_050", image_size=(64, 96))).eval()
    x = image((64, 96))
    features = tower.network.network.forward_features(x)
    torch.testing.assert_close(tower(x), features.flatten(2).transpose(1, 2), atol=0, rtol=0)
    assert tower.tokens == 2 * 3


@pytest.mark.parametrize("layer", [-1, -2])
@torch.no_grad()
def test_backbone_of_a_dcal_checkpoint(layer, tmp_path):
    torch.manual_seed(0)
    settings = {"backbone": "vit_micro_conv8_64", "image_size": [64, 64]}
    net = DCAL(3, **settings).eval()
    weights = {f"model.{name}": value for name, value in net.state_dict().items()}
    data = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    torch.save(
        {"state_dict": weights, "hyper_parameters": settings, "ReIDData": {"preprocessing": data}}, tmp_path / "a.ckpt"
    )
    tower = build_tower(TowerConfig("dcal", checkpoint=str(tmp_path / "a.ckpt"), layer=layer)).eval()
    x = image((64, 64))
    tokens = net.vit.patch_embed(x)
    tokens = net.vit._pos_embed(tokens)
    for block in net.vit.blocks if layer == -1 else net.vit.blocks[:-1]:
        tokens = block(tokens)
    expected = (net.vit.norm(tokens) if layer == -1 else tokens)[:, 1:]
    torch.testing.assert_close(tower(x), expected, atol=1e-5, rtol=0)
    assert (tower.mean, tower.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    again = without_files(tower, tmp_path)
    torch.testing.assert_close(again(x), tower(x), atol=0, rtol=0)


def without_files(tower, folder):
    """The tower again, of its structure as a checkpoint holds it and its weights, with no file there."""
    for path in folder.iterdir():
        path.unlink()
    again = build_tower(replace(tower.config, structure=yaml.safe_load(yaml.safe_dump(tower.structure)))).eval()
    again.load_state_dict(tower.state_dict())
    assert (again.mean, again.std, again.image_size) == (tower.mean, tower.std, tower.image_size)
    return again


@torch.no_grad()
def test_small_tower_of_a_run(tmp_path):
    torch.manual_seed(0)
    net = ConvTower(16, (32, 32)).eval()
    contents = {
        "state_dict": {"neck.weight": torch.ones(2)} | {f"model.{n}": value for n, value in net.state_dict().items()},
        "hyper_parameters": {"width": 16, "image_size": [32, 32], "num_classes": 7},
    }
    torch.save(contents, tmp_path / "a.ckpt")
    tower = build_tower(TowerConfig("conv", checkpoint=str(tmp_path / "a.ckpt"))).eval()
    torch.testing.assert_close(tower(image((32, 32))), net(image((32, 32))), atol=0, rtol=0)
    assert (tower.tokens, tower.width, tower.image_size) == (5, 16, (32, 32))
    x = image((32, 32))
    finer = build_tower(TowerConfig("conv", checkpoint=str(tmp_path / "a.ckpt"), pool="grid4")).eval()
    torch.testing.assert_close(without_files(tower, tmp_path)(x), tower(x), atol=0, rtol=0)
    assert build_tower(TowerConfig("conv")).image_size == (64, 64)
    grid = finer(x)
    assert finer.tokens == grid.shape[1] == 17
    # Four cells of four are a quarter.
    quarters = grid[:, 1:].reshape(2, 2, 2, 2, 2, 16).mean((2, 4)).reshape(2, 4, 16)
    torch.testing.assert_close(torch.cat([grid[:, :1], quarters], 1), tower(x))
    with pytest.raises(ConfigError, match="one layer"):
        build_tower(TowerConfig("conv", layer=-2))


@torch.no_grad()
def test_features_of_a_small_detector(tmp_path):
    torch.manual_seed(0)
    net = PresenceNet(7, 16).eval()
    contents = {
        "state_dict": {f"model.{name}": value for name, value in net.state_dict().items()},
        "hyper_parameters": {"width": 16, "num_classes": 7},
    }
    torch.save(contents, tmp_path / "a.ckpt")
    tower = build_tower(TowerConfig("presence", checkpoint=str(tmp_path / "a.ckpt"), image_size=(32, 32))).eval()
    x = image((32, 32))
    torch.testing.assert_close(tower(x), net.features(x).flatten(2).transpose(1, 2), atol=0, rtol=0)
    assert (tower.tokens, tower.width, tower.image_size) == (16, 16, (32, 32))
    torch.testing.assert_close(without_files(tower, tmp_path)(x), tower(x), atol=0, rtol=0)
    assert build_tower(TowerConfig("presence", pool="grid4")).tokens == 17
    with pytest.raises(ConfigError, match="one layer"):
        build_tower(TowerConfig("presence", layer=-2))


@torch.no_grad()
def test_features_of_a_detector(monkeypatch):
    class Detector(nn.Module):
        image_size, mean, std = (512, 512), (0.0,) * 3, (1 / 255,) * 3
        graph = SimpleNamespace(structure=dict)

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 128, 128)

        @classmethod
        def load(cls, source, part):
            assert (source, part) == ("centernet", "trunk")
            return cls()

        def forward(self, pixels):
            return self.conv(pixels)

    monkeypatch.setattr("vision_suite.layers.centernet.CenterNet", Detector)
    tower = build_tower(TowerConfig("centernet", pool="grid2"))
    assert (tower.tokens, tower.width) == (5, 6)
    x = image((512, 512), 1)
    torch.testing.assert_close(tower(x)[:, 0], tower.network(x).mean((2, 3)))
    assert not any(parameter.requires_grad for parameter in tower.parameters())
    with pytest.raises(ConfigError, match="takes pictures of 512 x 512"):
        build_tower(TowerConfig("centernet", image_size=(64, 64)))


def test_checkpoints_that_do_not_fit_are_refused(tmp_path):
    torch.save({"state_dict": {"model.vit.norm.weight": torch.ones(3)}}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="holds no backbone of DCAL"):
        build_tower(TowerConfig("dcal", checkpoint=str(tmp_path / "a.ckpt")))
    with pytest.raises(CheckpointError, match="is missing"):
        build_tower(TowerConfig("timm", "vit_micro_conv8_64", checkpoint=str(tmp_path / "a.ckpt")))
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        build_tower(TowerConfig("dcal", checkpoint=str(tmp_path / "b.ckpt")))
    with pytest.raises(CheckpointError, match="no such checkpoint: give the tower's file"):
        build_tower(TowerConfig("timm", "vit_micro_conv8_64", checkpoint=str(tmp_path / "b.safetensors")))
    (tmp_path / "c.safetensors").write_bytes(b"no tensors here")
    with pytest.raises(CheckpointError, match="no safetensors file"):
        build_tower(TowerConfig("timm", "vit_micro_conv8_64", checkpoint=str(tmp_path / "c.safetensors")))
    with pytest.raises(ConfigError, match="give a name of timm"):
        build_tower(TowerConfig("timm", "vit_of_nowhere"))
    with pytest.raises(ConfigError, match="has no blocks of which"):
        build_tower(TowerConfig("timm", "resnet10t", layer=-2))


def test_five_tokens_of_a_grid():
    grid = np.arange(2 * 16 * 3, dtype=np.float64).reshape(2, 4, 4, 3)
    halves = (slice(0, 2), slice(2, 4))
    parts = [grid.mean((1, 2)), *(grid[:, rows, columns].mean((1, 2)) for rows in halves for columns in halves)]
    found = mean_and_cells(torch.from_numpy(grid.reshape(2, 16, 3)), 2)
    np.testing.assert_allclose(found.numpy(), np.stack(parts, 1), rtol=1e-13)
    with pytest.raises(ConfigError, match="needs a square grid of 2 or more a side, not 6 tokens"):
        mean_and_cells(torch.zeros(1, 6, 2), 2)


def test_squares_of_tokens_side_by_side():
    grid = torch.randn(2, 6, 6, 5)
    joined = pixel_shuffle(grid.reshape(2, 36, 5), 3)
    for row in range(2):
        for column in range(2):
            square = grid[:, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
            torch.testing.assert_close(joined[:, 2 * row + column], square.reshape(2, 45), atol=0, rtol=0)


@pytest.mark.parametrize(
    ("kind", "tokens", "count"),
    [("linear", 16, 11 * 8 + 8), ("mlp2x_gelu", 16, 96 + 72), ("pixel_shuffle", 4, 360 + 72)],
)
def test_kinds_of_projectors(kind, tokens, count):
    projector = Projector(ProjectorConfig(kind), 11, 8, tokens=16)
    assert projector(torch.randn(3, 16, 11)).shape == (3, tokens, 8)
    assert projector.tokens == tokens
    assert sum(parameter.numel() for parameter in projector.parameters()) == count


def test_final_norm_starts_with_the_spread_of_the_words():
    torch.manual_seed(0)
    projector = Projector(ProjectorConfig(norm=True), 32, 64, tokens=5, embedding_std=0.13)
    assert projector(10 * torch.randn(50, 5, 32)).std().item() == pytest.approx(0.13, rel=0.02)


def test_grids_that_cannot_be_cut_are_refused():
    with pytest.raises(ConfigError, match="cannot cut the 5 tokens"):
        Projector(ProjectorConfig("pixel_shuffle"), 4, 4, tokens=5)
    with pytest.raises(ConfigError, match="cannot cut the 25 tokens"):
        Projector(ProjectorConfig("pixel_shuffle"), 4, 4, tokens=25)
