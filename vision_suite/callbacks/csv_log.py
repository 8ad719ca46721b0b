"""A CSV log of a run from which a kill at any moment takes nothing that a checkpoint has seen."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import rank_zero_experiment
from lightning_fabric.utilities.cloud_io import get_filesystem
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger, Logger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn

from vision_suite.drafts import write_all, write_whole

Row = dict[str, Any]


class RowWriter(ExperimentWriter):
    """Writes ``metrics.csv``: rows are appended whole, and a new column replaces the file in one step.

    A file that lies in the folder already becomes ``metrics-1.csv`` (``-2``, ...) when the first row is written.

    Args:
        log_dir: Folder of the file.
    """

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self.path = Path(self.metrics_file_path)
        self._size: int | None = None  # bytes of the rows that were written whole
        self._columns: list[str] = []
        self._last: str | None = None

    def log_metrics(self, metrics_dict: Row, step: int | None = None) -> None:
        """Keep a row for the next `save`; a row that equals the one before is that one, logged again."""
        super().log_metrics(metrics_dict, step)
        row = repr(sorted(self.metrics[-1].items()))
        if row == self._last:
            self.metrics.pop()
        self._last = row

    def save(self) -> None:
        """Write the kept rows; they are kept on if that fails."""
        if not self.metrics:
            return
        if self._size is None:
            set_aside(self.path)
        self._record_new_keys()
        if self._size is None or self._columns != self.metrics_keys:
            self._replace()
        else:
            self._append(self._size)
        self.metrics = []

    def sync(self) -> None:
        """Write the kept rows, and wait until they are on the disk."""
        self.save()
        if self._size is not None:
            with self.path.open("rb") as file:
                os.fsync(file.fileno())

    def _check_log_dir_exists(self) -> None:
        """Leave the files of an earlier part of the run alone; Lightning deletes them."""

    def _replace(self) -> None:
        """Write all rows, old and new, under the present columns beside the file, and put the result in its place."""
        old: Iterable[Row] = ()
        if self._size is not None:
            with self.path.open("rb") as file:
                old = csv.DictReader(io.StringIO(file.read(self._size).decode(), newline=""))
        contents = _text(self.metrics_keys, [*old, *self.metrics], header=True)
        write_whole(self.path, contents)
        self._size, self._columns = len(contents), [*self.metrics_keys]

    def _append(self, size: int) -> None:
        """Write the new rows behind those that were written whole, over the rest of a write that failed."""
        contents = _text(self.metrics_keys, self.metrics, header=False)
        with self.path.open("r+b", buffering=0) as file:
            end = file.seek(min(size, file.seek(0, os.SEEK_END)))
            file.truncate()
            write_all(file, memoryview(contents))
        self._size = end + len(contents)


class CSVLog(CSVLogger):
    """Lightning's CSV logger with a `RowWriter`: see there. For folders on this machine.

    Args:
        save_dir: Folder of all runs.
        name: Name of the experiment, a folder below it.
        version: Number or name of the run; unset for the next free number.
        prefix: Text in front of the names of metrics.
        flush_logs_every_n_steps: Steps between two writes, where the trainer does not write more often.
    """

    @property
    @rank_zero_experiment
    def experiment(self) -> RowWriter:
        """The writer."""
        if not isinstance(self._experiment, RowWriter):
            Path(self.root_dir).mkdir(parents=True, exist_ok=True)
            self._experiment = RowWriter(self.log_dir)
        return self._experiment

    @rank_zero_only
    def sync(self) -> None:
        """Write all rows, and wait until they are on the disk."""
        self.experiment.sync()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write all rows; where the run has failed, a full disk must not hide the reason.

        Raises:
            OSError: They cannot be written, and the run has not failed.
        """
        try:
            super().finalize(status)
        except OSError as error:
            if status == "success":
                raise
            rank_zero_warn(f"the last rows of metrics.csv are not written ({error})")


class LogKeeper(Callback):
    """Brings the logs up to date before a checkpoint is written, so that a resumed run has no gap.

    Lightning logs a step's row after the checkpoint of that step. If the run is killed in between, nothing logs the
    row again, so `CSVLog` gets it first. A resumed run begins its part of the log with a row of the step at which it
    goes on, see `vision_suite.runs.log.read_log`.
    """

    def __init__(self) -> None:
        self._ahead: tuple[str, int] | None = None
        self._begins = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take note of a resumed run."""
        self._ahead, self._begins = None, trainer.ckpt_path is not None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Log where a resumed run goes on."""
        self._ahead = None
        if self._begins:
            for log in _logs(trainer):
                log.log_metrics({"epoch": trainer.current_epoch}, trainer.fit_loop.epoch_loop._batches_that_stepped)
                log.save()
        self._begins = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """From here on the row of the step may be logged."""
        self._ahead = "step", trainer.fit_loop.epoch_loop._batches_that_stepped

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The row of the step was logged, and validation logs its own before its checkpoint."""
        self._ahead = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on the row of the epoch may be logged."""
        self._ahead = "epoch", trainer.fit_loop.epoch_loop._batches_that_stepped

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Log the row that is due, and write all rows."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        logs = _logs(trainer)
        # A checkpoint between two steps, such as of an exception, comes after the row.
        if logs and self._ahead is not None and self._ahead[1] == trainer.fit_loop.epoch_loop._batches_that_stepped:
            _log_ahead(trainer, logs, self._ahead[0])
        for logger in trainer.loggers:
            logger.save()
        for log in logs:
            log.sync()


def kept(loggers: Any) -> Any:
    """A trainer's ``logger`` argument with `CSVLog` for each of Lightning's CSV loggers, where files are local."""
    if isinstance(loggers, list | tuple):
        return [kept(logger) for logger in loggers]
    if type(loggers) is not CSVLogger or get_filesystem(loggers.save_dir).protocol[0] != "file":
        return loggers
    return CSVLog(loggers.save_dir, loggers._name, loggers._version, loggers._prefix, loggers._flush_logs_every_n_steps)


def set_aside(path: Path) -> None:
    """Rename ``metrics.csv`` to ``metrics-1.csv``, or the next number that is free."""
    if path.is_file():
        taken = [re.fullmatch(rf"{path.stem}-(\d+)", each.stem) for each in path.parent.glob(f"{path.stem}-*.csv")]
        number = max((int(found[1]) for found in taken if found), default=0) + 1
        path.rename(path.with_name(f"{path.stem}-{number}.csv"))


def _logs(trainer: Trainer) -> list[CSVLog]:
    return [logger for logger in trainer.loggers if isinstance(logger, CSVLog)]


def _log_ahead(trainer: Trainer, logs: list[CSVLog], what: str) -> None:
    """Let Lightning log the row of a step or an epoch now, to these logs alone; its own row after it is the same."""
    connector, loop, every = trainer._logger_connector, trainer.fit_loop.epoch_loop, trainer.loggers
    rows: list[Logger] = [*logs]
    trainer.loggers = rows
    try:
        if what == "step":
            connector.update_train_step_metrics()
        else:
            loop._batches_that_stepped -= 1  # as Lightning does for the row of an epoch
            connector.log_metrics(connector.metrics["log"])
            loop._batches_that_stepped += 1
    finally:
        trainer.loggers = every


def _text(keys: list[str], rows: Iterable[Row], *, header: bool) -> bytes:
    """Rows as CSV."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=keys)
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
