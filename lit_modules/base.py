"""What every Lightning module of the suite shares: optimiser, loss logging, random numbers that survive a restart."""

from __future__ import annotations

import copy
import inspect
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_info
from pytorch_lightning.utilities.model_helpers import _restricted_classmethod
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor

from vision_suite.errors import ConfigError
from vision_suite.lit_modules.loading import with_renamed_settings
from vision_suite.optim import OptimConfig, build_optimizer, peak_lr
from vision_suite.records import as_record
from vision_suite.types import Report


def plain(value: Any) -> Any:
    """The value in plain containers, which a checkpoint can hold and a safe loader can read."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


class LitBase(pl.LightningModule):
    """Base of the suite's Lightning modules.

    Args:
        optim: Optimiser and schedule.
    """

    def __init__(self, optim: OptimConfig) -> None:
        super().__init__()
        self.optim = as_record(OptimConfig, optim, "optim")
        self.report: Report | None = None

    def save_settings(self) -> None:
        """Record the constructor's arguments as hyper-parameters, in plain containers; call it in ``__init__``."""
        frame = inspect.currentframe()
        frame = None if frame is None else frame.f_back
        # Constructors of subclasses lie further out, and between two of them what `takes_old_names` puts there.
        while frame is not None and frame.f_locals.get("self") is self:
            if "__class__" in frame.f_locals:
                self.save_hyperparameters(frame=frame)
            frame = frame.f_back
        self._set_hparams(plain(dict(self.hparams)))
        self._hparams_initial = copy.deepcopy(self.hparams)

    @_restricted_classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **settings: Any,
    ) -> Self:
        """Build a module from a checkpoint, as Lightning does, also from one that holds settings under old names."""
        if hparams_file is None and weights_only is not False:
            checkpoint_path, settings = with_renamed_settings(checkpoint_path, settings, cls.__name__)
        loaded: Self = super().load_from_checkpoint(
            checkpoint_path, map_location, hparams_file, strict, weights_only, **settings
        )
        return loaded

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimiser and schedule for the whole run.

        Raises:
            ConfigError: The rate scales with the batch, or the schedule with the run's length, and that isn't known.
        """
        trainer = self.trainer
        batch = getattr(trainer.datamodule, "batch_size", None)  # type: ignore[attr-defined]
        if batch is None and self.optim.lr_reference_batch is not None:
            raise ConfigError("optim.lr_reference_batch needs a datamodule with a batch_size: give optim.lr itself")
        global_batch = int(batch or 1) * trainer.world_size * trainer.accumulate_grad_batches
        by_step = self.optim.interval == "step"
        length = trainer.estimated_stepping_batches if by_step else trainer.max_epochs
        total = 0 if length is None or math.isinf(length) else max(int(length), 0)
        optimizer, schedule = build_optimizer(self, self.optim, total=total, global_batch=global_batch)
        rank_zero_info(
            f"{self.optim.name}: peak learning rate {peak_lr(self.optim, global_batch):.4g} at a global batch of "
            f"{global_batch if batch else 'unknown size'}, over {total or 'any number of'} {self.optim.interval}s"
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": self.optim.interval, "name": "lr"},
        }

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed this batch by its place in the run: a resumed run then draws what an uninterrupted one would have."""
        run_seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        # Not Lightning's total batch count, which a restart after a failed batch takes up one too high.
        place = (run_seed, self.global_rank, self.current_epoch, batch_idx)
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))

    def log_losses(self, losses: Mapping[str, Tensor], total: Tensor, batch_size: int) -> None:
        """Log ``train/loss`` and ``train/loss_<part>``."""
        parts = {f"train/loss_{name}": value.detach() for name, value in losses.items()}
        self.log_dict(parts, batch_size=batch_size)
        self.log("train/loss", total.detach(), prog_bar=True, batch_size=batch_size)
