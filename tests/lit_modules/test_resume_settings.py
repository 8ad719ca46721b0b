"""Settings given beside a checkpoint when training goes on: the rates that the optimiser then uses, and refusals."""

import logging

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from vision_suite.callbacks.ema import EMA
from vision_suite.errors import ConfigError
from vision_suite.lit_modules.base import LitBase
from vision_suite.lit_modules.dcal import LitDCAL
from vision_suite.lit_modules.resume import check_start_only
from vision_suite.optim import OptimConfig, lr_at

STEPS = 6  # of an epoch
COSINE = {"lr": 0.01, "warmup": 2, "min_lr": 1e-5}
OPTIM = OptimConfig(**COSINE)


class Line(LitBase):
    start_only = ("start",)

    def __init__(self, optim=OPTIM, start=0.0, weight=1.0):
        super().__init__(optim)
        self.save_settings()
        self.model = nn.Sequential(nn.Linear(1, 2), nn.LayerNorm(2), nn.Linear(2, 1))
        self.weight = weight

    def training_step(self, batch, batch_idx):
        return self.weight * self.model(batch[:, None]).square().mean()

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.model(batch[:, None]).mean())


class Rates(Callback):
    """The rate of every step that is taken."""

    def __init__(self):
        self.rates = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])


def fit(folder, epochs=2, resume=None, module=None, more=(), data=None, **settings):
    """Train; a checkpoint is kept of each step. Returns the rates of the steps and the final weights."""
    torch.manual_seed(3)
    module = Line() if module is None else module
    rates = Rates()
    keep = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1, enable_version_counter=False)
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, logger=False, max_epochs=epochs, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[rates, keep, *more], default_root_dir=folder, **settings,
    )  # fmt: skip
    if data is None:
        loader = DataLoader(torch.linspace(-1, 1, STEPS), batch_size=1)
        trainer.fit(module, loader, loader, ckpt_path=resume)
    else:
        trainer.fit(module, datamodule=data, ckpt_path=resume)
    return rates.rates, [weight.detach().clone() for weight in module.parameters()]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A folder with a checkpoint of every step of 12."""
    folder = tmp_path_factory.mktemp("first")
    return folder, *fit(folder)


def expected(config, total, start):
    return [lr_at(config, config.lr, time, total) for time in range(start + 1, total + 1)]


def test_the_unchanged_run_goes_on_exactly_and_silently(first, tmp_path, caplog):
    folder, rates, weights = first
    with caplog.at_level(logging.INFO):
        again, others = fit(tmp_path, resume=folder / "step=6.ckpt")
    assert again == rates[6:]
    assert all(torch.equal(one, two) for one, two in zip(weights, others, strict=True))
    assert "resumed at step" not in caplog.text


@pytest.mark.parametrize("more", [[], [EMA()]])
@pytest.mark.parametrize(("step", "every"), [(8, 1), (6, 1), (4, 2)])
def test_a_new_rate_counts_from_the_first_step(first, tmp_path, caplog, step, every, more):
    config = OptimConfig(**{**COSINE, "lr": 0.5})
    with caplog.at_level(logging.INFO):
        rates, _ = fit(
            tmp_path, module=Line(config), resume=first[0] / f"step={step}.ckpt", check_val_every_n_epoch=every,
            more=more,
        )  # fmt: skip
    assert rates == pytest.approx(expected(config, 12, step), rel=1e-12)
    assert f"resumed at step {step}: optim.lr=0.5 (was 0.01): the rate goes up from " in caplog.text
    stored = torch.load(tmp_path / "step=12.ckpt", weights_only=True)
    assert stored["optim"]["settings"]["lr"] == 0.5
    assert stored["optim"]["total"] == 12


def test_a_finished_schedule_is_extended(first, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        rates, _ = fit(tmp_path, epochs=4, resume=first[0] / "step=12.ckpt")
    assert rates == pytest.approx(expected(OptimConfig(**COSINE), 24, 12), rel=1e-12)
    assert "the cosine now ends at step 24 instead of 12: the rate goes up from 1e-05 to " in caplog.text


class Batches(pl.LightningDataModule):
    def __init__(self, batch_size):
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self):
        return DataLoader(torch.linspace(-1, 1, STEPS), batch_size=self.batch_size)


def test_other_batches_keep_the_end_of_the_cosine(first, tmp_path, caplog):
    config = OptimConfig(**COSINE)

    def ends():
        keep = {"save_top_k": -1, "save_on_train_epoch_end": True, "enable_version_counter": False}
        return [ModelCheckpoint(tmp_path / "ends", "{step}", **keep)]

    fit(tmp_path, epochs=3, data=Batches(1), more=ends())
    with caplog.at_level(logging.INFO):
        rates, _ = fit(tmp_path, epochs=3, resume=tmp_path / "ends/step=6.ckpt", data=Batches(3), more=ends())
    assert rates == pytest.approx(expected(config, 10, 6), rel=1e-12)  # two epochs of two steps are left
    said = "global batch 3 (was 1), 2 steps per epoch (was 6), the cosine now ends at step 10 instead of 18: "
    assert said in caplog.text
    # A third part goes on with the length of the second, silently.
    caplog.clear()
    with caplog.at_level(logging.INFO):
        rates, _ = fit(tmp_path, epochs=3, resume=tmp_path / "ends/step=8.ckpt", data=Batches(3))
    assert rates == pytest.approx(expected(config, 10, 8), rel=1e-12)
    assert "resumed at step" not in caplog.text
    rates, _ = fit(tmp_path, epochs=3, resume=tmp_path / "ends/step=8.ckpt", data=Batches(3), max_steps=9)
    assert rates == pytest.approx(expected(config, 9, 8), rel=1e-12)
    with pytest.raises(ConfigError, match="in the middle of epoch 1, behind 1 batches of 3: keep that size, or go on"):
        fit(tmp_path, epochs=3, resume=tmp_path / "step=7.ckpt", data=Batches(2))


def test_another_accumulation_in_the_middle_of_an_epoch(first, tmp_path):
    # Two batches of the second epoch are done; of its four others, two make a step.
    rates, _ = fit(tmp_path, resume=first[0] / "step=8.ckpt", accumulate_grad_batches=2)
    assert rates == pytest.approx(expected(OptimConfig(**COSINE), 10, 8), rel=1e-12)


def test_a_file_of_an_older_version(first, tmp_path, caplog):
    stored = torch.load(first[0] / "step=8.ckpt", weights_only=True)
    del stored["optim"]
    torch.save(stored, tmp_path / "old.ckpt")
    assert fit(tmp_path, resume=tmp_path / "old.ckpt")[0] == first[1][8:]
    config = OptimConfig(**{**COSINE, "min_lr": 1e-3})
    with caplog.at_level(logging.INFO):
        rates, _ = fit(tmp_path, module=Line(config), resume=tmp_path / "old.ckpt")
    assert rates == pytest.approx(expected(config, 12, 8), rel=1e-12)
    assert "optim.min_lr=0.001 (was 1e-05)" in caplog.text


def test_epochs_instead_of_steps(first, tmp_path):
    config = OptimConfig(lr=0.01, interval="epoch")
    # The checkpoint of an epoch's last step counts as an epoch done, that of a step before does not.
    for step, rates in ((6, [lr_at(config, 0.01, 2, 2)] * 6), (5, [lr_at(config, 0.01, 1, 2)])):
        found, _ = fit(tmp_path, module=Line(config), resume=first[0] / f"step={step}.ckpt")
        assert found[: len(rates)] == pytest.approx(rates, rel=1e-12)


def test_groups_of_other_parameters_keep_each_parameters_moments(first, tmp_path):
    module = Line(OptimConfig(**COSINE, decay_all=True, bias_lr_factor=2.0))
    fit(tmp_path, module=module, resume=first[0] / "step=8.ckpt")
    stored = torch.load(tmp_path / "step=12.ckpt", weights_only=True)["optimizer_states"][0]
    decays = {group["weight_decay"] for group in stored["param_groups"]}
    assert decays == {0.05}
    assert {int(state["step"]) for state in stored["state"].values()} == {12}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optim": OptimConfig(**COSINE, name="sgd")}, r"--model\.optim\.name=sgd: the checkpoint holds .* of adamw"),
        ({"start": 1.0}, r"--model\.start=1\.0: the checkpoint's run started with 0\.0"),
    ],
)
def test_what_cannot_be_applied_is_refused(first, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        fit(tmp_path, module=Line(**settings), resume=first[0] / "step=8.ckpt")


def test_settings_that_are_applied_anyway_stay_allowed(first, tmp_path):
    fit(tmp_path, module=Line(weight=3.0), resume=first[0] / "step=8.ckpt")


def test_testing_compares_nothing(first):
    module = Line.load_from_checkpoint(first[0] / "step=8.ckpt", start=1.0)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    trainer.validate(module, DataLoader(torch.zeros(2)), ckpt_path=first[0] / "step=8.ckpt", verbose=False)


def test_start_settings_of_dcal():
    network = {"backbone": "vit_micro_conv8_64", "backbone_args": {"depth": 2, "embed_dim": 32}}

    def check(stored, **now):
        settings = {"num_classes": 3, "image_size": (32, 16), **network}
        module = LitDCAL(**settings, **now)
        module._set_hparams({**module.hparams, "pretrained": now.get("pretrained", False)})
        check_start_only(module, {"hyper_parameters": {**settings, **stored}})

    check({"pretrained": True}, pretrained=False)  # nothing is fetched: the checkpoint brings the weights
    check({"initial_log_variance": 1.0}, loss={"initial_log_variance": 1.0})  # a file with former names
    check({"loss": {"initial_log_variance": 0.0}}, loss={"label_smoothing": 0.1})
    with pytest.raises(ConfigError, match=r"--model\.loss\.initial_log_variance=1\.0: .* started with 0\.0"):
        check({"initial_log_variance": 0.0}, loss={"initial_log_variance": 1.0})
    with pytest.raises(ConfigError, match=r"--model\.glca\.copy=False: .* started with True"):
        check({"glca": {"copy": True}}, glca={"copy": False})
