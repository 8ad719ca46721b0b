"""Progress of a run on the terminal, as a bar or as lines; the network that is trained, and the result."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint, ProgressBar, RichProgressBar
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info
from rich import get_console

from vision_suite.callbacks.run_dir import run_dir

LOSS, VALIDATION_LOSS = "train/loss", "val/loss"
SECONDS = 60.0  # between two lines of a long epoch


class Bar(RichProgressBar):
    """Rich's progress bar, without the number of the run."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The metrics beside the bar."""
        metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


class ProgressLines(ProgressBar):
    """One line an epoch with the loss, the monitored metrics and the time; in long epochs one a minute.

    Lines replace the bar where the output is a file or a pipe.
    """

    def __init__(self) -> None:
        super().__init__()
        self._on = True
        self._began = self._epoch_began = self._told = 0.0
        self._first_epoch = self._first_step = 0

    def disable(self) -> None:
        """Print nothing, as in all processes but the first."""
        self._on = False

    def enable(self) -> None:
        """Print lines."""
        self._on = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the time."""
        self._began = self._epoch_began = self._told = time.monotonic()  # resumed within an epoch, none begins
        self._first_epoch, self._first_step = trainer.current_epoch, trainer.global_step

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the time."""
        self._epoch_began = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print a line if the last one is a minute old."""
        self._tell_batch(
            f"epoch {_epoch(trainer)}",
            batch_idx,
            self.total_train_batches,
            "; ".join(part for part in (_values(trainer, [LOSS]), self._left(trainer)) if part),
        )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line of the epoch, validation included."""
        now = time.monotonic()
        times = _duration(now - self._epoch_began)
        done, last = trainer.current_epoch + 1, trainer.max_epochs
        rest = math.inf
        if last is not None and last >= 0:
            rest = (now - self._began) / (done - self._first_epoch) * (last - done)
        left = self._left(trainer, rest)
        times += f", {left}" if left else ""
        parts = [f"epoch {_epoch(trainer)}", f"step {trainer.global_step}"]
        values = _values(trainer, dict.fromkeys([LOSS, *_monitored(trainer)]))
        self._tell(f"{', '.join(parts)}: {values + '; ' if values else ''}{times}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print a line about a validation in mid-epoch; that of a whole epoch has the epoch's line."""
        training = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if training and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            values = _values(trainer, dict.fromkeys([LOSS, VALIDATION_LOSS, *_monitored(trainer)]))
            parts = [part for part in (values, self._left(trainer)) if part]
            self._tell(f"epoch {_epoch(trainer)}, step {trainer.global_step}: {'; '.join(['validated', *parts])}")

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Print a line if the last one is a minute old."""
        self._tell_batch("validation", batch_idx, trainer.num_val_batches[dataloader_idx])

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Print a line if the last one is a minute old."""
        self._tell_batch("test", batch_idx, trainer.num_test_batches[dataloader_idx])

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Print a line if the last one is a minute old."""
        self._tell_batch("prediction", batch_idx, trainer.num_predict_batches[dataloader_idx])

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin to count the minute."""
        super().setup(trainer, pl_module, stage)
        self._told = time.monotonic()

    def _left(self, trainer: Trainer, by_epochs: float = math.inf) -> str:
        """Time that is left in words, by the number of steps if the run has one; empty at the end or if not known.

        Args:
            trainer: Trainer.
            by_epochs: Seconds that the epochs leave, infinite if they are not known.
        """
        done, seconds = trainer.global_step - self._first_step, by_epochs
        if trainer.max_steps > 0 and done > 0:
            steps = trainer.max_steps - trainer.global_step
            seconds = min(seconds, (time.monotonic() - self._began) / done * steps)
        if trainer.should_stop or not 0 < seconds < math.inf:
            return ""
        return f"about {_duration(seconds)} left"

    def _tell_batch(self, what: str, batch: int, batches: float, values: str = "") -> None:
        if time.monotonic() - self._told >= SECONDS:
            of = f" of {int(batches)}" if math.isfinite(batches) else ""
            self._tell(f"{what}, batch {batch + 1}{of}{': ' if values else ''}{values}")

    def _tell(self, line: str) -> None:
        self._told = time.monotonic()
        if self._on:
            self.print(line, flush=True)


class RunLines(Callback):
    """Prints what is trained, and at the end what came of it: epochs, time, monitored metrics, checkpoints."""

    def __init__(self) -> None:
        self._began = 0.0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the network, its size, the device and the precision."""
        self._began = time.monotonic()
        network = getattr(pl_module, "model", pl_module)
        sizes = [(each.numel(), each.requires_grad) for each in pl_module.parameters()]
        total, trained = sum(size for size, _ in sizes), sum(size for size, grad in sizes if grad)
        processes = f" x {trainer.world_size}" if trainer.world_size > 1 else ""
        share = "all" if trained == total else _count(trained)
        rank_zero_info(
            f"training {type(network).__name__}: {_count(total)} parameters, {share} trained, on "
            f"{trainer.strategy.root_device.type}{processes} in {trainer.precision}"
        )

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print what came of the training."""
        epochs, steps = trainer.current_epoch, trainer.global_step
        parts = [f"trained to epoch {epochs}, step {steps}, in {_duration(time.monotonic() - self._began)}"]
        values = _values(trainer, _monitored(trainer))
        parts += [values] if values else []
        for callback in _savers(trainer):
            if callback.best_model_score is not None and callback.best_model_path:
                best = f"{callback.monitor} {float(callback.best_model_score):.4g}"
                parts.append(f"best {best} in {Path(callback.best_model_path).name}")
        saved = any(isinstance(each, Checkpoint) for each in trainer.callbacks)  # type: ignore[attr-defined]
        where = f"{'checkpoints and ' if saved and not getattr(trainer, 'fast_dev_run', 0) else ''}logs"
        rank_zero_info(f"{'; '.join(parts)}; {where} in {run_dir(trainer)}")


def progress(*, bar: bool | None = None) -> ProgressBar:
    """The bar where a terminal or a notebook shows it, else lines.

    Args:
        bar: Choice between them; by default that of the output.
    """
    console = get_console()
    shown = (console.is_terminal or console.is_jupyter) if bar is None else bar
    return Bar() if shown else ProgressLines()


def _savers(trainer: Trainer) -> list[ModelCheckpoint]:
    """Callbacks that keep the best checkpoints by a metric."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [each for each in callbacks if isinstance(each, ModelCheckpoint) and each.monitor is not None]


def _monitored(trainer: Trainer) -> list[str]:
    """Names of the metrics by which checkpoints are kept or training ends, each once."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    names = [str(each.monitor) for each in _savers(trainer)]
    names += [each.monitor for each in callbacks if isinstance(each, EarlyStopping)]
    return list(dict.fromkeys(names))


def _values(trainer: Trainer, names: Iterable[str]) -> str:
    """The present values of metrics, without those that are not there."""
    found = trainer.callback_metrics
    return ", ".join(f"{name} {float(found[name]):.4g}" for name in names if name in found)


def _epoch(trainer: Trainer) -> str:
    last = trainer.max_epochs
    return f"{trainer.current_epoch + 1}" + (f" of {last}" if last is not None and last > 0 else "")


def _duration(seconds: float) -> str:
    """Seconds in words, such as ``8 min 3 s``."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _count(number: int) -> str:
    """A number of parameters, such as ``1.2 M``."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.1f} {letter}"
    return str(number)
