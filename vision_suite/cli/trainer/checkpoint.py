"""Settings in a checkpoint, and the checkpoint files of a run; no code in a file is executed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vision_suite.checkpoints.files import read, verify
from vision_suite.cli.trainer.old_names import table_name
from vision_suite.cli.trainer.vocabulary import find_class
from vision_suite.datasets.base import BaseData
from vision_suite.datasets.saved import data_state
from vision_suite.errors import CheckpointError
from vision_suite.renamed import with_new_names
from vision_suite.runs.folders import CHECKPOINTS
from vision_suite.runs.record import Run


@dataclass(frozen=True)
class Saved:
    """Settings that a checkpoint decides.

    Attributes:
        path: Checkpoint file.
        class_path: Class of the Lightning module, None when the module was built outside the command line.
        settings: Arguments of its constructor, as plain containers.
        contents: Everything in the file.
    """

    path: Path
    class_path: str | None
    settings: dict[str, Any]
    contents: dict[str, Any]

    @property
    def stored_preprocessing(self) -> dict[str, Any]:
        """Preprocessing of the training run as its datamodule describes it; empty in files that do not tell it."""
        state = data_state(self.contents)
        return {} if state is None else state["preprocessing"]

    def preprocessing(self, data: str) -> dict[str, Any]:
        """Arguments of a datamodule's constructor that give the preprocessing of the training run.

        Args:
            data: Class of the datamodule.

        Raises:
            CheckpointError: The file holds another preprocessing than this class can do, or a malformed one.
        """
        datamodule = find_class(data, BaseData)  # type: ignore[type-abstract]
        try:
            return {} if datamodule is None else datamodule.evaluation_settings(self.stored_preprocessing)
        except CheckpointError as error:
            raise CheckpointError(f"{self.path}: {error}") from error


def saved(path: Path, model: str) -> Saved:
    """Read the settings in a checkpoint file, under their present names.

    See `vision_suite.checkpoints.files.read` for errors.

    Args:
        path: The checkpoint.
        model: Class of the model, for checkpoints that name none.
    """
    contents = read(path)
    settings = dict(contents.get("hyper_parameters") or {})
    settings.pop("_instantiator", None)
    class_path = settings.pop("_class_path", None)
    settings = with_new_names(table_name(class_path or model) or "", settings)
    return Saved(path, class_path, settings, contents)


def readable(run: Run, notes: list[str]) -> Path:
    """The newest checkpoint of a run that can be read.

    Args:
        run: A run that has checkpoints.
        notes: Takes a line for every damaged file that is passed over.

    Raises:
        CheckpointError: None can be read.
    """
    damaged: list[str] = []
    for path in run.checkpoints():
        try:
            verify(path)
        except CheckpointError as error:
            damaged.append(str(error))
            continue
        notes += [f"{reason}: passed over, {path} is used" for reason in damaged]
        return path
    raise CheckpointError(f"no checkpoint of {run.folder} can be read: {'; '.join(damaged)}")


def best_of(run: Run) -> Path:
    """The checkpoint with the best monitored value of a run.

    Raises:
        CheckpointError: The run monitors nothing, or the file is gone.
    """
    best = run.best
    if best is None:
        for state in read(readable(run, [])).get("callbacks", {}).values():
            if isinstance(state, dict) and state.get("monitor") and state.get("best_model_path"):
                best = Path(state["best_model_path"])
                break
        else:
            raise CheckpointError(
                f"--ckpt_path best: {run.folder} has no monitored checkpoint, as a run without a validation split "
                "or of a model without a main score: use --ckpt_path last"
            )
    # A run's folder may have been moved since; its checkpoints stay side by side.
    best = best if best.is_file() else run.folder / CHECKPOINTS / best.name
    if not best.is_file():
        raise CheckpointError(f"--ckpt_path best: the best checkpoint {best} is gone: use --ckpt_path last")
    return best
