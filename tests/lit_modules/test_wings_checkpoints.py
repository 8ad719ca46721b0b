"""Checkpoints of LitWings: what they hold, and what they need beside them."""

import shutil

import instruct_tiny
import pytest
import torch

from vision_suite.cli.trainer.modules import load_module
from vision_suite.errors import CheckpointError
from vision_suite.layers import base_weights
from vision_suite.layers.decoders import load_decoder
from vision_suite.lit_modules.tower import LitTower
from vision_suite.lit_modules.wings import LitWings
from vision_suite.models.mllm import TowerConfig
from vision_suite.models.wings.build import DecoderConfig, part_of
from vision_suite.models.wings.config import WingsConfig

STAGE_1 = WingsConfig(rank=4, s_max=128, stage=1)


@pytest.fixture
def tower(tmp_path):
    """File of a run that trained a narrow tower."""
    net = LitTower(num_classes=3, width=16)
    path = tmp_path / "tower.ckpt"
    run = instruct_tiny.trainer(tmp_path, max_steps=1)
    run.strategy.connect(net)
    run.save_checkpoint(path)
    return path


def saved(data, folder, tmp_path, **settings):
    """A module of one step and its checkpoint."""
    net = instruct_tiny.module(data, **{"decoder": DecoderConfig(source=str(folder)), **settings})
    run = instruct_tiny.trainer(tmp_path, max_steps=1)
    run.fit(net, datamodule=data)
    path = tmp_path / "kept.ckpt"
    run.save_checkpoint(path)
    return net, path


def parts_in(path):
    return {part_of(name.removeprefix("model.")) for name in torch.load(path, weights_only=True)["state_dict"]}


def same(one, two):
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name


def test_a_whole_checkpoint_needs_no_other_file(data, folder, tower, tmp_path, monkeypatch):
    """Neither the tower's file nor the decoder's folder; testing and predicting give the same numbers."""
    gone = tmp_path / "decoder"
    shutil.copytree(folder, gone)
    settings = {"wings": STAGE_1, "tower": TowerConfig(kind="conv", checkpoint=str(tower))}
    net, path = saved(data, gone, tmp_path, save_frozen=True, **settings)
    assert net.model.tower.width == 16
    net.trainer.test(net, datamodule=data, verbose=False)
    shutil.rmtree(gone)
    tower.unlink()
    for loaded in (LitWings.load_from_checkpoint(path), load_module(path, "LitWings").module):
        same(net, loaded)
        run = instruct_tiny.trainer(tmp_path)
        run.test(loaded, datamodule=data, verbose=False)
        assert loaded.report.metrics == pytest.approx(net.report.metrics, nan_ok=True)
        assert run.predict(loaded, datamodule=data)
    again = tmp_path / "again.ckpt"
    run.save_checkpoint(again)
    same(net, LitWings.load_from_checkpoint(again))


def test_a_tuned_decoder_is_not_compared_with_one_that_is_gone(data, folder, tmp_path):
    gone = tmp_path / "decoder"
    shutil.copytree(folder, gone)
    net, path = saved(data, gone, tmp_path)
    shutil.rmtree(gone)
    loaded = LitWings.load_from_checkpoint(path)
    same(net, loaded)
    with pytest.warns(UserWarning, match="drift is not measured"):
        instruct_tiny.trainer(tmp_path).test(loaded, datamodule=data, verbose=False)
    assert "kl" not in loaded.report.metrics


def test_frozen_weights_of_a_source_are_left_out(data, folder, tmp_path):
    """A frozen tower that is in no file stays."""
    net, path = saved(data, folder, tmp_path, wings=STAGE_1)
    assert parts_in(path) == {"projector", "visual", "textual", "router", "tower"}
    loaded = LitWings.load_from_checkpoint(path)
    assert loaded.model.image_token_id == net.model.image_token_id
    same(net, loaded)
    again = instruct_tiny.module(data, decoder=DecoderConfig(source=str(folder)), wings=STAGE_1)
    instruct_tiny.trainer(tmp_path, max_steps=2).fit(again, datamodule=data, ckpt_path=path, weights_only=True)
    assert again.trainer.global_step == 2


def test_another_decoder_of_the_same_name_is_refused(data, folder, tmp_path):
    other = tmp_path / "decoder"
    shutil.copytree(folder, other)
    _, path = saved(data, other, tmp_path, wings=STAGE_1)
    decoder = load_decoder(other)
    with torch.no_grad():
        decoder.get_input_embeddings().weight.mul_(1.5)
    decoder.save_pretrained(other)
    with pytest.raises(CheckpointError, match="not those beside which the checkpoint was trained"):
        LitWings.load_from_checkpoint(path)


def test_a_tuned_decoder_needs_no_weights_elsewhere(data, folder, tmp_path, monkeypatch):
    net, path = saved(data, folder, tmp_path)
    monkeypatch.setattr(base_weights, "load_decoder", pytest.fail)
    same(net, LitWings.load_from_checkpoint(path))
    again = instruct_tiny.module(data, decoder=DecoderConfig(source=str(folder)))
    instruct_tiny.trainer(tmp_path, max_steps=2).fit(again, datamodule=data, ckpt_path=path, weights_only=True)
    assert again.trainer.global_step == 2


def test_frozen_weights_of_another_start_stay_in_the_checkpoint(data, folder, tmp_path):
    first, path = saved(data, folder, tmp_path)  # tunes the decoder
    settings = {"decoder": DecoderConfig(source=str(folder)), "train": ("projector",)}
    second = instruct_tiny.module(data, **settings)
    second.start_from(path)
    run = instruct_tiny.trainer(tmp_path / "second", max_steps=1)
    run.fit(second, datamodule=data)
    run.save_checkpoint(tmp_path / "second.ckpt")
    same(first.model.decoder, LitWings.load_from_checkpoint(tmp_path / "second.ckpt").model.decoder)
    again = instruct_tiny.module(data, **settings)
    run = instruct_tiny.trainer(tmp_path / "third", max_steps=2)
    run.fit(again, datamodule=data, ckpt_path=tmp_path / "second.ckpt", weights_only=True)
    run.save_checkpoint(tmp_path / "third.ckpt")
    assert torch.load(tmp_path / "third.ckpt", weights_only=True)["state_dict"].keys() >= {
        f"model.decoder.{name}" for name, _ in first.model.decoder.named_parameters() if "wings" not in name
    }
