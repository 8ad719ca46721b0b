"""Search for earlier training runs: those of one experiment, or of the only one there is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vision_suite.errors import CheckpointError
from vision_suite.runs.folders import CHECKPOINTS
from vision_suite.runs.record import Run, read_run

DEPTH = 6  # folders below the root in which runs are looked for
LISTED = 10


@dataclass(frozen=True)
class Experiment:
    """Configuration that runs have in common.

    Attributes:
        name: Name of the packaged configuration, or full path of the configuration file.
        digest: SHA-256 of everything that the configuration files hold.
        folder: Folder of its runs below the root folder: the packaged name, or the name of the file.
    """

    name: str
    digest: str
    folder: str


def runs_below(root: Path) -> list[Run]:
    """Every training run below a folder (or in the folder itself), from the oldest to the newest start."""
    return sorted((run for folder in _folders(root) if (run := read_run(folder)) is not None), key=lambda r: r.started)


def runs_of(experiment: Experiment, root: Path, old: Sequence[Path] = ()) -> list[Run]:
    """The training runs of an experiment, from the oldest to the newest.

    Args:
        experiment: The experiment.
        root: Folder of all runs.
        old: Further folders in which earlier versions kept the runs of this experiment; runs whose record does not name
            an experiment are taken from these and from the experiment's own folder.
    """
    places = {_real(root / experiment.folder), *(_real(folder) for folder in old)}
    known = {_real(run.folder): run for folder in (root, *old) for run in runs_below(folder)}
    found = [
        run
        for run in known.values()
        if (run.experiment == experiment.name if run.experiment is not None else _real(run.folder.parent) in places)
    ]
    return sorted(found, key=lambda run: run.started)


def only_experiment(root: Path, word: str) -> list[Run]:
    """The training runs below a folder, where all are runs of one experiment.

    Args:
        root: Folder of all runs.
        word: What was asked for, for the message.

    Raises:
        CheckpointError: There is no run, or runs of several experiments, which are listed.
    """
    runs = runs_below(root)
    names = {run.experiment or os.path.relpath(run.folder.parent, root): run for run in runs}
    if not runs:
        raise CheckpointError(f"--ckpt_path {word}: no training run below {root}: give -c, or a checkpoint file")
    if len(names) > 1:
        raise CheckpointError(
            f"--ckpt_path {word}: {len(names)} experiments below {root}: choose one with -c "
            f"({_listed(list(names))}), or name a run's folder"
        )
    return runs


def newest(runs: Sequence[Run], word: str, name: str, root: Path) -> Run:
    """The newest of an experiment's runs, which must have a checkpoint.

    Args:
        runs: Runs from the oldest to the newest.
        word: What was asked for, for the message.
        name: Name of the experiment.
        root: Folder that was searched, for the message.

    Raises:
        CheckpointError: There is no run, or the newest has no checkpoint yet; an older one that has is named.
    """
    if not runs:
        others = sorted({run.experiment or str(run.folder.parent) for run in runs_below(root)})
        hint = f" (there are runs of {_listed(others)})" if others else ""
        raise CheckpointError(
            f"--ckpt_path {word}: no training run of {name} below {root}{hint}: start one, or name a checkpoint file"
        )
    run = runs[-1]
    if run.checkpoints():
        return run
    older = next((each for each in reversed(runs[:-1]) if each.checkpoints()), None)
    hint = (
        "start again without --ckpt_path" if older is None else f"to use an older run, give --ckpt_path {older.folder}"
    )
    raise CheckpointError(f"--ckpt_path {word}: the newest run, {run}, has no checkpoint yet: {hint}")


def run_of(checkpoint: Path) -> Run | None:
    """The run whose ``checkpoints`` folder holds a file, None if it lies elsewhere."""
    return read_run(checkpoint.parent.parent) if checkpoint.parent.name == CHECKPOINTS else None


def _folders(root: Path) -> Iterator[Path]:
    """Folders that may be those of runs. Run folders are not searched further."""
    if not root.is_dir():
        return
    for place, names, files in os.walk(root):
        folder = Path(place)
        is_run = CHECKPOINTS in names or any(name.startswith("run") and name.endswith(".json") for name in files)
        if is_run:
            yield folder
        if (is_run and folder != root) or len(folder.relative_to(root).parts) >= DEPTH:
            names.clear()
        names[:] = sorted(name for name in names if not name.startswith(".") and name not in (CHECKPOINTS, "wandb"))


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _listed(names: Sequence[str]) -> str:
    """Names with commas, the first few."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
