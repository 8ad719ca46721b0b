"""Settings of a resumed run against those of its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import Trainer
from torch.optim.lr_scheduler import LambdaLR

from vision_suite.errors import ConfigError
from vision_suite.optim import OptimConfig
from vision_suite.optim_resume import Plan, apply_settings, options_of
from vision_suite.records import as_record
from vision_suite.renamed import renamed_class, with_new_names

if TYPE_CHECKING:
    from vision_suite.lit_modules.base import LitBase

# Without it nothing is fetched that the checkpoint would replace anyway: a run resumes where nothing can be fetched.
MAY_BE_SWITCHED_OFF = ("pretrained",)


class Resumed:
    """Optimiser and schedule of a run whose states come from a checkpoint.

    Args:
        optimizer: Optimiser, before the checkpoint's state is loaded.
        schedule: Its schedule.
        now: Present settings.
        saved: Settings of the checkpoint.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: LambdaLR, now: Plan, saved: Plan) -> None:
        self.optimizer, self.schedule, self.now, self.saved = optimizer, schedule, now, saved
        self.options = options_of(optimizer)

    def apply(self, step: int, epoch: int) -> str | None:
        """See `vision_suite.optim_resume.apply_settings`; to be called after the states were loaded."""
        return apply_settings(self.optimizer, self.schedule, self.options, self.now, self.saved, step=step, epoch=epoch)


@dataclass(frozen=True)
class Position:
    """Position of the run in a checkpoint.

    Attributes:
        step: Optimiser steps done.
        epochs: Epochs done.
        batches: Batches done of the epoch that has begun, 0 between two epochs.
    """

    step: int
    epochs: int
    batches: int

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any]) -> Position | None:
        """Position that a checkpoint tells; None if it was saved without loops."""
        try:
            loops = checkpoint["loops"]["fit_loop"]
            epoch, batch = loops["epoch_progress"]["current"], loops["epoch_loop.batch_progress"]
            # Lightning counts an epoch as done after its last batch, before it has processed its end.
            done = batch["is_last_batch"]
            ahead = 1 if done and epoch["processed"] < epoch["ready"] else 0
            return cls(
                checkpoint["global_step"], epoch["processed"] + ahead, 0 if done else batch["current"]["processed"]
            )
        except (KeyError, TypeError):
            return None

    def steps_of_run(self, per_epoch: int, accumulated: int, max_epochs: int, max_steps: int) -> int:
        """Optimiser steps of the whole run: those done, with whatever batches, and those that follow.

        Args:
            per_epoch: Steps of an epoch from now on.
            accumulated: Batches of a step from now on.
            max_epochs: Epochs of the run.
            max_steps: Most steps of the run; -1 for no such limit.
        """
        total = self.step + max(max_epochs - self.epochs, 0) * per_epoch - self.batches // accumulated
        return total if max_steps == -1 else min(total, max_steps)


def check_batches(position: Position | None, now: Plan, saved: Plan) -> None:
    """Refuse batches of another size in the middle of an epoch: the data are continued behind so many batches.

    Raises:
        ConfigError: The size differs.
    """
    if position is None or not position.batches or None in (now.batch, saved.batch) or now.batch == saved.batch:
        return
    raise ConfigError(
        f"--data.batch_size: batches of {now.batch} samples over all devices, and the checkpoint was saved in the "
        f"middle of epoch {position.epochs}, behind {position.batches} batches of {saved.batch}: keep that size, or go "
        "on from a checkpoint of an epoch's end"
    )


def lengths(trainer: Trainer, optim: OptimConfig, position: Position | None) -> tuple[int, int | None]:
    """Length of a run, and of an epoch.

    Args:
        trainer: Trainer of the run.
        optim: Settings of the schedule.
        position: Position at which the run goes on, None if it begins.

    Returns:
        Length of the run in steps or epochs, as ``optim.interval`` says, 0 if it has no end; and the optimiser steps of
        an epoch, None if unknown or if the schedule moves by epochs.
    """
    by_step = optim.interval == "step"
    length = trainer.estimated_stepping_batches if by_step else trainer.max_epochs
    per_epoch = None
    if by_step and not math.isinf(trainer.num_training_batches):
        per_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        if position is not None and trainer.max_epochs not in (None, -1):
            length = position.steps_of_run(
                per_epoch, trainer.accumulate_grad_batches, max(trainer.max_epochs or 0, 1), trainer.max_steps
            )
    return (0 if length is None or math.isinf(length) else max(int(length), 0)), per_epoch


def saved_plan(checkpoint: Mapping[str, Any]) -> Plan | None:
    """The settings with which a checkpoint's run trained; of an older file those of its hyper-parameters, or None."""
    if "optim" in checkpoint:
        return Plan.from_plain(checkpoint["optim"])
    settings = checkpoint.get("hyper_parameters", {}).get("optim")
    return None if settings is None else Plan(as_record(OptimConfig, settings, "optim"))


def check_start_only(module: LitBase, checkpoint: Mapping[str, Any]) -> None:
    """Refuse other values of settings that count only when a run starts.

    Args:
        module: Module of the resumed run.
        checkpoint: Contents of the checkpoint.

    Raises:
        ConfigError: A value differs.
    """
    stored = with_new_names(renamed_class(type(module)), checkpoint.get("hyper_parameters") or {})
    for name in module.start_only:
        old, new = _setting(stored, name), _setting(module.hparams, name)
        # A setting that one side does not name has its default there.
        if old is None or new is None or old == new or (name in MAY_BE_SWITCHED_OFF and not new):
            continue
        raise ConfigError(
            f"--model.{name}={new}: the checkpoint's run started with {old}, and the setting counts only when a run "
            "starts: leave it out, or start a new run"
        )


def _setting(settings: object, name: str) -> object:
    """A value by its dotted name, None if there is none."""
    for part in name.split("."):
        if not isinstance(settings, Mapping) or part not in settings:
            return None
        settings = settings[part]
    return list(settings) if isinstance(settings, tuple) else settings
