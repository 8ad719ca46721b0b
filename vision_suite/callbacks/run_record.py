"""Everything needed to repeat a run, stored beside its checkpoints.

``config.yaml`` is the resolved configuration (``vision-suite fit -c config.yaml`` repeats the run); ``run.json`` holds
the command line, git state, package versions, hardware, seed and data fingerprint. A second command in the same folder
writes ``config-2.yaml`` and ``run-2.json``: nothing is overwritten.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch
import yaml
from jsonargparse import Namespace
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import LightningArgumentParser, SaveConfigCallback
from pytorch_lightning.loggers import WandbLogger

import vision_suite
from vision_suite.callbacks.run_dir import run_dir, share_run_dir
from vision_suite.datasets.base import BaseData
from vision_suite.lit_modules.base import datamodule_of

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
    """Writes a run's configuration and record on rank zero when the run starts.

    Args:
        parser: The parser of the command.
        config: The parsed configuration.
        command: The command line as typed.
        save_to_log_dir: Must be False: the logger's folder is not a run's folder for every logger.
    """

    def __init__(
        self,
        parser: LightningArgumentParser,
        config: Namespace,
        command: Sequence[str] = (),
        save_to_log_dir: bool = False,
    ) -> None:
        super().__init__(parser, config, save_to_log_dir=save_to_log_dir)
        self.command = list(command)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Agree on the run's folder, then record once."""
        share_run_dir(trainer)
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write both files and hand the flattened configuration to Weights & Biases."""
        folder = run_dir(trainer)
        folder.mkdir(parents=True, exist_ok=True)
        suffix = _free_suffix(folder)
        text = self.parser.dump(self.config, skip_none=False)
        (folder / f"config{suffix}.yaml").write_text(text, encoding="utf-8")
        config = yaml.safe_load(text)
        record = run_record(trainer, stage, self.command, config.get("seed_everything"), config.get("ckpt_path"))
        (folder / f"run{suffix}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.config.update(flattened({**config, "run": record}), allow_val_change=True)


def run_record(
    trainer: Trainer, stage: str, command: Sequence[str], seed: int | bool | None, checkpoint: str | None
) -> dict[str, object]:
    """Contents of ``run.json``, in plain containers."""
    data = datamodule_of(trainer)
    return {
        "stage": stage,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": list(command),
        "working_folder": os.getcwd(),
        "checkpoint": checkpoint,
        "seed": seed,
        "vision_suite": vision_suite.__version__,
        "git": git_state(Path(vision_suite.__file__).resolve().parent),
        "python": platform.python_version(),
        "packages": package_versions(PACKAGES),
        "hardware": hardware(),
        "processes": trainer.world_size,
        "precision": str(trainer.precision),
        "data": data.protocol if isinstance(data, BaseData) else None,
    }


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


def flattened(tree: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """A nested mapping as one level of dotted keys, without the words that only spell a class.

    Example: ``{"model": {"class_path": "m.A", "init_args": {"lr": 1}}}`` becomes ``{"model": "m.A", "model.lr": 1}``.
    """
    flat: dict[str, object] = {}
    for name, value in tree.items():
        if name == "class_path":
            flat[prefix] = value
            continue
        key = prefix if name == "init_args" else f"{prefix}.{name}" if prefix else name
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, key)
        else:
            flat[key] = value
    return flat


def _free_suffix(folder: Path) -> str:
    """An ending under which neither file exists yet: nothing for the first record, then ``-2``, ``-3``, ..."""
    number = 1
    while True:
        suffix = "" if number == 1 else f"-{number}"
        if not any((folder / name).exists() for name in (f"config{suffix}.yaml", f"run{suffix}.json")):
            return suffix
        number += 1


def _processor() -> str:
    """The processor's model name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
