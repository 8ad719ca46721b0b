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
        digest: SHA-256 of the configuration file and of the parts that it names.
        folder: Folder of its runs below the root folder: the packaged name, or the name of the file.
    """

    name: str
    digest: str
    folder: str


def runs_below(roots: Sequence[Path]) -> list[Run]:
    """Every training run in and below some folders, from the oldest to the newest start."""
    found = {
        _real(run.folder): run for root in roots for place in run_folders(root) if (run := read_run(place)) is not None
    }
    return sorted(found.values(), key=lambda run: run.started)


def runs_of(experiment: Experiment, roots: Sequence[Path], old: Sequence[Path] = ()) -> list[Run]:
    """The training runs of an experiment, from the oldest to the newest.

    Args:
        experiment: The experiment.
        roots: Folders of all runs.
        old: Further folders in which earlier versions kept the runs of this experiment; runs whose record does not name
            an experiment are taken from these and from the experiment's own folder.
    """
    places = {*(_real(root / experiment.folder) for root in roots), *(_real(folder) for folder in old)}
    return [
        run
        for run in runs_below([*roots, *old])
        if (run.experiment == experiment.name if run.experiment is not None else _real(run.folder.parent) in places)
    ]


def only_experiment(roots: Sequence[Path], word: str) -> list[Run]:
    """The training runs below some folders, where all are runs of one experiment.

    Args:
        roots: Folders of all runs.
        word: What was asked for, for the message.

    Raises:
        CheckpointError: There is no run, or runs of several experiments, which are listed.
    """
    runs, where = runs_below(roots), _listed([str(root) for root in roots])
    if not runs:
        raise CheckpointError(f"--ckpt_path {word}: no training run below {where}: give -c, or a checkpoint file")
    # Runs of earlier versions do not name their experiment: they go with those beside them that do.
    named = {_real(run.folder.parent): run.experiment for run in runs if run.experiment is not None}
    names = dict.fromkeys(
        run.experiment or named.get(_real(run.folder.parent)) or str(run.folder.parent) for run in runs
    )
    if len(names) > 1:
        raise CheckpointError(
            f"--ckpt_path {word}: {len(names)} experiments below {where}: choose one with -c "
            f"({_listed(list(names))}), or name a run's folder"
        )
    return runs


def newest(runs: Sequence[Run], word: str, name: str, roots: Sequence[Path]) -> Run:
    """The newest of an experiment's runs, which must have a checkpoint.

    Args:
        runs: Runs from the oldest to the newest.
        word: What was asked for, for the message.
        name: Name of the experiment.
        roots: Folders that were searched, for the message.

    Raises:
        CheckpointError: There is no run, or the newest has no checkpoint yet; an older one that has is named.
    """
    if not runs:
        others = sorted({run.experiment or str(run.folder.parent) for run in runs_below(roots)})
        hint = f" (there are runs of {_listed(others)})" if others else ""
        where = _listed([str(root) for root in roots])
        raise CheckpointError(
            f"--ckpt_path {word}: no training run of {name} below {where}{hint}: start one, or name a checkpoint file"
        )
    run = runs[-1]
    if run.checkpoints():
        return run
    older = next((each for each in reversed(runs[:-1]) if each.checkpoints()), None)
    hint = (
        "start again without --ckpt_path" if older is None else f"to use an older run, give --ckpt_path {older.folder}"
    )
    raise CheckpointError(f"--ckpt_path {word}: the newest run, {run}, has no checkpoint yet: {hint}")


def run_folders(root: Path) -> Iterator[Path]:
    """Folders in and below a folder that may be those of runs. Run folders are not searched further."""
    if not root.is_dir():
        return
    visited: set[Path] = set()
    for place, names, files in os.walk(root, followlinks=True):
        folder = Path(place)
        if _real(folder) in visited:
            names.clear()
            continue
        visited.add(_real(folder))
        is_run = CHECKPOINTS in names or any(name.startswith("run") and name.endswith(".json") for name in files)
        if is_run:
            yield folder
        if (is_run and folder != root) or len(folder.relative_to(root).parts) >= DEPTH:
            names.clear()
        names[:] = sorted(name for name in names if not name.startswith(".") and name not in (CHECKPOINTS, "wandb"))


def run_of(checkpoint: Path) -> Run | None:
    """The run whose ``checkpoints`` folder holds a file, None if it lies elsewhere."""
    return read_run(checkpoint.parent.parent) if checkpoint.parent.name == CHECKPOINTS else None


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _listed(names: Sequence[str]) -> str:
    """Names with commas, the first few."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
