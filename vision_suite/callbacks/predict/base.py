"""Writers of predictions: the base of all, and the callback that finds the one for a run's data."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from vision_suite.callbacks.kinds import serving
from vision_suite.callbacks.predict.store import clear, fresh_folders, require_keys
from vision_suite.drafts import write_whole
from vision_suite.lit_modules.base import LitBase, datamodule_of

DataT = TypeVar("DataT")
Tensors: TypeAlias = Mapping[str, Tensor]
FOLDER = "vision_suite.callbacks.predict"
PARTS = ".parts"


class BaseWriter(Callback, ABC, Generic[DataT]):
    """Writes the predictions of one kind of data to ``predict`` in the run's folder while they arrive.

    A subclass in a module of this folder, or in a plug-in, is enough to have one. Each process writes its own part into
    the folder `parts`; then rank zero joins the parts, writes ``summary.json`` and removes them. Predictions are not
    kept in memory as well: ``trainer.predict`` returns nothing.

    Attributes:
        kind: Class of its datamodule, or several as ``A | B``.
        keys: Entries that ``predict_step`` must return.
        pictures_folder: Name of the folder of pictures; empty if none are drawn.
        needs: Line for a run with another kind of data, of which nothing is written.
        folder: Folder of the predictions.
    """

    kind: ClassVar[Any]
    keys: ClassVar[frozenset[str]]
    pictures_folder: ClassVar[str] = ""
    needs: ClassVar[str] = "model and data must both be the suite's own"

    def __init__(self) -> None:
        self.folder = Path()
        self._data: DataT | None = None

    @property
    def parts(self) -> Path:
        """The folder of what the processes write before rank zero joins it."""
        return self.folder / PARTS

    @property
    def pictures(self) -> Path:
        """The folder of pictures."""
        return self.folder / self.pictures_folder

    def start(self, trainer: Trainer, module: LightningModule, data: DataT) -> None:
        """Get ready; the folders are there and empty."""

    @abstractmethod
    def write(self, trainer: Trainer, module: LightningModule, data: DataT, outputs: Tensors, batch: Tensors) -> None:
        """Write a batch to this process's part.

        Args:
            trainer: Trainer.
            module: Module.
            data: Datamodule.
            outputs: Return value of ``predict_step``, with the entries of `keys`.
            batch: Batch that it was given.
        """

    def end(self, trainer: Trainer, data: DataT) -> None:
        """Finish this process's part."""

    def failed(self, data: DataT) -> Mapping[str, str]:
        """Items that this process could not read, with the reasons."""
        return {}

    @abstractmethod
    def join(self, trainer: Trainer, data: DataT, failed: dict[str, str]) -> tuple[dict[str, object], str]:
        """Join the parts of all processes and write the files; on rank zero only.

        Args:
            trainer: Trainer.
            data: Datamodule.
            failed: Items that any process could not read, with the reasons.

        Returns:
            Contents of ``summary.json``, and a line for the terminal.
        """

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Agree on the folder and clear what an earlier prediction left there."""
        data: Any = datamodule_of(trainer)
        self._data = data if isinstance(data, self.kind) and isinstance(pl_module, LitBase) else None
        if self._data is None:
            rank_zero_info(f"predictions are not written by {type(self).__name__}: {self.needs}")
            return
        trainer.predict_loop.return_predictions = False
        self.folder = fresh_folders(trainer, PARTS, *filter(None, (self.pictures_folder,)))
        self.start(trainer, pl_module, data)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write a batch."""
        if self._data is not None:
            require_keys(pl_module, outputs, self.keys)
            self.write(trainer, pl_module, self._data, outputs, batch)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finish this process's part, then join all parts on rank zero."""
        data = self._data
        if data is None:
            return
        self.end(trainer, data)
        own = self.parts / f"failed-{trainer.global_rank}.json"
        own.write_text(json.dumps(dict(self.failed(data))), encoding="utf-8")
        trainer.strategy.barrier("prediction parts")
        if not trainer.is_global_zero:
            return
        failed: dict[str, str] = {}
        for path in sorted(self.parts.glob("failed-*.json")):
            failed |= json.loads(path.read_text(encoding="utf-8"))
        summary, line = self.join(trainer, data, failed)
        summary["checkpoint"] = None if trainer.ckpt_path is None else str(trainer.ckpt_path)
        write_whole(self.folder / "summary.json", json.dumps(summary, indent=2) + "\n")
        clear(self.parts)
        rank_zero_info(f"{line}: {self.folder}")


class AutoWriter(Callback):
    """Writes predictions by the writer for the kind of the run's data, unless the trainer has that writer already."""

    def __init__(self) -> None:
        self._writer: BaseWriter[Any] | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the writer."""
        self._writer = None
        data = datamodule_of(trainer)
        given = [callback for callback in trainer.callbacks if isinstance(callback, BaseWriter)]  # type: ignore[attr-defined]
        if any(isinstance(data, writer.kind) for writer in given):
            return
        known = isinstance(pl_module, LitBase)
        found: type[BaseWriter[Any]] | None = serving(data, BaseWriter, FOLDER) if known else None
        if found is None:
            rank_zero_info("predictions are not written: model and data must both be the suite's own")
            return
        self._writer = found()
        self._writer.on_predict_start(trainer, pl_module)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Hand a batch to the writer."""
        if self._writer is not None:
            self._writer.on_predict_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the writer finish."""
        if self._writer is not None:
            self._writer.on_predict_end(trainer, pl_module)


def log_pictures(trainer: Trainer, key: str, pictures: Sequence[Image.Image]) -> None:
    """Hand pictures, if there are any, to Weights & Biases where it logs the run."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger) and pictures:
            logger.log_image(key=key, images=list(pictures))
