"""Everything needed to repeat a run and to go on with it, stored beside its checkpoints.

``config.yaml`` is the resolved configuration (``vision-suite fit -c config.yaml`` repeats the run); ``run.json`` holds
the command line, git state, package versions, hardware, seed and data fingerprint, and tells how far the run came. A
second command in the same folder writes ``config-2.yaml`` and ``run-2.json``: nothing is overwritten.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, SaveConfigCallback
from pytorch_lightning.loggers import WandbLogger

import vision_suite
from vision_suite.callbacks.run_dir import run_dir, share_run_dir, shared_run_dir
from vision_suite.checkpoints.lightning import SuiteCheckpointIO
from vision_suite.datasets.base import BaseData
from vision_suite.errors import Stopped, TrainingError
from vision_suite.faults import chained, is_foreseen, mark_end, write_log
from vision_suite.lit_modules.base import LitBase, datamodule_of
from vision_suite.runs.folders import CHECKPOINTS, LAST
from vision_suite.runs.record import (
    FAILED,
    FINISHED,
    FIT,
    RUNNING,
    STOPPED,
    RunFile,
    process_identity,
    read_run,
    slurm_job,
)
from vision_suite.runs.settings import flattened
from vision_suite.runs.trial_log import log_values

PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "jsonargparse",
    "timm",
    "torchmetrics",
    "numpy",
    "scipy",
    "pillow",
    "wandb",
)


class RunRecord(SaveConfigCallback):
    """Writes a run's configuration when the run starts, and keeps its record up to date; rank zero only.

    Args:
        parser: The parser of the command.
        config: The parsed configuration.
        identity: Entries of the record that are known before the run starts, such as its command and experiment.
        text: Configuration to store, where it is not the parsed one.
        continues: The run goes on in the folder of an earlier one.
        save_to_log_dir: Must be False: the logger's folder is not a run's folder for every logger.
    """

    def __init__(
        self,
        parser: LightningArgumentParser,
        config: Namespace,
        identity: Mapping[str, Any] | None = None,
        text: str | None = None,
        continues: bool = False,
        save_to_log_dir: bool = False,
    ) -> None:
        super().__init__(parser, config, save_to_log_dir=save_to_log_dir)
        self.identity, self.text, self.continues = dict(identity or {}), text, continues
        self.file: RunFile | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Agree on the run's folder, then record once."""
        share_run_dir(trainer)
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write both files and hand the flattened configuration to Weights & Biases."""
        folder = run_dir(trainer)
        folder.mkdir(parents=True, exist_ok=True)
        text = self.parser.dump(self.config, skip_none=False) if self.text is None else self.text
        config = yaml.safe_load(text)
        state = start_of(trainer, stage, config.get("seed_everything"))
        state["initialised_from"] = pl_module.initialised_from if isinstance(pl_module, LitBase) else None
        self.file = RunFile(folder, {**state, **self.identity}, text)
        if isinstance(trainer.strategy.checkpoint_io, SuiteCheckpointIO):
            trainer.strategy.checkpoint_io.on_saved = lambda path, _: self._saved(trainer, path)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                values = flattened({**config, "run": dict(self.file.record)})
                logger.experiment.config.update(values, allow_val_change=True)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Tell checkpoint callbacks where their files are: under another name of the folder they would forget them."""
        own = str(run_dir(trainer) / CHECKPOINTS)
        for callback in trainer.checkpoint_callbacks if self.continues else ():
            state = checkpoint.get("callbacks", {}).get(callback.state_key)
            if isinstance(callback, ModelCheckpoint) and isinstance(state, dict) and str(callback.dirpath) == own:
                checkpoint["callbacks"][callback.state_key] = moved(state, own)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what a validation measured where the run is a trial of a sweep."""
        if not trainer.sanity_checking:
            self._log(trainer, training=False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what an epoch of training measured where the run is a trial of a sweep."""
        self._log(trainer, training=True)

    def _log(self, trainer: Trainer, *, training: bool) -> None:
        """Write the metrics of training, or all others, to the trial's log."""
        if self.file is not None and self.file.record["command"] == FIT:
            metrics = {
                name: float(value)
                for name, value in trainer.callback_metrics.items()
                if name.startswith("train/") == training
            }
            log_values(metrics, trainer.global_step, trainer.current_epoch)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Record that the command came to its end."""
        if self.file is not None and self.file.record["status"] == RUNNING:
            self._update(trainer, status=FINISHED, ended=now())

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Record how the run ended, and tell the exception where the run stood and how to go on."""
        stopped = any(isinstance(each, Stopped | KeyboardInterrupt) for each in chained(exception))
        folder = shared_run_dir(trainer) if self.file is None else self.file.folder
        if not stopped and isinstance(exception, Exception):
            mark_end(exception)
            if not is_foreseen(exception):
                write_log(exception, folder)
        if self.file is None:
            return
        reason = f"{type(exception).__name__}: {' '.join(str(exception).split())}"
        self._update(trainer, status=STOPPED if stopped else FAILED, ended=now(), reason=reason)
        if self.file.record["command"] == FIT:
            # The message of a `TrainingError` holds the position and the checkpoint.
            note = self._where(trainer)
            exception.add_note(note.partition("; ")[2] if isinstance(exception, TrainingError) else note)

    def _saved(self, trainer: Trainer, path: Path) -> None:
        """Record a checkpoint that was written."""
        assert self.file is not None
        found: dict[str, object] = {}
        if path.name == LAST or self.file.record["checkpoint"] is None:
            found["checkpoint"] = self.file.relative(path)
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.best_model_path:
                found["best"] = self.file.relative(Path(callback.best_model_path))
                break
        self._update(trainer, **found)

    def _update(self, trainer: Trainer, **entries: object) -> None:
        """Write the present position and further entries into the record."""
        if self.file is not None:
            position = {"epoch": trainer.current_epoch, "step": trainer.global_step}
            self.file.update({**(position if self.file.record["command"] == FIT else {}), **entries})

    def _where(self, trainer: Trainer) -> str:
        """Position of training, and the command that goes on from there."""
        assert self.file is not None
        at = f"epoch {trainer.current_epoch}, step {trainer.global_step}"
        run = read_run(self.file.folder)
        files = [] if run is None else run.checkpoints()
        if not files:
            return f"{at}, no checkpoint yet"
        return f"{at}; go on from {files[0]} with: vision-suite fit --ckpt_path {self.file.folder}"


def start_of(trainer: Trainer, stage: str, seed: int | bool | None) -> dict[str, object]:
    """Record of a run that starts, in plain containers."""
    data = datamodule_of(trainer)
    return {
        "command": stage,
        "status": RUNNING,
        "epoch": None,
        "step": None,
        "checkpoint": None,
        "best": None,
        "seed": seed,
        "started": now(),
        "ended": None,
        "command_line": [],
        "started_from": None,
        "working_folder": os.getcwd(),
        "process": process_identity(),
        "slurm_job": slurm_job(),
        "vision_suite": vision_suite.__version__,
        "git": git_state(Path(vision_suite.__file__).resolve().parent),
        "python": platform.python_version(),
        "packages": package_versions(PACKAGES),
        "hardware": hardware(),
        "processes": trainer.world_size,
        "precision": str(trainer.precision),
        "data": data.protocol if isinstance(data, BaseData) else None,
    }


def moved(state: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """The state of a checkpoint callback with its files in another folder."""

    def here(path: object) -> str:
        return str(Path(folder) / Path(str(path)).name) if path else ""

    names = ("best_model_path", "kth_best_model_path", "last_model_path")
    best = {here(path): score for path, score in state.get("best_k_models", {}).items()}
    return {**state, "dirpath": folder, "best_k_models": best, **{name: here(state.get(name)) for name in names}}


def now() -> str:
    """The time in ISO format."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def git_state(folder: Path) -> dict[str, object]:
    """Commit and whether tracked files were changed, of the checkout that holds a folder (None outside one)."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=30, check=True)
        return done.stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError) as error:
        return {"commit": None, "dirty": None, "reason": f"not a git checkout ({type(error).__name__})"}


def package_versions(names: Sequence[str]) -> dict[str, str | None]:
    """Installed versions by package name, None for one that is absent."""
    versions: dict[str, str | None] = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def hardware() -> dict[str, object]:
    """Processor, memory and accelerators of this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if sys.platform != "win32" else None
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": memory,
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda,
    }


def _processor() -> str:
    """The processor's model name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
