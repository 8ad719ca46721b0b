"""The beginning of a trainer command: its experiment, the earlier run it goes on from, and that run's configuration.

``--ckpt_path last`` or ``best`` means the newest training run of the experiment; a folder means the run in it. The own
``config.yaml`` of that run then stands for the configuration it was started with, so nothing has to be typed again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vision_suite.cli.configs import experiment_of, is_inline
from vision_suite.cli.trainer import arguments
from vision_suite.cli.trainer.checkpoint import best_of, readable
from vision_suite.cli.trainer.processes import is_first
from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.hub.places import is_name
from vision_suite.runs.folders import CHECKPOINTS
from vision_suite.runs.record import FIT, Run, read_run, slurm_job
from vision_suite.runs.search import Experiment, newest, only_experiment, run_of, runs_below, runs_of

RUNS = "runs"
LAST, BEST = "last", "best"
OTHERS = ("hpc", "registry")  # words of Lightning


@dataclass(frozen=True)
class Start:
    """Beginning of a trainer command.

    Attributes:
        argv: Command and options for the parser; a word or a folder in ``--ckpt_path`` has become a file.
        typed: Dotted key of every setting that the user gave by flag or file, and where.
        experiment: Experiment of the command.
        configurations: Files that were named by ``-c``.
        continued: Run whose folder is used again; None if the command gets a folder of its own.
        notes: Lines to print.
    """

    argv: list[str]
    typed: dict[str, str]
    experiment: Experiment
    configurations: tuple[str, ...] = ()
    continued: Run | None = None
    notes: tuple[str, ...] = ()

    def identity(self, typed: Sequence[str]) -> dict[str, Any]:
        """Entries of a run's record that are known before it starts; those of a continued run's progress are kept.

        Args:
            typed: Command and options as typed.
        """
        before = {} if self.continued is None else self.continued.record
        progress = (
            ("epoch", "step", "checkpoint", "best") if "command_line" in before else ()
        )  # not of earlier versions
        return {
            **{name: before.get(name) for name in progress},
            "command_line": ["vision-suite", *typed],
            "experiment": self.experiment.name or None,
            "experiment_digest": self.experiment.digest,
            "experiment_folder": self.experiment.folder,
            "configurations": list(self.configurations),
        }


@dataclass(frozen=True)
class _Source:
    """The checkpoint that a command uses, and the run it belongs to."""

    path: Path
    run: Run | None
    continues: bool
    notes: list[str]


def prepare(argv: Sequence[str]) -> Start:
    """Find the run and the checkpoint that a command goes on from.

    Args:
        argv: Command and options, names of configurations already replaced by files.

    Raises:
        CheckpointError: There is no such run or checkpoint, none of its files can be read, or it is still running.
        ConfigError: The run is one of another experiment than ``-c`` names.
    """
    files = arguments.config_files(argv)
    settings = list(arguments.settings(argv))
    given = {setting.key: setting.value for setting in settings}
    repeated = _run_of_config(files[0]) if files else None
    # The place of that run is not one that the user chose for this one.
    own = None if repeated is None else files[0]
    mine = {setting.key: setting for setting in settings if setting.source != own}
    roots = _roots(settings, {key: setting.value for key, setting in mine.items()}, given)
    if repeated is None:
        experiment = experiment_of(files, arguments.files_of(files[:1]))
    else:
        experiment = _experiment_of(repeated, roots)
    typed = {key: setting.source for key, setting in mine.items()}
    start = Start(list(argv), typed, experiment, tuple(_identity(file) for file in files))
    try:
        source = _source(argv[0], given, start, roots)
    except CheckpointError:
        if not arguments.only_prints(argv):
            raise
        source = None  # a configuration or a help text can be printed before there is a run
    return start if source is None else _from(source, start, roots)


def _source(command: str, given: Mapping[str, Any], start: Start, roots: Sequence[Path]) -> _Source | None:
    """The checkpoint that ``ckpt_path`` means; None if there is none, or it is a word of Lightning."""
    word = given.get("ckpt_path")
    if word is None and command == FIT:
        requeued = _requeued(start.experiment, roots)
        word = None if requeued is None else str(requeued.folder)
    if not isinstance(word, str) or word in OTHERS:
        return None
    notes: list[str] = []
    if is_name(word):
        if command == FIT:
            raise CheckpointError(
                f"--ckpt_path {word}: an entry of the hub holds no state of the optimiser: start a run from its "
                "weights with fit --init_from FOLDER/model.safetensors ('vision-suite hub pull' tells the folder)"
            )
        from vision_suite.cli.trainer.hub_entry import checkpoint_of

        return _Source(checkpoint_of(word, notes), None, False, notes)
    if word in (LAST, BEST):
        if start.configurations:
            runs = runs_of(start.experiment, roots, _old_folders(given, roots))
        else:
            runs = only_experiment(roots, word)
        run = newest(runs, word, start.experiment.name, roots)
        path = readable(run, notes) if word == LAST else best_of(run)
        return _Source(path, run, command == FIT and word == LAST, notes)
    folder = Path(word)
    if not folder.is_dir() or (folder / ".metadata").exists():  # the latter: a checkpoint in parts, by torch
        return _Source(folder, run_of(folder), False, notes)
    folder = folder.absolute().parent if folder.name == CHECKPOINTS else folder
    found = read_run(folder)
    if found is None:
        inside = [str(run.folder) for run in runs_below([folder])]
        hint = f"name one of {', '.join(inside[-5:])}" if inside else "name a run's folder or a checkpoint"
        raise CheckpointError(f"--ckpt_path {word}: this is not the folder of a training run: {hint}")
    if not found.checkpoints():
        raise CheckpointError(f"--ckpt_path {word}: this run has no checkpoint: start again without --ckpt_path")
    if start.configurations and found.experiment not in (None, start.experiment.name):
        raise ConfigError(
            f"--ckpt_path {word} is a run of {found.experiment}, but -c names {start.experiment.name}: leave -c out"
        )
    return _Source(readable(found, notes), found, command == FIT, notes)


def _from(source: _Source, start: Start, roots: Sequence[Path]) -> Start:
    """The start from a checkpoint: on the configuration of its run where that is continued or none was named."""
    run, argv, experiment, notes = source.run, start.argv, start.experiment, list(source.notes)
    configurations = start.configurations
    if source.continues and run is not None and run.is_alive and is_first():
        process = run.record["process"]["pid"]
        raise CheckpointError(f"{run.folder} is still being trained, by process {process}: stop that first")
    own = run is not None and run.config is not None and (source.continues or not start.configurations)
    if run is not None and start.configurations and _was_changed(run, experiment):
        used = f"the run goes on with its own {run.config}" if own else f"{argv[0]} uses it as it is now"
        notes.append(f"{experiment.name} was changed since {run.folder} began: {used}")
    if own and run is not None:
        argv = _on_top_of(run, argv)
        configurations = tuple(dict.fromkeys([*_configurations(run), *configurations]))
        if run.experiment is not None or not start.configurations:
            experiment = _experiment_of(run, roots)
    elif source.continues and run is not None and not start.configurations:
        raise ConfigError(f"{run.folder} holds no config.yaml: give -c, the configuration it was started with")
    argv = [*argv, f"--ckpt_path={source.path}"]
    return Start(argv, start.typed, experiment, configurations, run if source.continues else None, tuple(notes))


def _on_top_of(run: Run, argv: Sequence[str]) -> list[str]:
    """The options on top of a run's own configuration, without the configurations that the run was started with."""
    stale = set(_configurations(run))
    configs = [option for option in arguments.options(argv) if option.is_config and option.value is not None]
    dropped = {
        index
        for number, option in enumerate(configs)
        if number == 0 or _identity(str(option.value)) in stale
        for index in range(option.start, option.stop)
    }
    rest = [word for index, word in enumerate(argv) if index > 0 and index not in dropped]
    return [argv[0], f"--config={run.config}", *rest]


def _run_of_config(file: str) -> Run | None:
    """The run whose stored configuration a file is, None for any other file."""
    path = Path(file)
    is_stored = not is_inline(file) and path.stem.startswith("config") and path.suffix == ".yaml"
    return read_run(path.parent, command=None) if is_stored else None


def _identity(file: str) -> str:
    """A configuration as the record of a run names it."""
    return file if is_inline(file) else os.path.abspath(file)


def _configurations(run: Run) -> list[str]:
    """The configurations that a run was started with."""
    known = run.record.get("configurations")
    return [str(each) for each in known] if isinstance(known, list) else []


def _experiment_of(run: Run, roots: Sequence[Path]) -> Experiment:
    """The experiment that a run's record names; one without a name for a run of an earlier version."""
    parent = Path(os.path.abspath(run.folder)).parent
    below = parent.name
    for root in (root.absolute() for root in roots):
        if parent.is_relative_to(root) and parent != root:
            below = parent.relative_to(root).as_posix()
    folder = str(run.record.get("experiment_folder", below))
    return Experiment(run.experiment or "", str(run.record.get("experiment_digest", "")), folder)


def _was_changed(run: Run, experiment: Experiment) -> bool:
    """True if the configuration holds something else than when the run began."""
    known = run.record.get("experiment_digest")
    return run.experiment == experiment.name and known is not None and known != experiment.digest


def _roots(settings: Sequence[arguments.Setting], typed: Mapping[str, Any], given: Mapping[str, Any]) -> list[Path]:
    """The folders of all runs: those of the loggers, or the trainer's root folder.

    Args:
        settings: Settings of flags and files.
        typed: Values of those that the user chose for this command.
        given: Values of all.
    """
    chosen = typed if {"trainer.logger.save_dir", "trainer.default_root_dir"} & typed.keys() else given
    if chosen.get("trainer.logger.save_dir") and given.get("trainer.logger") is not False:
        values = [setting.value for setting in settings if setting.key == "trainer.logger.save_dir" and setting.value]
        return [Path(str(value)) for value in dict.fromkeys(values)]
    return [Path(str(chosen.get("trainer.default_root_dir") or RUNS))]


def _old_folders(given: Mapping[str, Any], roots: Sequence[Path]) -> list[Path]:
    """Folders in which earlier versions kept an experiment's runs: those that its logger was given."""
    names = (given.get(f"trainer.logger.{key}") for key in ("name", "project"))
    return [root / str(name) for name in names if name for root in roots]


def _requeued(experiment: Experiment, roots: Sequence[Path]) -> Run | None:
    """The run of this very SLURM job before it was requeued; None outside SLURM, and at a job's first start."""
    job = slurm_job()
    if job is None or os.environ.get("SLURM_RESTART_COUNT", "0") in ("", "0"):
        return None
    found = [run for run in runs_of(experiment, roots) if run.record.get("slurm_job") == job and run.checkpoints()]
    return found[-1] if found else None
