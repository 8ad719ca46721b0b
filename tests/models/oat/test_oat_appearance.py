"""Appearance embeddings: shapes by hand, frozen encoders, and scenes of pictures."""

import sys

import pytest
import torch
from oat_tiny import scenes, tiny
from torch import nn

from vision_suite.errors import ConfigError, DataError, MissingDependencyError
from vision_suite.models.oat import greedy
from vision_suite.models.oat.appearance import MEAN, STD, CropCNN, FrozenEncoder, build_appearance


def test_the_cnn_is_the_stated_one():
    cnn = CropCNN()
    crops = torch.randn(2, 3, 150, 93)
    assert cnn.conv1(crops).shape[2:] == (146, 89)
    pooled = nn.functional.max_pool2d(cnn.conv1(crops).relu(), 5)
    assert pooled.shape[2:] == (29, 17)
    assert cnn.conv2(pooled).shape[2:] == (27, 15)
    plain = nn.Sequential(
        cnn.conv1, nn.ReLU(), nn.MaxPool2d(5), cnn.conv2, nn.ReLU(), nn.MaxPool2d(3), nn.Flatten(), cnn.linear
    )
    torch.testing.assert_close(cnn(crops), plain(crops))
    torch.testing.assert_close(cnn.start(), plain(torch.ones(1, 3, 150, 93))[0])
    with pytest.raises(DataError, match="crop_size"):
        cnn(torch.zeros(1, 3, 93, 150))
    with pytest.raises(ConfigError, match="too small"):
        CropCNN(crop_size=(28, 60))


def picture_scenes():
    batch = scenes(counts=(4, 3))
    features = batch.pop("features")
    batch["crops"] = torch.randn(2, 4, 3, 40, 35, generator=torch.Generator().manual_seed(1))
    return batch, features


def test_pictures_of_padding_are_never_looked_at():
    batch, _ = picture_scenes()
    model = tiny(appearance="cnn", crop_size=(40, 35))
    before = model(batch).logits
    batch["crops"][1, 3] = torch.nan
    torch.testing.assert_close(model(batch).logits, before)
    assert greedy(model, batch, 5).log_prob.isfinite().all()
    with pytest.raises(DataError, match="no crops"):
        model({k: v for k, v in batch.items() if k != "crops"})
    with pytest.raises(DataError, match="no features"):
        tiny()(batch)


def test_a_target_crop_stands_for_the_target():
    batch, _ = picture_scenes()
    model = tiny(appearance="cnn", crop_size=(40, 35), target_token="given")
    batch["target_crop"] = batch["crops"][:, 0]
    rows = model.embedding(batch).rows
    torch.testing.assert_close(rows[:, -1, :16], rows[:, 0, :16])


def test_a_frozen_encoder_is_not_trained_and_sees_its_own_normalisation():
    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, pictures):
            assert not self.training
            assert pictures.shape[-2:] == (8, 8)
            return pictures.mean(dim=(2, 3))

    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    frozen = FrozenEncoder(Mean(), 5, mean=mean, std=std, image_size=(8, 8)).train()
    raw = torch.rand(2, 3, 1, 1)
    crops = (raw - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    wanted = (raw[..., 0, 0] - torch.tensor(mean)) / torch.tensor(std)
    found = frozen.features(crops.expand(-1, -1, 10, 12))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert {name for name, p in frozen.named_parameters() if p.requires_grad} == {
        "linear.weight", "linear.bias", "start_vector",
    }  # fmt: skip
    joint = FrozenEncoder(Mean(), 5, mean=mean, std=std, image_size=(8, 8), joint=True)
    torch.testing.assert_close(joint.project(torch.ones(1, 3)), joint.project(torch.full((1, 3), 7.0)))


def test_timm_encoders_are_built_by_name():
    batch, _ = picture_scenes()
    model = tiny(appearance="timm:test_vit", pretrained=False, duration=False).train()
    look = model.embedding.appearance
    before = {name: value.clone() for name, value in look.encoder.state_dict().items()}
    model(batch).logits[..., 0].sum().backward()
    assert all(p.grad is None for p in look.encoder.parameters())
    assert look.linear.weight.grad is not None
    assert all((value == before[name]).all() for name, value in look.encoder.state_dict().items())
    # Prepared features may take the pictures' place.
    given = {**batch, "features": torch.zeros(2, 4, look.feature_dim)}
    present = batch["present"]
    given["features"][present] = look.features(batch["crops"][present])
    del given["crops"]
    torch.testing.assert_close(model.eval()(given).logits, model(batch).logits, atol=1e-5, rtol=1e-5)


def test_clip_needs_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingDependencyError, match="open_clip_torch"):
        build_appearance("clip:ViT-B-32/openai", 8)


def test_clip_encoders_are_built_by_name(monkeypatch):
    class Visual(nn.Module):
        image_size, image_mean, image_std = (16, 16), (0.5,) * 3, (0.5,) * 3

        def forward(self, pictures):
            return pictures.flatten(1)[:, :7]

    asked = []

    class Package:
        @staticmethod
        def create_model(name, pretrained):
            asked.append((name, pretrained))
            return type("Model", (), {"visual": Visual()})()

    monkeypatch.setitem(sys.modules, "open_clip", Package)
    look = build_appearance("clip:ViT-B-32/laion2b", 8)
    assert look.feature_dim == 7
    assert look(torch.rand(2, 3, 20, 20)).shape == (2, 8)
    build_appearance("clip:RN50", 8)
    build_appearance("clip:RN50", 8, pretrained=False)
    assert asked == [("ViT-B-32", "laion2b"), ("RN50", "openai"), ("RN50", None)]
