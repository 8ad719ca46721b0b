"""Folders of earlier runs: loggers follow the root folder, and a resumed run goes on in its own folder."""

from __future__ import annotations

import warnings
from collections.abc import Container
from pathlib import Path

from jsonargparse import Namespace
from pytorch_lightning.utilities import rank_zero_only

RUNS = "runs"


def loggers(trainer: Namespace) -> list[Namespace]:
    """The logger sections of a trainer section."""
    found = trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]
    return [logger for logger in found if isinstance(logger, Namespace)]


def place_loggers(trainer: Namespace, given: Container[str]) -> None:
    """Let loggers follow ``--trainer.default_root_dir`` unless a folder of their own was given.

    Args:
        trainer: Trainer section of the configuration, changed in place.
        given: Dotted keys of the settings that flags and files give.
    """
    for logger in loggers(trainer):
        if "save_dir" in logger.init_args and "trainer.logger.save_dir" not in given:
            logger.init_args.save_dir = trainer.default_root_dir


def run_folders(trainer: Namespace) -> list[Path]:
    """The folders that hold earlier runs of this experiment."""
    folders = [Path(trainer.default_root_dir) / "checkpoints"]
    for logger in loggers(trainer):
        init = logger.init_args
        name = init.get("project") or "lightning_logs" if "project" in init else init.get("name")
        folders.insert(0, Path(str(init.get("save_dir") or trainer.default_root_dir)) / str(name))
    return folders


def continue_run(trainer: Namespace, folder: Path, given: Container[str]) -> None:
    """Resume in the run's own folder, so that its best checkpoints still count; earlier metrics are kept aside.

    Args:
        trainer: Trainer section of the configuration, changed in place.
        folder: Folder of the interrupted run.
        given: Dotted keys of the settings that flags and files give.
    """
    if folder.parent not in run_folders(trainer) or "trainer.logger.version" in given:
        return
    for logger in loggers(trainer):
        if "version" in logger.init_args:
            logger.init_args.version = folder.name
    keep_metrics(folder)


@rank_zero_only
def keep_metrics(folder: Path) -> None:
    """Rename ``metrics.csv`` to ``metrics-1.csv`` (``-2``, ...): the logger would delete it."""
    metrics = folder / "metrics.csv"
    if metrics.is_file():
        count = len(list(folder.glob("metrics-*.csv")))
        metrics.rename(folder / f"metrics-{count + 1}.csv")
    warnings.filterwarnings("ignore", message=".*Previous log files in this directory will be deleted.*")
