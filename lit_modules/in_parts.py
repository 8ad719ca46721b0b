"""Training steps that survive a lack of memory: batches go through in parts, in all processes together."""

from __future__ import annotations

import gc
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import torch
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from vision_suite.errors import MemoryShortError
from vision_suite.lit_modules.base import LitBase
from vision_suite.optim import OptimConfig

BatchT = TypeVar("BatchT")


class LitInParts(LitBase, Generic[BatchT]):
    """Base of modules whose loss is a sum over a batch's rows, so that a batch can go through in parts.

    Each batch is carried through to its gradient at once. If memory runs short in any process, all processes drop the
    gradients of the optimiser step, cut their batches into twice as many parts, and repeat the step's batches: the
    step's gradient is that of whole batches, to rounding. The number of parts stays for the rest of the run, and is
    kept in checkpoints. A process that cannot cut its batches any further ends the run.

    This holds for one device and for DDP. Under strategies that shard the network, processes exchange weights within
    the network, and one that stopped half-way would leave the others waiting: there the error ends the run, as it does
    in float16, whose scaler must see each loss.

    Args:
        optim: Optimiser and schedule.
        recover_memory: Go on with smaller parts when memory runs short.

    Attributes:
        parts: Parts into which each training batch is cut.
    """

    def __init__(self, optim: OptimConfig, recover_memory: bool = True) -> None:
        super().__init__(optim)
        self.recover_memory = recover_memory
        self.parts = 1
        self._step_batches: list[tuple[BatchT, int]] = []

    @abstractmethod
    def part_loss(self, batch: BatchT) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a batch or of a part of it, and numbers to add up over the parts.

        The losses of the parts of a batch add up to the loss of the batch.
        """

    @abstractmethod
    def cut(self, batch: BatchT, parts: int) -> Sequence[BatchT]:
        """Cut a batch into up to so many parts of about the same size."""

    def log_step(self, batch: BatchT, loss: Tensor, sums: Mapping[str, Tensor]) -> None:
        """Log a training batch.

        Args:
            batch: Batch.
            loss: Its loss, detached.
            sums: Numbers of `part_loss`, added up over the parts.
        """

    def training_step(self, batch: BatchT, batch_idx: int) -> Tensor:
        """Loss of a batch; where memory can be recovered, its gradient is there already."""
        if not self._recovers:
            loss, sums = self.part_loss(batch)
            self.log_step(batch, loss.detach(), sums)
            return loss
        if batch_idx % self.trainer.accumulate_grad_batches == 0 or not self._step_batches:
            self._step_batches = []
            self.zero_grad(set_to_none=True)
        self._step_batches.append((batch, batch_idx))
        todo = self._step_batches[-1:]
        while (result := self._try(todo)) is None:
            self._take_smaller_parts()
            todo = list(self._step_batches)
        loss, sums = result
        self.log_step(batch, loss, sums)
        # DDP averages gradients in the backward pass of what it was given: it gets the loss with gradients of zero.
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        trained = trained if self.trainer.world_size > 1 else trained[:1]
        finished: Tensor = _Finished.apply(loss, *trained)
        return finished

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Drop gradients, unless the step has done so and holds the new ones."""
        if not self._recovers:
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Forget the step's batches."""
        self._step_batches = []

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the number of parts, with which a resumed run goes on exactly."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["parts"] = self.parts

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over the number of parts."""
        super().on_load_checkpoint(checkpoint)
        self.parts = int(checkpoint.get("parts", 1))

    @property
    def _recovers(self) -> bool:
        known = type(self.trainer.strategy) in (SingleDeviceStrategy, DDPStrategy)
        return self.recover_memory and known and str(self.trainer.precision) not in ("16-mixed", "16-true")

    def _try(self, batches: Sequence[tuple[BatchT, int]]) -> tuple[Tensor, dict[str, Tensor]] | None:
        """Loss and numbers of the last batch, gradients of all; None if memory ran short in any process."""
        result = None
        for batch, batch_idx in batches:
            self.on_train_batch_start(batch, batch_idx)  # random numbers of its place in the run
            try:
                result = self._forward_backward(batch)
            except (MemoryError, RuntimeError) as error:
                if not is_memory_short(error):
                    raise
                result = None
            # Outside of the handler, whose traceback holds the tensors of the failed pass.
            if self.trainer.strategy.reduce_boolean_decision(result is None, all=False):
                self._check_can_cut(result is None)
                return None
        return result

    def _forward_backward(self, batch: BatchT) -> tuple[Tensor, dict[str, Tensor]]:
        total: Tensor | None = None
        sums: dict[str, Tensor] = {}
        for part in self.cut(batch, self.parts) if self.parts > 1 else [batch]:
            loss, more = self.part_loss(part)
            with torch.autocast(loss.device.type, enabled=False):
                # As Lightning does with what a step returns.
                torch.autograd.backward(loss / self.trainer.accumulate_grad_batches)
            total = loss.detach() if total is None else total + loss.detach()
            sums = {name: sums[name] + value if name in sums else value for name, value in more.items()}
        assert total is not None
        return total, sums

    def _check_can_cut(self, short_here: bool) -> None:
        """End the run in all processes if one cannot cut its batches any further."""
        finest = all(len(self.cut(batch, 2 * self.parts)) <= self.parts for batch, _ in self._step_batches)
        hopeless = short_here and finest
        if self.trainer.strategy.reduce_boolean_decision(hopeless, all=False):
            raise MemoryShortError(
                f"memory ran short at step {self.trainer.global_step} with batches cut into {self.parts} parts, and a "
                "part is a single row: shorten rows (--data.max_length), or checkpoint activations"
            )

    def _take_smaller_parts(self) -> None:
        self.zero_grad(set_to_none=True)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.parts *= 2
        rank_zero_warn(
            f"memory ran short at step {self.trainer.global_step}: from here on each batch goes through in "
            f"{self.parts} parts in every process; the gradient of a step stays the same"
        )


class _Finished(torch.autograd.Function):
    """A loss whose gradients are there already: its backward pass adds zeros, and so runs every parameter's hooks."""

    @staticmethod
    def forward(ctx: FunctionCtx, loss: Tensor, *parameters: nn.Parameter) -> Tensor:
        ctx.save_for_backward(*parameters)
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, *(each.new_zeros(()).expand_as(each) for each in ctx.saved_tensors)


def is_memory_short(error: BaseException) -> bool:
    """Tell whether an error is a lack of memory, of a GPU or of the machine.

    Example:
        >>> is_memory_short(RuntimeError("DefaultCPUAllocator: can't allocate memory")), is_memory_short(RuntimeError())
        (True, False)
    """
    text = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text
