"""Training that dies in the middle of an epoch: a child of its own, and what it was given, line by line."""

import hashlib
import json
import multiprocessing
import os
import time
import warnings

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

EPOCHS = 2


class Recorder(pl.LightningModule):
    """Writes one line per finished batch; dies without warning before a given batch of the second epoch."""

    def __init__(self, log, die_before=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.log_path, self.die_before = log, die_before

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


def train(make_data, log, die_before=None, resume=None, accumulate=1):
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
        ).fit(Recorder(log, die_before), datamodule=make_data(), ckpt_path=resume)

    return forked(target)


def forked(target):
    """Call a function in a forked child, and return the exit code; None if it has not ended within two minutes."""
    process = multiprocessing.get_context("fork").Process(target=target)
    process.start()
    deadline = time.monotonic() + 120
    while process.exitcode is None and time.monotonic() < deadline:  # join would wait for orphaned workers too
        time.sleep(0.01)
    return process.exitcode


def lines(path):
    """What a log holds."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def compare(folder, make_data, workers, die_before, accumulate=1):
    """Lines of an uninterrupted run, which must be those of one that was killed and resumed.

    Args:
        folder: Empty folder of both runs.
        make_data: Function from the number of loader processes to a datamodule.
        workers: That number for the killed run, which must not matter.
        die_before: Batch of the second epoch before which it is killed.
        accumulate: Batches of an optimiser step.
    """
    for name in ("whole", "cut"):
        (folder / name).mkdir()
    whole, cut = folder / "whole/log", folder / "cut/log"
    assert train(lambda: make_data(0), whole, accumulate=accumulate) == 0
    assert train(lambda: make_data(workers), cut, die_before, accumulate=accumulate) == 9
    killed = lines(cut)
    assert killed == lines(whole)[: len(killed)]
    assert [line[:2] for line in killed][-1:] == [[1, die_before - 1]], "in the middle of an epoch"
    last = str(cut.parent / "last.ckpt")
    assert train(lambda: make_data(workers), cut, resume=last, accumulate=accumulate) == 0
    assert lines(cut) == lines(whole)
    return lines(whole)
