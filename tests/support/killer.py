"""Callbacks for tests that end their own process, as a full machine, a time limit or a fault would."""

import os
import signal

from pytorch_lightning import Callback


class KillBeforeStep(Callback):
    """Sends SIGKILL before a training step, so that nothing can be saved on the way out."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


class SignalAt(Callback):
    """Sends a signal to its own process, and only from one rank of a group.

    Args:
        number: Signal.
        hook: Method of a callback in which it is sent.
        step: Step at which it is sent.
        rank: Process that sends it to itself.
    """

    def __init__(self, number: int, hook: str = "on_train_batch_start", step: int = 0, rank: int = 0) -> None:
        self.number, self.step, self.rank = number, step, rank
        setattr(self, hook, self._send)

    def _send(self, trainer, *args, **kwargs) -> None:
        if trainer.global_step == self.step and trainer.global_rank == self.rank:
            os.kill(os.getpid(), self.number)


class FailAt(Callback):
    """Raises an error in one process of a group.

    Args:
        step: Step at which it is raised.
        rank: Process that raises it.
    """

    def __init__(self, step: int, rank: int) -> None:
        self.step, self.rank = step, rank

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_step == self.step and trainer.global_rank == self.rank:
            raise TypeError("a fault of the test")
