"""A run killed in the middle of an epoch and resumed sees the batches of an uninterrupted run, to the pixel."""

import hashlib
import json
import os
import warnings

import pytest
import pytorch_lightning as pl
import torch
from interrupted import forked, lines
from pytorch_lightning.callbacks import ModelCheckpoint
from synthetic import write_market
from synthetic_sets import write_image_folder

from vision_suite.datasets.fgvc.data import FGVCData
from vision_suite.datasets.pictures.transforms import LIGHT
from vision_suite.datasets.reid.data import ReIDData

STEPS_PER_EPOCH = 6
EPOCHS = 3


class Recorder(pl.LightningModule):
    """Writes one line per finished training step; dies without warning before a given step."""

    def __init__(self, log, die_before=None):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)
        self.log_path, self.die_before = log, die_before

    def training_step(self, batch, batch_idx):
        if self.global_step == self.die_before:
            os._exit(9)
        return self.layer(batch["image"].mean((2, 3))).square().mean()

    def on_train_batch_end(self, outputs, batch, batch_idx):
        pixels = hashlib.sha256(batch["image"].numpy().tobytes()).hexdigest()[:16]
        with open(self.log_path, "a") as file:
            file.write(json.dumps([self.current_epoch, batch_idx, batch["index"].tolist(), pixels]) + "\n")

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def make_data(kind, root, workers):
    if kind == "reid":
        return ReIDData(
            "market_folder",
            str(root),
            image_size=(16, 8),
            batch_size=8,
            num_instances=2,
            cache="memory" if workers == 0 else "none",
            augment=LIGHT,
            num_workers=workers,
            validation="test",
            seed=5,
        )
    return FGVCData("image_folder", str(root), (8, 8), (10, 10), batch_size=2, num_workers=workers, seed=5)


def run(kind, root, log, workers, die_before=None, resume=None, **trainer):
    """Train in a forked child, so that its death is a real one; returns the exit code."""

    def target():
        torch.set_num_threads(1)  # a fork of a process with other threads must not use their pool
        warnings.simplefilter("ignore")
        checkpoint = ModelCheckpoint(log.parent, filename="{step}", save_top_k=-1, **trainer.pop("save"))
        pl.Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=1,
            callbacks=[checkpoint],
            default_root_dir=log.parent,
            **trainer,
        ).fit(Recorder(log, die_before), datamodule=make_data(kind, root, workers), ckpt_path=resume)

    return forked(target)


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    top = tmp_path_factory.mktemp("resume")
    write_market(top / "reid", train_ids=8, cameras=2, shots=3, size=(16, 8))
    write_image_folder(top / "fgvc", classes=3, shots=4, splits=("train", "test"))
    return {"reid": top / "reid", "fgvc": top / "fgvc"}


EVERY_STEP = {"every_n_train_steps": 1, "save_on_train_epoch_end": False}
CASES = [
    ("reid", 0, 2, EVERY_STEP, {}),  # in the middle of the first epoch
    ("reid", 0, STEPS_PER_EPOCH, EVERY_STEP, {}),  # after the last batch of an epoch
    ("reid", 0, STEPS_PER_EPOCH + 4, EVERY_STEP, {}),  # in the middle of the second
    ("reid", 0, STEPS_PER_EPOCH, {"every_n_epochs": 1, "save_on_train_epoch_end": True}, {}),
    ("reid", 0, STEPS_PER_EPOCH, {"every_n_epochs": 1, "save_on_train_epoch_end": False}, {}),  # after validation
    ("reid", 0, 9, {"every_n_epochs": 1, "save_on_train_epoch_end": False}, {"val_check_interval": 3}),
    ("reid", 0, 9, EVERY_STEP, {"limit_train_batches": 4}),
    ("reid", 0, 8, EVERY_STEP, {"max_steps": 15}),
    ("reid", 2, STEPS_PER_EPOCH + 4, EVERY_STEP, {}),
    ("fgvc", 2, 3, EVERY_STEP, {}),
    ("fgvc", 0, STEPS_PER_EPOCH + 1, EVERY_STEP, {}),
]


@pytest.mark.parametrize(("kind", "workers", "die_before", "save", "trainer"), CASES)
def test_killed_and_resumed_equals_uninterrupted(roots, tmp_path, kind, workers, die_before, save, trainer):
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole, cut = tmp_path / "whole" / "log", tmp_path / "cut" / "log"
    # Without workers, whatever the interrupted run uses: their number must not matter either.
    assert run(kind, roots[kind], whole, 0, save=dict(save), **trainer) == 0
    assert run(kind, roots[kind], cut, workers, die_before, save=dict(save), **trainer) == 9
    checkpoints = {int(path.stem.partition("=")[2].partition("-")[0]): path for path in tmp_path.glob("cut/*.ckpt")}
    assert max(checkpoints) == die_before, "the last checkpoint is of the last finished step"
    assert run(kind, roots[kind], cut, workers, resume=str(checkpoints[die_before]), save=dict(save), **trainer) == 0
    assert lines(cut) == lines(whole)
    expected = trainer.get("max_steps", EPOCHS * trainer.get("limit_train_batches", STEPS_PER_EPOCH))
    assert len(lines(whole)) == expected
    assert len({line[3] for line in lines(whole)}) == expected, "every step has a batch of its own"


def test_a_changed_run_is_warned_about(roots):
    data = make_data("reid", roots["reid"], 0)
    state = data.state_dict()
    data.trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    data.trainer.state.fn = pl.trainer.states.TrainerFn.FITTING
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.load_state_dict(state)
    data.batch_size, data.seed = 4, 6
    with pytest.warns(UserWarning, match="seed was 5, is 6; batch_size was 8, is 4"):
        data.load_state_dict(state)


def test_overfitting_repeats_the_same_batches(roots, tmp_path):
    log = tmp_path / "log"
    assert run("reid", roots["reid"], log, 0, save=dict(EVERY_STEP), overfit_batches=2) == 0
    batches = [line[2] for line in lines(log)]
    assert len(batches) == 2 * EPOCHS
    assert batches[:2] * EPOCHS == batches


def test_a_loop_without_lightning_counts_its_own_place(roots):
    data, resumed = make_data("reid", roots["reid"], 0), make_data("reid", roots["reid"], 2)
    data.setup("fit")
    resumed.setup("fit")
    loader = data.train_dataloader()
    first = [batch["index"].tolist() for batch in loader]
    iterator = iter(loader)
    second = [next(iterator)["index"].tolist() for _ in range(2)]
    other = resumed.train_dataloader()
    other.load_state_dict(loader.state_dict())
    rest = list(other)
    continued = list(iterator)
    assert len(first) == STEPS_PER_EPOCH == len(second) + len(rest)
    assert first != [*second, *(batch["index"].tolist() for batch in rest)]
    for one, two in zip(rest, continued, strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_iterating_leaves_the_global_generators_alone(roots):
    data = make_data("reid", roots["reid"], 2)
    data.setup("fit")
    torch.manual_seed(3)
    state = torch.get_rng_state()
    list(data.train_dataloader())
    assert torch.equal(torch.get_rng_state(), state)
