"""The best checkpoint by the main score, and names of monitored metrics that do not exist."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from vision_suite.callbacks.progress import LOSS
from vision_suite.errors import ConfigError
from vision_suite.hints import did_you_mean

COUNTERS = ("epoch", "step")  # what a checkpoint may be monitored by besides metrics


class BestCheckpoint(ModelCheckpoint):
    """Keeps ``best.ckpt``, the checkpoint of the best validation, which ``--ckpt_path best`` means.

    A run without a validation monitors the training loss. One whose validation gives no such score writes none.

    Args:
        monitor: Metric of the validation.
        mode: Its better end.
    """

    def __init__(self, monitor: str, mode: Literal["min", "max"]) -> None:
        super().__init__(monitor=monitor, mode=mode, filename="best", enable_version_counter=False)

    @property
    def state_key(self) -> str:
        """Key of its state in checkpoints, the same whatever it monitors."""
        return type(self).__qualname__

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Monitor the training loss where nothing is validated."""
        super().on_train_start(trainer, pl_module)
        if not _validates(trainer):
            self.monitor, self.mode, self._save_on_train_epoch_end = LOSS, "min", True
            if not self.best_k_models:
                self.kth_value = torch.tensor(torch.inf)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save where the score is there."""
        if self.monitor in trainer.callback_metrics:
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save where the score is there."""
        if self.monitor in trainer.callback_metrics:
            super().on_train_epoch_end(trainer, pl_module)


class MonitorCheck(Callback):
    """Refuses the name of a monitored metric that no module logs, before a callback goes on without it.

    Lightning only warns of a checkpoint that monitors nothing, and then keeps any.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a metric of the validation where none runs.

        Raises:
            ConfigError: There is such a callback.
        """
        for callback, monitor in _monitored(trainer):
            if monitor.startswith("val/") and not _validates(trainer):
                raise ConfigError(
                    f"{type(callback).__name__} monitors {monitor}, but the run has no validation: give the data a "
                    "validation split, or monitor train/loss"
                )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look for the metrics of the first validation.

        Raises:
            ConfigError: A monitored one is not among them.
        """
        if not trainer.sanity_checking:
            self._check(trainer, "val/")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look for the metrics of the epoch.

        Raises:
            ConfigError: A monitored one is not among them.
        """
        self._check(trainer, "" if _has_validated(trainer) or not _validates(trainer) else "train/")

    def _check(self, trainer: Trainer, beginning: str) -> None:
        if getattr(trainer, "fast_dev_run", 0):  # its one batch may hold nothing that can be scored
            return
        for callback, monitor in _monitored(trainer):
            known = sorted(trainer.callback_metrics)
            if monitor.startswith(beginning) and monitor not in known:
                raise ConfigError(
                    f"{type(callback).__name__} monitors {monitor!r}, which nothing logs"
                    f"{did_you_mean(monitor, known)} (logged are {', '.join(known) or 'no metrics'})"
                )


def _monitored(trainer: Trainer) -> Iterator[tuple[Callback, str]]:
    """Callbacks that monitor a metric that must be there, with its name."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set from outside the class, so not declared
        if isinstance(callback, EarlyStopping | ModelCheckpoint) and not isinstance(callback, BestCheckpoint):
            counter = isinstance(callback, ModelCheckpoint) and callback.monitor in COUNTERS
            may_be_missing = isinstance(callback, EarlyStopping) and not callback.strict
            if callback.monitor is not None and not counter and not may_be_missing:
                yield callback, callback.monitor


def _validates(trainer: Trainer) -> bool:
    if trainer.training and trainer.enable_validation and not trainer.num_val_batches:
        trainer.fit_loop.epoch_loop.val_loop.setup_data()  # Lightning waits for the first epoch that is validated
    return sum(trainer.num_val_batches) > 0


def _has_validated(trainer: Trainer) -> bool:
    """True once a validation has come to its end."""
    return any(name.startswith("val/") for name in trainer.callback_metrics)
