"""Base of every datamodule: facts for the model, a protocol for the reader, and loaders that resume exactly."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, get_args

from pytorch_lightning import LightningDataModule
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.data import Dataset

from vision_suite.datasets.loading import BatchLoader
from vision_suite.datasets.samplers import EpochBatchSampler, ShardedBatchSampler
from vision_suite.types.data import Stage as Stage


class BaseData(LightningDataModule, ABC):
    """Data for one task: reads its lists at once, checks the files in `setup`, and makes resumable loaders.

    A class declares facts of its data in `facts`, beside those of its bases. The command line gives each of them to the
    model whose constructor has an argument of that name, and refuses another value for that argument. A fact is an
    attribute of the same name, documented by its class; its value must be there after the constructor, because the
    model is built before `setup`. None, or zero for a number, says that the data does not tell it.

    Attributes:
        facts: Names of the attributes that a model may need in its constructor.
        class_names: Name of each class, empty if the data set has none.
        protocol: Facts about the data that a reader of the metrics must know.
        items: Word for the members of the data, in the plural.
    """

    facts: ClassVar[tuple[str, ...]] = ()
    items = "items"

    def __init__(self, *, batch_size: int, eval_batch_size: int, num_workers: int, seed: int | None) -> None:
        super().__init__()
        self.class_names: list[str] = []
        self.protocol: dict[str, Any] = {}
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        # The run's seed by default: Lightning's seed_everything leaves it in this variable.
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", "0")) if seed is None else seed
        self._workers = num_workers

    def __str__(self) -> str:
        """Length of each list; Lightning's own text needs its ``DataLoader`` and would make every batch of ours."""
        sizes = ", ".join(f"{stage} {self.size(stage)}" for stage in get_args(Stage))
        return f"{type(self).__name__} ({self.items}: {sizes})"

    @classmethod
    def declared_facts(cls) -> tuple[str, ...]:
        """The facts of this class and its bases, each once, those of the bases first."""
        declared = [vars(each).get("facts", ()) for each in reversed(cls.__mro__)]
        return tuple(dict.fromkeys(name for facts in declared for name in facts))

    @abstractmethod
    def size(self, stage: Stage) -> int:
        """Number of items in a stage's list."""

    @property
    @abstractmethod
    def preprocessing(self) -> dict[str, Any]:
        """Settings by which evaluation turns an item into the network's input, in plain values."""

    @abstractmethod
    def _train_sampler(self, rank: int, world_size: int) -> EpochBatchSampler:
        """The sampler of training batches."""

    @abstractmethod
    def _batches(self, stage: Stage, rank: int) -> Dataset[dict[str, Tensor]]:
        """The data set that turns a `BatchKey` into a batch."""

    def train_dataloader(self) -> BatchLoader:
        """Training batches, continued at Lightning's own position after a restart."""
        return self._loader("fit", self._train_sampler(*self._rank()))

    def val_dataloader(self) -> BatchLoader | list[BatchLoader]:
        """Validation batches; an empty list where there is no validation split."""
        return self._eval_loader("validate") if self.size("validate") else []

    def test_dataloader(self) -> BatchLoader:
        """Test batches."""
        return self._eval_loader("test")

    def predict_dataloader(self) -> BatchLoader:
        """Batches of the prediction inputs, or of the test split if none were given; without labels."""
        return self._eval_loader("predict")

    def _eval_loader(self, stage: Stage) -> BatchLoader:
        rank, world_size = self._rank()
        sampler = ShardedBatchSampler(self.size(stage), self.eval_batch_size, rank=rank, world_size=world_size)
        return self._loader(stage, sampler)

    def _loader(self, stage: Stage, sampler: EpochBatchSampler) -> BatchLoader:
        training = stage == "fit"
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        own_place = training and self.trainer is None  # a loop without Lightning: the sampler counts by itself
        place = None if own_place else self._train_place if training else _start
        batches = self._batches(stage, sampler.rank)
        return BatchLoader(batches, sampler, num_workers=self._workers, pin_memory=on_gpu, position=place)

    def _train_place(self) -> tuple[int, int]:
        """Lightning's own progress: the epoch, and the batches of it that are done."""
        assert self.trainer is not None
        done = self.trainer.fit_loop.batch_idx + 1
        overfit = getattr(self.trainer, "overfit_batches", 0)  # set from outside the class, so not declared
        return (0 if overfit else self.trainer.current_epoch), done

    def _rank(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _order(self) -> dict[str, int | str]:
        """Everything that the order of training batches depends on."""
        return {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "processes": self._rank()[1],
            self.items: self.size("fit"),
            "fingerprint": str(self.protocol.get("fingerprint", {}).get("sha256", "")),
        }

    def state_dict(self) -> dict[str, Any]:
        """The order that a resumed run must share to see the same batches, and what an exported model must know."""
        return {"order": self._order(), "preprocessing": self.preprocessing, "class_names": list(self.class_names)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Warn if a resumed training run cannot see the batches the interrupted one would have seen."""
        if self.trainer is None or self.trainer.state.fn != TrainerFn.FITTING:
            return
        now = self._order()
        changed = [
            f"{name} was {old}, is {now.get(name)}"
            for name, old in state_dict.get("order", {}).items()
            if now.get(name) != old
        ]
        if changed:
            rank_zero_warn(f"The resumed run does not continue the interrupted one exactly: {'; '.join(changed)}")


def stages_of(function: str) -> list[Stage]:
    """The lists that a function of the trainer needs."""
    return ["fit", "validate"] if function == "fit" else [function]  # type: ignore[list-item]


def summary(
    title: str, counts: Mapping[str, Mapping[str, int]], words: str, facts: str, problems: Mapping[str, int]
) -> str:
    """One line about a data set at the start of a run.

    Args:
        title: Name of the data set.
        counts: Numbers of each part by kind.
        words: Text about a part with a kind in braces for its number, such as ``"{videos} videos"``.
        facts: Further facts.
        problems: Numbers of what was changed or left out, by kind.
    """
    parts = "; ".join(f"{name}: {words.format_map(numbers)}" for name, numbers in counts.items())
    return f"{title}: {parts}; {facts}; problems: {problem_list(problems)}"


def problem_list(problems: Mapping[str, int]) -> str:
    """Numbers of problems by kind in words, "none" where there is none."""
    return ", ".join(f"{count} {kind}" for kind, count in problems.items()) or "none"


def _start() -> tuple[int, int]:
    return 0, 0
