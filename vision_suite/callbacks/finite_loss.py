"""Training ends at the first loss that is not finite, and no checkpoint ever holds weights that are not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from vision_suite.callbacks.ema import EMA
from vision_suite.errors import TrainingError
from vision_suite.faults import ANOMALY

LOSS = "train/loss"
STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True)
class _Step:
    """Losses of one training step, on their way to the processor.

    Attributes:
        epoch: Epoch, from 0.
        step: Optimiser steps done.
        names: Names of the losses; the first decides.
        values: Their values, and last the number of processes without a finite loss.
        copied: Event after which ``values`` may be read; None if they may be read at once.
    """

    epoch: int
    step: int
    names: list[str]
    values: Tensor
    copied: torch.cuda.Event | None


class FiniteLoss(Callback):
    """Stops training with a `TrainingError` at the first loss that is not finite, in all processes together.

    In float16 a gradient scaler skips steps whose gradients overflow; these are tolerated until its factor has come
    down to 1. On CUDA the loss of a step is looked at during the next one, so that no step waits for the device. Before
    a checkpoint is written, the trainable weights, their moving average and the running statistics of normalisations
    are looked at too: the file of the last good ones stays.

    With manual optimisation, and no loss returned by ``training_step``, every logged ``train/loss...`` counts.
    """

    def __init__(self) -> None:
        self._waiting: _Step | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the steps of an earlier fit."""
        self._waiting = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the loss: on CUDA at that of the step before, elsewhere at this one's.

        Raises:
            TrainingError: It is not finite.
        """
        before, self._waiting = self._waiting, _losses(trainer, pl_module, outputs)
        if before is not None:
            _judge(trainer, before)
        if self._waiting.copied is None:
            self._settle(trainer)
        if any(_saves_at_step(callback, trainer) for callback in _bare(trainer)):
            self._check(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the weights if a checkpoint of weights alone may follow, for which Lightning calls no callback."""
        if _bare(trainer):
            self._check(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the last loss before time goes into validation."""
        self._settle(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the weights if a checkpoint of weights alone may follow."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking and _bare(trainer):
            self._check(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the last loss."""
        self._settle(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Look at the last loss and at the weights before a checkpoint is written.

        Raises:
            TrainingError: They are not finite.
        """
        if trainer.state.fn == TrainerFn.FITTING:
            self._check(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Name the losses of the step that are not finite where torch's detection of anomalies ends training."""
        if ANOMALY in str(exception):
            values = {name: value for name, value in trainer.callback_metrics.items() if name.startswith(LOSS)}
            wrong = {name: float(value) for name, value in values.items() if not value.isfinite().all()}
            parts = {name: value for name, value in wrong.items() if name != LOSS} or wrong
            if parts:
                exception.add_note(", ".join(f"{name} is {value}" for name, value in parts.items()))

    def _settle(self, trainer: Trainer) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            _judge(trainer, waiting)

    def _check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._settle(trainer)
        bad = [f"{name} is not finite" for name in _not_finite(_weights(trainer, pl_module))[:1]]
        if _agreed(trainer, bool(bad)):
            found = _gathered(trainer, ", ".join(bad))
            raise _error(trainer, "a weight", trainer.current_epoch, trainer.global_step, found)


def _losses(trainer: Trainer, pl_module: LightningModule, outputs: Any) -> _Step:
    """The losses of the step that has just ended, on their way to the processor."""
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    logged = {name: value for name, value in trainer.callback_metrics.items() if name.startswith(LOSS)}
    named: dict[str, Tensor] = {}
    if isinstance(loss, Tensor):
        named = {LOSS: loss, **{name: value for name, value in logged.items() if name != LOSS}}
    elif not pl_module.automatic_optimization and logged:
        named = logged
    # Nothing returned: the step was skipped, and what is logged is of another one.
    device = loss.device if isinstance(loss, Tensor) else pl_module.device
    wide = torch.float32 if device.type == "mps" else torch.float64
    values = torch.zeros(1, dtype=wide, device=device)
    if named:
        values = torch.stack([value.detach().to(device, wide).mean() for value in named.values()])
    deciding = values[:1] if pl_module.automatic_optimization else values
    bad = (~deciding.isfinite()).any().to(wide)
    if _several(trainer):
        dist.all_reduce(bad)
    values = torch.cat([values, bad[None]])
    copied = None
    if device.type == "cuda":
        pinned = torch.empty(values.shape, dtype=wide, pin_memory=True)
        values = pinned.copy_(values, non_blocking=True)
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record()
    return _Step(trainer.current_epoch, trainer.global_step, list(named), values, copied)


def _judge(trainer: Trainer, step: _Step) -> None:
    """Raise the error of a step whose loss is not finite, unless a gradient scaler has skipped it."""
    if step.copied is not None:
        step.copied.synchronize()
    *values, bad = step.values.tolist()
    if not bad:
        return
    wrong = {name: value for name, value in zip(step.names, values, strict=False) if not math.isfinite(value)}
    parts = {name: value for name, value in wrong.items() if name != LOSS} or wrong
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    factor = scaler.get_scale() if scaler is not None and scaler.is_enabled() else None
    if not _agreed(trainer, factor is None or factor <= 1):
        return
    scaled = "" if factor is None else f" (the gradient scaler's factor has come down to {factor:g})"
    words = ", ".join(f"{name} is {value}" for name, value in parts.items())
    raise _error(
        trainer, "the training loss", step.epoch, step.step, _gathered(trainer, words + scaled if words else "")
    )


def _error(trainer: Trainer, what: str, epoch: int, step: int, found: list[str]) -> TrainingError:
    """The error, with the finding of each process and the next steps."""
    named = [words if len(found) == 1 else f"{words} in process {rank}" for rank, words in enumerate(found) if words]
    good = _last_checkpoint(trainer)
    return TrainingError(
        f"{what} is not finite in epoch {epoch} at step {step}: {'; '.join(named)}: lower the rate (--model.optim.lr), "
        "or let --trainer.detect_anomaly=true find the operation; "
        + (f"the last good checkpoint is {good}" if good else "no checkpoint was written before")
    )


def _weights(trainer: Trainer, pl_module: LightningModule) -> Iterator[tuple[str, Tensor]]:
    """Trainable weights, running statistics of normalisations, and the weights that moving averages hold."""
    yield from ((name, weight.detach()) for name, weight in pl_module.named_parameters() if weight.requires_grad)
    yield from ((name, value) for name, value in pl_module.named_buffers() if name.rpartition(".")[2] in STATISTICS)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set from outside the class, so not declared
        if isinstance(callback, EMA):
            yield from callback.held_weights()


def _not_finite(weights: Iterable[tuple[str, Tensor]]) -> list[str]:
    """The names of the tensors that hold a number that is not finite; one wait for each device."""
    by_device: dict[torch.device, list[tuple[str, Tensor]]] = {}
    for name, weight in weights:
        if weight.is_floating_point() and weight.numel():
            by_device.setdefault(weight.device, []).append((name, weight.isfinite().all()))
    found = []
    for flags in by_device.values():
        good = torch.stack([flag for _, flag in flags]).tolist()
        found += [name for (name, _), fine in zip(flags, good, strict=True) if not fine]
    return found


def _several(trainer: Trainer) -> bool:
    """True if the run has several processes that can talk to each other."""
    return trainer.world_size > 1 and dist.is_available() and dist.is_initialized()


def _agreed(trainer: Trainer, bad: bool) -> bool:
    """True in every process if one of them found something."""
    if not _several(trainer):
        return bad
    flag = torch.tensor(float(bad), device=trainer.strategy.root_device)
    dist.all_reduce(flag)
    return bool(flag)


def _gathered(trainer: Trainer, words: str) -> list[str]:
    """The findings of all processes in the order of their ranks. All must call this together."""
    if not _several(trainer):
        return [words]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, words)
    return [str(each) for each in found]


def _bare(trainer: Trainer) -> list[ModelCheckpoint]:
    """Checkpoint callbacks that write weights alone."""
    found = (each for each in trainer.checkpoint_callbacks if isinstance(each, ModelCheckpoint))
    return [each for each in found if each.save_weights_only]


def _saves_at_step(callback: ModelCheckpoint, trainer: Trainer) -> bool:
    """True if a checkpoint callback may write after this step."""
    every = callback._every_n_train_steps
    return callback._train_time_interval is not None or (every > 0 and trainer.global_step % every == 0)


def _last_checkpoint(trainer: Trainer) -> str | None:
    """The newest checkpoint of the run, or the one that it was resumed from."""
    written = (each for each in trainer.checkpoint_callbacks if isinstance(each, ModelCheckpoint))
    paths = [Path(path) for each in written for path in (each.last_model_path, each.best_model_path) if path]
    found = [path for path in paths if path.is_file()]
    if found:
        return str(max(found, key=lambda path: path.stat().st_mtime_ns))
    return None if trainer.ckpt_path is None else str(trainer.ckpt_path)
