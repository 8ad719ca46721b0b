"""Exponential moving average of a network's trainable weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.callbacks.model_checkpoint import ModelCheckpoint
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn

from vision_suite.errors import CheckpointError, ConfigError

KEY = "ema"


class EMA(Callback):
    """Averages the trainable weights of ``pl_module.model`` and evaluates with the average.

    After each optimiser step ``average <- d average + (1 - d) weights`` with ``d = min(decay, (1 + t) / (10 + t))``
    after t updates, so that the first weights are soon forgotten. Buffers (running statistics) and frozen weights are
    not averaged; evaluation uses them as they are. The average is kept in float32 at least.

    The average stands in for the weights during validation, and for good once training ends. In a checkpoint
    ``state_dict`` holds the average, so `load_from_checkpoint`, test and export use it without knowing of this class;
    ``checkpoint["ema"]["weights"]`` holds the weights that training goes on with, and resuming puts both back exactly.
    Weights are exchanged in place, which distributed and compiled networks do not notice.

    Args:
        decay: Share of the average that a step keeps, once warmed up.
        warmup: Start with small decays.
        device: Device of the average: ``same`` as the weights, or ``cpu`` to save accelerator memory.
    """

    def __init__(self, decay: float = 0.999, warmup: bool = True, device: Literal["same", "cpu"] = "same") -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"EMA decay={decay} must lie in [0, 1)")
        self.decay, self.warmup, self.device = decay, warmup, device
        self.updates = 0
        self._average: dict[str, Tensor] = {}
        self._training: dict[str, Tensor] = {}
        self._step = 0

    def decay_at(self, updates: int) -> float:
        """Decay of the next update, after a number of updates."""
        return min(self.decay, (1 + updates) / (10 + updates)) if self.warmup else self.decay

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Start anew with each fit.

        Raises:
            ConfigError: Weights are sharded over processes, or checkpoints would leave the training weights out.
        """
        if stage != "fit":
            return
        if isinstance(trainer.strategy, FSDPStrategy | DeepSpeedStrategy | ModelParallelStrategy):
            raise ConfigError(f"EMA cannot average weights sharded by {type(trainer.strategy).__name__}: use ddp")
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.save_weights_only:
                raise ConfigError("save_weights_only checkpoints lack the average: leave it off, or leave EMA out")
        self.updates = 0
        self._average, self._training = {}, {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the weights over, unless a checkpoint brought the average.

        Raises:
            ConfigError: The module has no network in ``model``.
        """
        self._step = trainer.global_step
        for name, weight in _trainable(pl_module):
            self._average[name] = self._keep(self._average.get(name, weight), weight)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Update the average after an optimiser step; accumulated batches in between do nothing."""
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        averages, weights = [], []
        for name, weight in _trainable(pl_module):
            if name not in self._average:  # unfrozen since
                self._average[name] = self._keep(weight, weight)
            averages.append(self._average[name])
            weights.append(weight.detach().to(averages[-1]))
        torch._foreach_lerp_(averages, weights, 1 - self.decay_at(self.updates))
        self.updates += 1

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the average in, within a fit (after it, it is in)."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._put_average(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go back to the training weights, within a fit."""
        if trainer.state.fn == TrainerFn.FITTING:
            _copy(self._training, pl_module)
            self._training = {}

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the average in the network."""
        self._put_average(pl_module)

    def held_weights(self) -> Iterator[tuple[str, Tensor]]:
        """The average, and while it stands in for the weights these, by their names in ``pl_module.model``."""
        yield from ((f"the average of {name}", value) for name, value in self._average.items())
        yield from self._training.items()

    def state_dict(self) -> dict[str, int]:
        """Number of updates; with it Lightning warns when a run is resumed without this callback."""
        return {"updates": self.updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the update count over."""
        self.updates = state_dict["updates"]

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store the average as the model's weights and the training weights beside it."""
        if trainer.state.fn != TrainerFn.FITTING or not self._average:
            return
        state, weights, wide = checkpoint["state_dict"], {}, {}
        for name, weight in _trainable(pl_module):
            average = self._average.get(name, weight).detach()
            weights[name] = self._training.get(name, weight).detach()
            state[f"model.{name}"] = average.to(weight)
            if average.dtype != weight.dtype:
                wide[name] = average
        checkpoint[KEY] = {"weights": weights, "average": wide}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take the loaded weights as the average and put the training weights in, when a fit is resumed.

        Raises:
            CheckpointError: The stored training weights are not those of this network.
        """
        if trainer.state.fn != TrainerFn.FITTING:
            return
        if KEY not in checkpoint:
            rank_zero_warn("The checkpoint was written without EMA: averaging starts from its weights")
            return
        stored = checkpoint[KEY]
        current = dict(_trainable(pl_module))
        if missing := sorted(stored["weights"].keys() - current.keys()):
            raise CheckpointError(
                f"the checkpoint averages weights that are not trainable here, such as {missing[0]!r}"
            )
        for name in stored["weights"]:
            self._average[name] = self._keep(stored["average"].get(name, current[name]), current[name])
        _copy(stored["weights"], pl_module)

    def _keep(self, value: Tensor, weight: Tensor) -> Tensor:
        """A copy of a weight's average, on the device and of the dtype in which averages are kept."""
        dtype = torch.promote_types(weight.dtype, torch.float32)
        device = torch.device("cpu") if self.device == "cpu" else weight.device
        return value.detach().to(device, dtype, copy=True)

    def _put_average(self, pl_module: pl.LightningModule) -> None:
        if not self._training:
            names = self._average.keys()
            self._training = {
                name: weight.detach().to(self._average[name].device, copy=True)
                for name, weight in _trainable(pl_module)
                if name in names
            }
            _copy(self._average, pl_module)


def _trainable(pl_module: pl.LightningModule) -> Iterator[tuple[str, nn.Parameter]]:
    network = getattr(pl_module, "model", None)
    if not isinstance(network, nn.Module):
        raise ConfigError(
            f"EMA averages the network in `model`, which {type(pl_module).__name__} does not have: keep the network "
            "there, or leave EMA out"
        )
    return ((name, weight) for name, weight in network.named_parameters() if weight.requires_grad)


@torch.no_grad()
def _copy(values: Mapping[str, Tensor], pl_module: pl.LightningModule) -> None:
    for name, weight in _trainable(pl_module):
        if name in values:
            weight.copy_(values[name])
