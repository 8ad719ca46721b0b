"""A LitDCAL that trains in a second on generated pictures; also run by child processes, so nothing here is a test."""

import json
import os
import signal
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger

from vision_suite.callbacks.ema import EMA
from vision_suite.datasets.reid.data import ReIDData
from vision_suite.lit_modules.dcal import LitDCAL
from vision_suite.optim import OptimConfig

NETWORK = {
    "backbone": "vit_tiny_patch16_224",
    "image_size": (32, 16),
    "backbone_args": {"depth": 2, "embed_dim": 24, "num_heads": 2, "patch_size": 8},
    "drop_path": 0.2,
}
QUIET = {
    "accelerator": "cpu",
    "devices": 1,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}


def module(num_classes=6, **settings):
    """Seeded, so that every process starts from the same weights."""
    torch.manual_seed(0)
    return LitDCAL(num_classes, **{"optim": OptimConfig(lr=2e-3), **NETWORK, **settings})


def market_data(root, **settings):
    """4 steps of 4 identities x 2 pictures per epoch."""
    return ReIDData(
        "market_folder", str(root), image_size=(32, 16), num_instances=2,
        **{"batch_size": 8, "eval_batch_size": 16, "cache": "memory", "seed": 3, **settings},
    )  # fmt: skip


def trainer(folder, *, callbacks=(), **settings):
    """Quiet, on the CPU, logging every step to CSV."""
    return pl.Trainer(
        default_root_dir=str(folder), logger=CSVLogger(str(folder), name="log"), log_every_n_steps=1,
        callbacks=list(callbacks), **{**QUIET, **settings},
    )  # fmt: skip


class Diary(Callback):
    """Appends each step's and each validation's logged numbers to a file; dies by SIGKILL after a step, if told."""

    def __init__(self, path, kill_after=None):
        self.path, self.kill_after = Path(path), kill_after

    def _write(self, trainer, kind):
        values = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(kind)}
        with self.path.open("a") as file:
            file.write(json.dumps({"step": trainer.global_step, "kind": kind, **values}) + "\n")

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self._write(trainer, "train")

    def on_validation_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            self._write(trainer, "val")

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        # The next step has begun, so checkpoints of the last one are written.
        if trainer.global_step == self.kill_after:
            os.kill(os.getpid(), signal.SIGKILL)


def fit(root, folder, *, name, every, epochs=3, kill_after=None, resume=None, ema=False, interval="step", **settings):
    """Train from the start or from a checkpoint, writing ``<name>.jsonl`` and, at the end, ``<name>.pt``."""
    folder = Path(folder)
    pl.seed_everything(5, verbose=False)
    torch.manual_seed(len(name))  # a run must not depend on the generator's state at its start
    data = market_data(root)
    net = module(data.num_classes, optim=OptimConfig(lr=2e-3, interval=interval, warmup=1))
    callbacks = [
        Diary(folder / f"{name}.jsonl", kill_after),
        ModelCheckpoint(folder / name, "{step}", every_n_train_steps=every, save_top_k=-1),
        *([EMA(decay=0.9)] if ema else []),
    ]
    run = trainer(folder, callbacks=callbacks, max_epochs=epochs, num_sanity_val_steps=0, **settings)
    run.fit(net, datamodule=data, ckpt_path=resume)
    run.save_checkpoint(folder / f"{name}.ckpt")
    weights = {key: value.clone() for key, value in net.state_dict().items()}
    averages = {}
    if ema:
        averages = run.callbacks[next(i for i, c in enumerate(run.callbacks) if isinstance(c, EMA))]._average
    rank = f"-{run.global_rank}" if run.world_size > 1 else ""
    torch.save({"weights": weights, "averages": averages}, folder / f"{name}{rank}.pt")


def diary(folder, name):
    """The lines of a run's diary."""
    return [json.loads(line) for line in (Path(folder) / f"{name}.jsonl").read_text().splitlines()]
