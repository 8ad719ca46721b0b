"""Model section of a checkpoint, read without running any code from the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vision_suite.checkpoints.files import read
from vision_suite.cli.trainer.old_names import table_name
from vision_suite.errors import CheckpointError
from vision_suite.renamed import with_new_names

WORDS = ("last", "best")


@dataclass(frozen=True)
class SavedModel:
    """The model section of a checkpoint.

    Attributes:
        path: Checkpoint file.
        class_path: Class of the Lightning module, None when the module was built outside the command line.
        settings: Arguments of its constructor, as plain containers.
    """

    path: Path
    class_path: str | None
    settings: dict[str, Any]


def saved_model(path: Path, expected: str) -> SavedModel:
    """Read the model section of a checkpoint file, with its settings under their present names; see `read` for errors.

    Args:
        path: The checkpoint.
        expected: Class of the model, for checkpoints that name none.
    """
    settings = dict(read(path).get("hyper_parameters") or {})
    settings.pop("_instantiator", None)
    class_path = settings.pop("_class_path", None)
    return SavedModel(path, class_path, with_new_names(table_name(class_path or expected) or "", settings))


def find(word: str, folders: list[Path]) -> Path:
    """Find the newest ``last.ckpt`` of earlier runs, or the best checkpoint of the run it belongs to.

    Args:
        word: Either ``last`` or ``best``.
        folders: Folders that hold the runs of this experiment, each run with its ``checkpoints``.

    Raises:
        CheckpointError: There is no earlier run, or it has not yet recorded a best checkpoint.
    """
    found = [
        path for folder in folders for path in (*folder.glob("*/checkpoints/last.ckpt"), *folder.glob("last.ckpt"))
    ]
    if not found:
        where = ", ".join(str(folder) for folder in folders)
        raise CheckpointError(f"--ckpt_path {word}: no last.ckpt below {where}: name the checkpoint file")
    newest = max(found, key=lambda path: path.stat().st_mtime_ns)
    if word == "last":
        return newest
    for state in read(newest).get("callbacks", {}).values():
        if isinstance(state, dict) and state.get("monitor") and state.get("best_model_path"):
            best = Path(state["best_model_path"])
            # A run folder may have been moved since; its checkpoints stay side by side.
            return best if best.is_file() else newest.with_name(best.name)
    raise CheckpointError(f"--ckpt_path best: {newest} knows of no monitored checkpoint: use --ckpt_path last")
