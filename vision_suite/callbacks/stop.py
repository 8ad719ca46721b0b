"""Saving and ending a training run on a signal."""

from __future__ import annotations

import signal
import threading
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from vision_suite.callbacks.run_dir import run_dir
from vision_suite.errors import Stopped
from vision_suite.runs.folders import CHECKPOINTS, LAST

EVERY = 4


class SaveBeforeStop(Checkpoint):
    """Writes ``checkpoints/last.ckpt`` and ends training after SIGUSR1, at a batch from which it resumes exactly.

    That is the end of the batch in progress, unless gradients are accumulated or a validation follows; at the end of an
    epoch the epoch is finished first, with its own checkpoint. Training that is complete then ends as usual. Several
    processes agree on the batch, whichever of them received the signal.

    Lightning runs callbacks of this base class after all others, so the checkpoint holds what they did in the batch.
    """

    def __init__(self) -> None:
        self.requested = False
        self._agreed = False
        self._step = 0
        self._earlier: Any = None
        self._group: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signal over: before, there is nothing to save and it ends the command at once."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]  # set from outside the class, so not declared
            return
        self.requested = self._agreed = False
        self._step = trainer.global_step
        if trainer.world_size > 1 and dist.is_available() and dist.is_initialized():
            # A group on the CPU: the exchange must not wait for the GPU.
            self._group = dist.new_group(backend="gloo")
        number = getattr(signal, "SIGUSR1", None)
        if number is not None and threading.current_thread() is threading.main_thread():
            earlier = signal.getsignal(number)
            if earlier is not signal.SIG_IGN:
                self._earlier = earlier
                signal.signal(number, self._request)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End between two epochs; the checkpoint of the earlier one is written.

        Raises:
            Stopped: The signal was received.
        """
        if self._agree():
            self._stop()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Save and end in the middle of an epoch.

        Raises:
            Stopped: The signal was received.
        """
        stepped = trainer.global_step != self._step
        self._step = trainer.global_step
        if self._group is None or (batch_idx + 1) % EVERY == 0:
            self._agree()
        if not self._agreed or not stepped or trainer.is_last_batch or validation_follows(trainer, batch_idx):
            return
        if trainer.should_stop or trainer.global_step == trainer.max_steps:
            return  # training is complete
        trainer.save_checkpoint(run_dir(trainer) / CHECKPOINTS / LAST, False)
        self._stop()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the signal to the command again."""
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the signal to the command again."""
        self._restore()

    def _request(self, number: int, frame: object) -> None:
        """Remember the signal."""
        self.requested = True

    def _agree(self) -> bool:
        """True in all processes if one of them received the signal before its call; all must call this together."""
        if self._group is not None and not self._agreed:
            flag = torch.tensor([self.requested], dtype=torch.int32)
            dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self._group)
            self.requested = bool(flag.item())
        self._agreed = self._agreed or self.requested
        return self._agreed

    def _stop(self) -> NoReturn:
        """End through the command's handler, which then knows that the command ends and ignores further signals."""
        if callable(self._earlier):
            self._earlier(signal.SIGUSR1, None)
        raise Stopped(signal.SIGUSR1)

    def _restore(self) -> None:
        if self._earlier is not None:
            signal.signal(signal.SIGUSR1, self._earlier)
            self._earlier = None


def validation_follows(trainer: Trainer, batch_idx: int) -> bool:
    """True if a validation may come after a batch: a checkpoint of that moment would resume without it."""
    interval = trainer.val_check_batch
    return trainer.enable_validation and isinstance(interval, int) and (batch_idx + 1) % interval == 0
