"""Lightning's side of checkpoint files: the plug-in that writes and verifies them; a check of resumed optimisers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.plugins.io import TorchCheckpointIO

from vision_suite.checkpoints.contents import check_optimizers
from vision_suite.checkpoints.files import verify, write
from vision_suite.drafts import draft_of


class SuiteCheckpointIO(TorchCheckpointIO):
    """Checkpoint files that appear whole or not at all, and are verified before they are loaded.

    Addresses of other file systems, such as ``s3://``, are read and written as Lightning does.

    Attributes:
        on_saved: Called with the path and the contents of each checkpoint of a run, once it is on the disk.
    """

    def __init__(self) -> None:
        super().__init__()
        self.on_saved: Callable[[Path, Mapping[str, Any]], None] | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            StorageError: The disk is full or the folder is read-only; the earlier file is unchanged.
        """
        local = local_path(path)
        if local is None or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        write(checkpoint, local)
        # Lightning's launchers also send bare weights from one process to another in a file.
        if self.on_saved is not None and "state_dict" in checkpoint:
            self.on_saved(local, checkpoint)

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any = lambda storage, location: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Verify and load a checkpoint.

        Raises:
            CheckpointError: The file is missing, truncated or damaged.
        """
        local = local_path(path)
        if local is not None:
            verify(local)
        contents: dict[str, Any] = super().load_checkpoint(path, map_location, weights_only)
        return contents

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint, and the draft of one that a killed process may have left."""
        super().remove_checkpoint(path)
        local = local_path(path)
        if local is not None:
            draft_of(local).unlink(missing_ok=True)


class ResumedOptimizers(Callback):
    """Refuses to train on with the state of other optimisers, which would be used wrongly or fail later."""

    def __init__(self) -> None:
        self._states: list[Mapping[str, Any]] | None = None

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the states until the optimisers exist."""
        self._states = checkpoint.get("optimizer_states")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare, before Lightning restores the states.

        Raises:
            CheckpointError: The states do not fit.
        """
        if self._states is not None:
            check_optimizers(self._states, trainer.optimizers, trainer.ckpt_path or "")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the states go."""
        self._states = None


def use_suite_files(trainer: Trainer) -> None:
    """Let a trainer write and load checkpoints with `SuiteCheckpointIO`, unless it has a plug-in of another kind.

    Strategies that save in their own way (DeepSpeed, sharded FSDP and model parallelism, XLA) go on doing so.
    """
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = SuiteCheckpointIO()


def local_path(path: str | Path) -> Path | None:
    """A path of this machine's file systems; None for any other address."""
    system, plain = url_to_fs(str(path))
    return Path(plain) if isinstance(system, LocalFileSystem) else None
