"""A run on conversations, killed in the middle of an epoch and resumed, sees the batches of an uninterrupted run."""

import hashlib
import json
import multiprocessing
import os
import time
import warnings

import pytest
import pytorch_lightning as pl
import torch
from conversations import settings, write_set
from pytorch_lightning.callbacks import ModelCheckpoint

from vision_suite.datasets.instruct import InstructData

EPOCHS = 2


class Recorder(pl.LightningModule):
    """Writes one line per finished batch; dies without warning before a given batch."""

    def __init__(self, log, die_before):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.log_path, self.die_before, self.done = log, die_before, 0

    def training_step(self, batch, batch_idx):
        if self.current_epoch == 1 and batch_idx == self.die_before:
            os._exit(9)
        return self.weight.square().sum() * batch["input_ids"].float().mean()

    def on_train_batch_end(self, outputs, batch, batch_idx):
        digest = hashlib.sha256()
        for name in sorted(batch):
            digest.update(batch[name].numpy().tobytes())
        line = [self.current_epoch, batch_idx, batch["index"].flatten().tolist(), digest.hexdigest()[:16]]
        with open(self.log_path, "a") as file:
            file.write(json.dumps(line) + "\n")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.001)


def run(folder, log, changes, die_before=None, resume=None, accumulate=1):
    """Train in a forked child, so that its death is a real one; returns the exit code."""

    def target():
        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        checkpoint = ModelCheckpoint(log.parent, every_n_train_steps=1, save_top_k=1, monitor=None, filename="last")
        pl.Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,
            callbacks=[checkpoint],
            accumulate_grad_batches=accumulate,
            default_root_dir=log.parent,
        ).fit(Recorder(log, die_before), datamodule=InstructData(**settings(folder, **changes)), ckpt_path=resume)

    process = multiprocessing.get_context("fork").Process(target=target)
    process.start()
    deadline = time.monotonic() + 120
    while process.exitcode is None and time.monotonic() < deadline:  # join would wait for orphaned workers too
        time.sleep(0.01)
    return process.exitcode


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("workers", "changes", "accumulate"),
    [
        (0, {"cache": "memory"}, 1),
        (2, {"packed": True, "batch_tokens": 60, "batch_size": 8}, 2),
    ],
)
def test_killed_and_resumed_equals_uninterrupted(tmp_path, workers, changes, accumulate):
    write_set(tmp_path / "set")
    mixed = {"all": {"path": str(tmp_path / "set/train.json")}, "some": {"path": str(tmp_path / "set/train.json"),
             "weight": 0.3}}  # fmt: skip
    changes = {"sources": mixed, "batch_size": 3, **changes}
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole, cut = tmp_path / "whole" / "log", tmp_path / "cut" / "log"
    assert run(tmp_path / "set", whole, changes, accumulate=accumulate) == 0
    changes = {**changes, "num_workers": workers}  # whose number must not matter
    assert run(tmp_path / "set", cut, changes, die_before=4, accumulate=accumulate) == 9
    assert run(tmp_path / "set", cut, changes, resume=str(cut.parent / "last.ckpt"), accumulate=accumulate) == 0
    assert lines(cut) == lines(whole)
    assert len({line[3] for line in lines(whole)}) == len(lines(whole)), "every batch is a new one"
