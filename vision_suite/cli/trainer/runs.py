"""The folder of a run: claimed before anything is built, and given to every logger, whatever it is."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from jsonargparse import dict_to_namespace as as_namespace

from vision_suite.cli.trainer.processes import is_first
from vision_suite.errors import ConfigError
from vision_suite.runs.folders import claim
from vision_suite.runs.record import FINISHED, Run, read_run
from vision_suite.runs.search import Experiment
from vision_suite.runs.trial_log import trial_folder

CSV_LOGGER = "pytorch_lightning.loggers.CSVLogger"


def run_folder(
    trainer: Namespace, given: Container[str], experiment: Experiment, continued: Run | None, *, training: bool
) -> Path | None:
    """Choose the folder of a run, and make it.

    A trial of a sweep has the folder that the sweep gives it, until training in it has come to its end. Another run has
    ``<root>/<experiment>/version_<n>`` with the next free number. The root is the trainer's
    ``default_root_dir``, or the folder given to a logger; the experiment's name is its configuration's, or the one
    given to a logger of files; a number given to such a logger is kept.

    Args:
        trainer: Trainer section of the configuration.
        given: Dotted keys of the settings that flags and files give.
        experiment: Experiment of the command.
        continued: Run that is continued in its own folder.
        training: True for ``fit``.

    Returns:
        The folder; None in another process than the first, which will be told, and in a fast development run.

    Raises:
        ConfigError: A number was chosen, and the folder holds a training run.
    """
    if trainer.get("fast_dev_run") or not is_first():
        return None
    if continued is not None:
        return continued.folder
    trial = trial_folder()
    if trial is not None and training and ((found := read_run(trial)) is None or found.status != FINISHED):
        return trial
    chosen: dict[str, Any] = {}
    for logger in reversed(_loggers(trainer)):
        names = ("save_dir", "name", "version") if _writes_files(logger) else ("save_dir",)
        chosen |= {name: logger.init_args.get(name) for name in names if f"trainer.logger.{name}" in given}
    root = str(chosen.get("save_dir") or trainer.default_root_dir)
    parent = Path(root) / str(chosen.get("name") or experiment.folder)
    version = chosen.get("version")
    if version is None:
        return claim(parent)
    folder = parent / (version if isinstance(version, str) else f"version_{version}")
    if training and read_run(folder) is not None:
        raise ConfigError(f"{folder} holds a training run: go on with --ckpt_path {folder}, or choose another version")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def place_loggers(trainer: Namespace, folder: Path | None, experiment: Experiment, given: Container[str]) -> None:
    """Let every logger of files write to the run's folder, and add one for ``metrics.csv`` where there is none.

    Args:
        trainer: Trainer section of the configuration, changed in place.
        folder: Folder of the run, None in another process than the first, whose loggers write nothing.
        experiment: Experiment of the command.
        given: Dotted keys of the settings that flags and files give.
    """
    found: list[Any] = trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]
    if found == [False]:
        return
    found = [logger for logger in found if isinstance(logger, Namespace)]
    if not any(str(logger.class_path).endswith("CSVLogger") for logger in found):
        init = as_namespace({"save_dir": ".", "name": "", "version": None})
        found.append(as_namespace({"class_path": CSV_LOGGER, "init_args": init}))
    for logger in found:
        init = logger.init_args
        if _writes_files(logger) and folder is not None:
            parts = Path(experiment.folder).parts
            own = folder.parent.parts[-len(parts) :] == parts
            init.name = experiment.folder if own else folder.parent.name
            init.save_dir = str(folder.parents[len(parts)] if own else folder.parent.parent)
            init.version = folder.name
        elif "save_dir" in init and "trainer.logger.save_dir" not in given:
            init.save_dir = trainer.default_root_dir
    trainer.logger = found


def _loggers(trainer: Namespace) -> list[Namespace]:
    """The logger sections of a trainer section."""
    found = trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]
    return [logger for logger in found if isinstance(logger, Namespace)]


def _writes_files(logger: Namespace) -> bool:
    """True for a logger that has a folder of its own for each run, such as CSV and TensorBoard."""
    return {"save_dir", "name", "version"} <= vars(logger.init_args).keys() and "project" not in logger.init_args
