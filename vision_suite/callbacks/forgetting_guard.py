"""A guard against forgetting: drift on held-out text while training, and what to do about too much of it."""

from __future__ import annotations

import math
from typing import Any, Literal, Protocol, cast, get_args, runtime_checkable

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from vision_suite.datasets.conversations.batches import padded
from vision_suite.datasets.conversations.encode import Sample
from vision_suite.datasets.instruct.data import InstructData
from vision_suite.errors import ConfigError, check_choice, check_number
from vision_suite.lit_modules.base import datamodule_of
from vision_suite.metrics.instruct.attention_shift import attention_shift
from vision_suite.metrics.instruct.forgetting import Drift, hidden_drift
from vision_suite.models.wings.attach import Attached, row_masses
from vision_suite.types.instruct import IGNORED, InstructBatch

Action = Literal["warn", "cut", "stop"]
CUT = 0.5  # factor on every rate


class Network(Protocol):
    """Network whose language model is looked at."""

    head_weight: Tensor

    def hidden(self, batch: InstructBatch) -> Tensor:
        """Last hidden states (B, S, d)."""


class Reference(Protocol):
    """The language model before any training."""

    def states(self, batch: InstructBatch) -> tuple[Tensor, Tensor]:
        """Last hidden states (B, S, d) and output embeddings (V, d)."""


@runtime_checkable
class Guarded(Protocol):
    """Module whose language model can be compared with the untouched one, such as `LitWings`."""

    model: Network
    untouched: Reference | None


class ForgettingGuard(Callback):
    """Measures the drift on held-out text every so many steps, and acts where it is too large.

    The text is that of the validation rows that are plain text. The reference is the language model before any
    training: a frozen decoder without its wings, or else a copy from its file; the module sees to that. Logged are
    ``train/drift_kl`` (nats a token), ``train/drift_agreement`` (share of tokens whose likeliest next token is the
    same) and, for a model with wings, ``train/attention_shift`` of the rows of the next training batch with pictures (a
    packed row is one).

    Args:
        every: Number of optimiser steps between two looks.
        max_kl: KL divergence in nats a token above which the guard acts; None for no bound.
        min_agreement: Share of equal likeliest tokens below which the guard acts; None for no bound.
        action: Action on too much drift: warn once, halve every learning rate at each look at which the KL divergence
            has grown since the look before, or stop training.
        texts: Number of texts, the first of the validation rows.
        length: Largest number of ids of a text.

    Raises:
        ConfigError: A number out of its range, or an unknown action.
    """

    def __init__(
        self,
        every: int = 100,
        max_kl: float | None = None,
        min_agreement: float | None = None,
        action: Action = "warn",
        texts: int = 8,
        length: int = 160,
    ) -> None:
        for name, value, least in (("every", every, 1), ("texts", texts, 1), ("length", length, 2)):
            check_number(name, value, low=least, whole=True)
        if max_kl is not None:
            check_number("max_kl", max_kl, low=0.0)
        if min_agreement is not None:
            check_number("min_agreement", min_agreement, low=0.0, high=1.0)
        check_choice("action", action, get_args(Action))
        self.every, self.max_kl, self.min_agreement, self.action = every, max_kl, min_agreement, action
        self.texts, self.length = texts, length
        self.cuts = 0
        self._last_kl = 0.0
        self._awaits_pictures = False
        self._warned = False
        self._step = -1
        self._samples: list[Sample] = []
        self._pad_id = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the texts.

        Raises:
            ConfigError: The module has no untouched model to compare with, or the validation rows hold no plain text.
        """
        data = datamodule_of(trainer)
        if not isinstance(data, InstructData) or not isinstance(pl_module, Guarded):
            raise ConfigError(
                f"ForgettingGuard measures a language model on InstructData, not {type(pl_module).__name__} on "
                f"{type(data).__name__}: leave the callback out"
            )
        if pl_module.untouched is None:
            raise ConfigError("ForgettingGuard compares with a decoder.source, and this decoder is new: leave it out")
        texts = [row.text for row in data.rows("validate") if row.text][: self.texts]
        self._samples = [sample for text in texts if (sample := self._sample(data, text)).targets]
        if not self._samples:
            raise ConfigError(
                "ForgettingGuard needs plain text: give --data.validate_on a source with lines "
                '{"id": ..., "text": ...} of at least two ids'
            )
        self._pad_id = data.chat.pad_id
        self._step = trainer.global_step
        rank_zero_info(
            f"forgetting guard: {len(self._samples)} texts of at most {self.length} ids every {self.every} steps"
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the drift if the time has come, log it and act."""
        stepped, self._step = trainer.global_step != self._step, trainer.global_step
        looks = stepped and self._step % self.every == 0
        self._awaits_pictures |= looks
        # Before the drift is measured, which leaves the shares of its own texts.
        found = self._attention(pl_module) if self._awaits_pictures else {}
        self._awaits_pictures &= not found
        if looks:
            kl, agreement = self._drift(trainer, pl_module)
            found |= {"train/drift_kl": kl, "train/drift_agreement": agreement}
        if found:
            # For callbacks that watch a number; loggers would take it at their own steps only.
            pl_module.log_dict(found, logger=False, batch_size=1)
            for logger in trainer.loggers:
                logger.log_metrics(found, step=trainer.fit_loop.epoch_loop._batches_that_stepped)
        if looks:
            if reason := self._too_much(kl, agreement):
                self._act(trainer, reason, grows=not kl <= self._last_kl)
            self._last_kl = kl

    def state_dict(self) -> dict[str, Any]:
        """Number of cuts and the last KL divergence, by which a resumed run goes on exactly."""
        return {"cuts": self.cuts, "warned": self._warned, "last_kl": self._last_kl, "awaits": self._awaits_pictures}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the counts of an earlier part of the run; the rates themselves are the optimiser's."""
        self.cuts, self._warned = int(state_dict["cuts"]), bool(state_dict["warned"])
        self._last_kl, self._awaits_pictures = float(state_dict["last_kl"]), bool(state_dict["awaits"])

    def _sample(self, data: InstructData, text: str) -> Sample:
        encoded = data.chat.plain(text)
        ids, labels, image_of_token = (torch.tensor(each[: self.length]).numpy() for each in encoded)
        return Sample(ids, labels, image_of_token, ())

    def _drift(self, trainer: Trainer, pl_module: LightningModule) -> tuple[float, float]:
        """KL divergence a token and share of equal likeliest tokens, the same in every process."""
        module = cast(Guarded, pl_module)
        was_training = [each for each in pl_module.modules() if each.training]
        pl_module.eval()
        sums = torch.zeros(3, dtype=torch.float64)
        try:
            # One text at a time, in every process alike: sharded networks exchange weights in each pass.
            for sample in self._samples:
                entries = {name: value.to(pl_module.device) for name, value in padded([sample], self._pad_id).items()}
                with torch.no_grad(), trainer.precision_plugin.forward_context():
                    found = _drift_of(module, cast(InstructBatch, entries))
                kl, agrees = found.kl.cpu().double(), found.agrees.cpu().double()
                sums += torch.stack([kl.sum(), agrees.sum(), agrees.new_tensor(len(agrees))])
        finally:
            for each in was_training:
                each.training = True
        total = trainer.strategy.reduce(sums.float().to(pl_module.device), reduce_op="sum")
        divergence, agreed, tokens = total.tolist()
        return divergence / tokens, agreed / tokens

    def _attention(self, pl_module: LightningModule) -> dict[str, float]:
        """Attention shift of the batch that was trained on, if the model has wings and the batch had pictures."""
        attached: list[object] = [getattr(module, "_wings", None) for module in pl_module.modules()]
        known = next((each for each in attached if isinstance(each, Attached)), None)
        state = None if known is None else known.last
        if state is None or not state.masses:
            return {}
        shift = attention_shift(row_masses(pl_module).detach()).value
        return {"train/attention_shift": shift} if math.isfinite(shift) else {}

    def _too_much(self, kl: float, agreement: float) -> str:
        """Words for a drift beyond a bound; empty if there is none."""
        # A drift that is not a number is beyond every bound.
        if self.max_kl is not None and not kl <= self.max_kl:
            return f"KL {kl:.4g} nats a token is above max_kl={self.max_kl:g}"
        if self.min_agreement is not None and not agreement >= self.min_agreement:
            return f"agreement {agreement:.4g} is below min_agreement={self.min_agreement:g}"
        return ""

    def _act(self, trainer: Trainer, reason: str, *, grows: bool) -> None:
        where = f"forgetting guard at step {trainer.global_step}: {reason}"
        if self.action == "stop":
            trainer.should_stop = True
            rank_zero_warn(f"{where}: training stops")
        elif self.action == "cut":
            if not grows:
                return
            self.cuts += 1
            _scale_rates(trainer, CUT)
            rank_zero_warn(f"{where}: every learning rate is halved (cut {self.cuts})")
        elif not self._warned:
            self._warned = True
            rank_zero_warn(f"{where} (told once)")


def _drift_of(module: Guarded, batch: InstructBatch) -> Drift:
    """Drift at the supervised ids of plain texts."""
    assert module.untouched is not None
    targets = batch["labels"][:, 1:] != IGNORED
    reference, head = module.untouched.states(batch)
    states = module.model.hidden(batch)
    return hidden_drift((reference[:, :-1][targets], head), (states[:, :-1][targets], module.model.head_weight))


def _scale_rates(trainer: Trainer, factor: float) -> None:
    """Multiply the rates of all optimisers, now and for the rest of their schedules."""
    for optimizer in trainer.optimizers:
        for group in optimizer.param_groups:
            group["lr"] *= factor
            if "initial_lr" in group:
                group["initial_lr"] *= factor
    for config in trainer.lr_scheduler_configs:
        schedule = config.scheduler
        if hasattr(schedule, "base_lrs"):
            schedule.base_lrs = [rate * factor for rate in schedule.base_lrs]
