"""Training with a loss, a gradient or an average that is not finite: where it ends, and what is left on the disk."""

import os

import children
import lit_training
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins import MixedPrecision
from synthetic import write_market
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from vision_suite.callbacks.ema import EMA
from vision_suite.callbacks.finite_loss import FiniteLoss
from vision_suite.errors import TrainingError
from vision_suite.faults import explained
from vision_suite.lit_modules.base import LitBase
from vision_suite.optim import OptimConfig

BATCHES = 6
OPTIM = OptimConfig(lr=1e-3, schedule="constant")


class Line(LitBase):
    """A network whose loss is multiplied by a factor from a batch on."""

    def __init__(self, bad_from=None, factor=float("nan"), returns="loss", rank=None):
        super().__init__(OPTIM)
        self.model = nn.Linear(1, 1)
        self.bad_from, self.factor, self.returns, self.rank = bad_from, factor, returns, rank
        self.automatic_optimization = returns != "manual"

    def training_step(self, batch, batch_idx):
        loss = self.model(batch[0]).square().mean() + 1.0
        side = 0.5 * loss
        if self.bad_from is not None and batch_idx >= self.bad_from and self.rank in (None, self.global_rank):
            side = side * self.factor
        total = loss + side
        if self.returns == "none":
            return None
        self.log_losses({"main": loss, "side": side}, total, len(batch[0]))
        if self.returns == "manual":
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(total)
            optimizer.step()
            return None
        return {"loss": total, "more": side} if self.returns == "dict" else total


def fit(folder, module, *more, keep=None, **settings):
    """Train with a checkpoint of every step; returns the trainer."""
    torch.manual_seed(0)
    keep = {"every_n_train_steps": 1} if keep is None else keep
    checkpoints = ModelCheckpoint(folder, "last", enable_version_counter=False, **keep)
    trainer = pl.Trainer(**{
        "accelerator": "cpu", "devices": 1, "max_epochs": 1, "logger": False, "enable_progress_bar": False,
        "enable_model_summary": False, "callbacks": [*more, FiniteLoss(), checkpoints], "default_root_dir": folder,
        **settings,
    })  # fmt: skip
    data = DataLoader(TensorDataset(torch.linspace(0, 1, BATCHES)[:, None]), batch_size=1)
    trainer.fit(module, data)
    return trainer


def weights(folder):
    stored = torch.load(folder / "last.ckpt", weights_only=True)
    return stored["global_step"], all(value.isfinite().all() for value in stored["state_dict"].values())


@pytest.mark.parametrize("returns", ["loss", "dict", "manual"])
@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_the_first_bad_loss_ends_training_and_is_named(tmp_path, returns, factor):
    with pytest.raises(TrainingError) as error:
        fit(tmp_path, Line(3, factor, returns))
    assert str(error.value) == (
        f"the training loss is not finite in epoch 0 at step 4: train/loss_side is {factor}: lower the rate "
        "(--model.optim.lr), or let --trainer.detect_anomaly=true find the operation; the last good checkpoint is "
        f"{tmp_path}/last.ckpt"
    )
    assert weights(tmp_path) == (3, True)


def test_accumulated_batches_count_each(tmp_path):
    with pytest.raises(TrainingError, match="at step 1: train/loss_side is nan"):
        fit(tmp_path, Line(3), accumulate_grad_batches=3)
    assert weights(tmp_path) == (1, True)


def test_finite_and_skipped_steps_go_on(tmp_path):
    assert fit(tmp_path, Line()).global_step == BATCHES
    assert fit(tmp_path / "none", Line(2, returns="none")).max_epochs == 1


def test_a_gradient_that_overflows_never_reaches_a_checkpoint(tmp_path):
    class Steep(Line):
        def on_after_backward(self):
            if self.global_step == 3:
                self.model.weight.grad.fill_(float("inf"))

    with pytest.raises(TrainingError, match=r"a weight is not finite in epoch 0 at step 4: model\.weight is not"):
        fit(tmp_path, Steep())
    assert weights(tmp_path) == (3, True)
    # Of weights alone Lightning asks no callback before it writes.
    for keep in ({"every_n_train_steps": 1}, {"every_n_epochs": 1, "save_on_train_epoch_end": True}):
        folder = tmp_path / next(iter(keep))
        with pytest.raises(TrainingError, match=r"(weight|loss) is not finite"):
            fit(folder, Steep(), keep={"save_weights_only": True, **keep})
        assert not (folder / "last.ckpt").exists() or weights(folder) == (3, True)


def test_running_statistics_that_are_not_finite_are_never_written(tmp_path):
    class Normed(Line):
        def __init__(self):
            super().__init__()
            self.model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
            self.model[1].eval()

        def on_train_batch_start(self, batch, batch_idx):
            self.model[1].eval()
            if batch_idx == 3:
                self.model[1].running_mean.fill_(1.0)
                self.model[1].running_var.fill_(float("inf"))  # the output and the loss stay finite

    with pytest.raises(TrainingError, match=r"at step 4: model\.1\.running_var is not finite"):
        fit(tmp_path, Normed())
    assert weights(tmp_path) == (3, True)


def test_the_detection_of_anomalies_names_the_part_of_the_loss(tmp_path):
    class Rooted(Line):
        def training_step(self, batch, batch_idx):
            side = (self.model(batch[0]) * 0).sqrt().mul(0).mean() * float("nan")
            self.log_losses({"side": side}, side, 1)
            return side

    with pytest.raises(RuntimeError, match="returned nan values in its") as error:
        fit(tmp_path, Rooted(), detect_anomaly=True)
    assert error.value.__notes__ == ["train/loss_side is nan"]
    assert "lower the rate (--model.optim.lr)" in str(explained(error.value))


def test_an_average_that_is_not_finite_is_never_written(tmp_path):
    class Broken(EMA):
        def on_train_batch_end(self, trainer, *rest):
            super().on_train_batch_end(trainer, *rest)
            if trainer.global_step == 4:
                self._average["weight"].fill_(float("nan"))

    with pytest.raises(TrainingError, match="at step 4: the average of weight is not finite"):
        fit(tmp_path, Line(), Broken())
    assert weights(tmp_path) == (3, True)


@pytest.mark.parametrize(("start", "steps"), [(2.0**16, BATCHES), (4.0, None)])
def test_a_gradient_scaler_may_skip_steps_while_its_factor_falls(tmp_path, start, steps):
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=start))
    module = Line(2, float("inf"))
    if steps is not None:
        fit(tmp_path, module, plugins=[plugin])
        assert 1 < plugin.scaler.get_scale() <= start / 2 ** (BATCHES - 2)
        assert weights(tmp_path)[1]
    else:
        with pytest.raises(TrainingError, match=r"at step 4: .*factor has come down to 1\)"):
            fit(tmp_path, module, plugins=[plugin])


def test_parts_of_dcals_loss_are_named(tmp_path):
    root = write_market(tmp_path / "market", train_ids=6, test_ids=2)
    data = lit_training.market_data(root)
    module = lit_training.module(data.num_classes)
    whole = module.loss.forward

    def broken(features, logits, *rest):
        return whole(features, {**logits, "pwca": logits["pwca"] * float("nan")}, *rest)

    module.loss.forward = broken
    trainer = lit_training.trainer(tmp_path, callbacks=[FiniteLoss()], max_epochs=1, num_sanity_val_steps=0)
    with pytest.raises(TrainingError, match="in epoch 0 at step 1: train/loss_pwca is nan: "):
        trainer.fit(module, datamodule=data)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_cuda_the_step_before_is_named_and_nothing_bad_is_written(tmp_path):
    with pytest.raises(TrainingError, match="in epoch 0 at step 4: train/loss_side is nan"):
        fit(tmp_path, Line(3), accelerator="gpu", keep={"every_n_train_steps": 3})
    assert weights(tmp_path) == (3, True)


def two(folder):
    """Train in two processes of which one has a bad loss; each writes the error that it got."""
    rank = os.environ["RANK"]
    try:
        fit(folder, Line(3, rank=1), devices=2, strategy="ddp", use_distributed_sampler=False)
    except TrainingError as error:
        (folder / f"error-{rank}").write_text(str(error))


@pytest.mark.dist
def test_two_processes_stop_together_and_name_the_one(tmp_path):
    assert children.run(two, tmp_path, ranks=2, timeout=60) == [0, 0]
    errors = [(tmp_path / f"error-{rank}").read_text() for rank in range(2)]
    assert "at step 4: train/loss_side is nan in process 1: " in errors[0]
    assert errors[1].split(": lower")[0] == errors[0].split(": lower")[0]
    assert weights(tmp_path) == (3, True)
