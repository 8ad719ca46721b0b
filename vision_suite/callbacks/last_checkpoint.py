"""A checkpoint of the newest epoch, which ``--ckpt_path last`` goes on from."""

from __future__ import annotations

from pytorch_lightning.callbacks import ModelCheckpoint

from vision_suite.runs.folders import LAST


class LastCheckpoint(ModelCheckpoint):
    """Writes ``last.ckpt`` at the end of every training epoch, in place of the one before.

    ``save_last`` alone does not promise that: with a monitored metric it writes only when the metric improves. As a
    class of its own it keeps its state apart from that of a `ModelCheckpoint` with the same settings.
    """

    def __init__(self) -> None:
        super().__init__(
            filename=LAST.removesuffix(".ckpt"), save_on_train_epoch_end=True, enable_version_counter=False
        )
