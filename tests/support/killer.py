"""A callback for tests that kills its own process, as a full machine or a time limit would."""

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
