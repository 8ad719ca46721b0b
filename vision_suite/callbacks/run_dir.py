"""Folder of a run's files: one a run, the parent of its ``checkpoints``, whatever logger is used."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from weakref import WeakKeyDictionary

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from vision_suite.runs.folders import CHECKPOINTS

_SHARED: WeakKeyDictionary[Trainer, Path] = WeakKeyDictionary()


def run_dir(trainer: Trainer) -> Path:
    """The folder of a run.

    The command line gives each run a folder of its own, whatever the logger. A trainer built in Python has that of its
    first logger, ``<save_dir>/<name>/<version>`` (for Weights & Biases the folder that Lightning gives the
    checkpoints), and without a logger its ``default_root_dir``. A fast development run has ``fast_dev_run`` below it.

    Loggers number runs on their own, so in a group of processes only rank zero's answer is right before
    `share_run_dir` has been called.
    """
    if trainer in _SHARED:
        return _SHARED[trainer]
    root = Path(trainer.default_root_dir)
    if trainer.fast_dev_run:  # type: ignore[attr-defined]  # set from outside the class, so not declared
        return root / "fast_dev_run"
    if not trainer.loggers:
        return root
    logger = trainer.loggers[0]
    version = logger.version
    folder = version if isinstance(version, str) else f"version_{version}"
    return Path(logger.save_dir or root) / str(logger.name) / folder


def assign_run_dir(trainer: Trainer, folder: Path) -> None:
    """Give a run its folder, and each checkpoint callback without a folder of its own the ``checkpoints`` in it."""
    _SHARED[trainer] = folder
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
            callback.dirpath = str(folder / CHECKPOINTS)


def shared_run_dir(trainer: Trainer) -> Path | None:
    """The folder that a run was given, or that its processes agreed on; None before."""
    return _SHARED.get(trainer)


def share_run_dir(trainer: Trainer) -> Path:
    """Give every process rank zero's folder. All processes must call this, after the loggers have started."""
    shared: Path = trainer.strategy.broadcast(run_dir(trainer))
    _SHARED[trainer] = shared
    return shared


def file_stem(name: str) -> str:
    """A name as that of a file; a name that has to be changed gets digits of its hash, so no two become one."""
    safe = re.sub(r"[^\w.-]+", "_", name)[:60]
    return safe if safe == name else f"{safe}-{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:8]}"
