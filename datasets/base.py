"""Base of every datamodule: facts for the model, a protocol for the reader, and loaders that resume exactly."""

from __future__ import annotations

import inspect
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, get_args

from pytorch_lightning import LightningDataModule
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.data import Dataset

from vision_suite.datasets.facts import differences, is_plain, other_values, untold
from vision_suite.datasets.loading import BatchLoader
from vision_suite.datasets.samplers import EpochBatchSampler, ShardedBatchSampler
from vision_suite.datasets.saved import MISSING, SavedPreprocessing, check_state, data_state
from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.types.data import Stage as Stage


class BaseData(LightningDataModule, ABC):
    """Data for one task: reads its lists at once, checks the files in `setup`, and makes resumable loaders.

    A class declares facts of its data in `facts`, beside those of its bases. The command line gives each of them to the
    model whose constructor has an argument of that name, and refuses another value for that argument. A fact is an
    attribute of the same name, documented by its class; its value must be there after the constructor, because the
    model is built before `setup`. None, or zero for a number, says that the data does not tell it.

    A checkpoint holds the preprocessing, the class names and what each fact counts. `load_state_dict` compares them
    with the data's own, in every command alike.

    Attributes:
        facts: Names of the attributes that a model may need in its constructor.
        class_facts: Facts whose index a network predicts as a class: other contents are an error in evaluation too.
        free_facts: Facts whose contents may differ in evaluation.
        adopts: Take over from a checkpoint what the data cannot tell, and warn of other preprocessing. The command line
            sets it to False: its settings are the checkpoint's already, and it prints the differences.
        warn: Function that prints a warning.
        class_names: Name of each class, empty if the data set has none.
        protocol: Facts about the data that a reader of the metrics must know.
        items: Word for the members of the data, in the plural.
        task: Word of the task (``reid``, ``fgvc``, ``tad``, ``scanpath``), which the command line compares with the
            model's; empty if the class tells none.
    """

    facts: ClassVar[tuple[str, ...]] = ()
    class_facts: ClassVar[frozenset[str]] = frozenset()
    free_facts: ClassVar[frozenset[str]] = frozenset()
    items = "items"
    task: ClassVar[str] = ""
    adopts = True
    warn: Callable[[str], None] = staticmethod(rank_zero_warn)

    def __init__(self, *, batch_size: int, eval_batch_size: int, num_workers: int, seed: int | None) -> None:
        super().__init__()
        check_loader(batch_size, eval_batch_size, num_workers, seed)
        self.class_names: list[str] = []
        self.protocol: dict[str, Any] = {}
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        # The run's seed by default: Lightning's seed_everything leaves it in this variable.
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", "0")) if seed is None else seed
        self._workers = num_workers
        self._names_adopted = False

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
    def item_bytes(self) -> int:
        """Bytes of one item in a batch, as far as the settings tell; 0 where they do not."""
        return 0

    @property
    @abstractmethod
    def preprocessing(self) -> dict[str, Any]:
        """Settings by which evaluation turns an item into the network's input, in plain values."""

    @classmethod
    def evaluation_settings(cls, preprocessing: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of the constructor that give this preprocessing, in plain values as a configuration file has them.

        Entries that the preprocessing lacks, as in files of earlier versions, give no argument. A class whose
        constructor fixes a setting gets none for it.

        Args:
            preprocessing: The property `preprocessing` of a datamodule of this class, stored in a checkpoint.

        Raises:
            CheckpointError: An entry is unknown or has a wrong value.
        """
        saved = SavedPreprocessing(preprocessing)
        settings = cls._settings(saved)
        if settings is None:
            return {}
        saved.check_all_read(cls.__name__)
        taken = inspect.signature(cls).parameters
        every = any(argument.kind is inspect.Parameter.VAR_KEYWORD for argument in taken.values())
        return {name: value for name, value in settings.items() if value is not MISSING and (every or name in taken)}

    @classmethod
    def _settings(cls, saved: SavedPreprocessing) -> dict[str, Any] | None:
        """The arguments for `evaluation_settings`, `MISSING` for absent entries.

        A class whose constructor has such arguments reads every entry of its `preprocessing` here; the base gives
        None, for a class without any.
        """
        return None

    @property
    def fact_contents(self) -> dict[str, Any]:
        """Contents of each declared fact in plain values: labels by index where it counts something, or its value."""
        found = {name: self._fact_content(name) for name in self.declared_facts()}
        return {name: content for name, content in found.items() if is_plain(content)}

    def _fact_content(self, name: str) -> Any:
        """Content of a fact: a subclass gives the labels by index where an index has a meaning of its own."""
        return list(self.class_names) if name in self.class_facts else getattr(self, name)

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
        """Everything about the data that belongs to a trained model.

        These are the preprocessing, the class names, what the facts count, and the order that a resumed run must share
        to see the same batches.
        """
        return {
            "order": self._order(),
            "preprocessing": self.preprocessing,
            "class_names": list(self.class_names),
            "facts": self.fact_contents,
        }

    def restore(self, contents: Mapping[str, Any]) -> None:
        """Load the data state of a whole checkpoint where Lightning does not: it finds states by the class's name only.

        Args:
            contents: Contents of the checkpoint.
        """
        state = None if type(self).__qualname__ in contents else data_state(contents)
        if state is not None:
            self.load_state_dict(state)

    def load_state_dict(self, state_dict: Any) -> None:
        """Compare the data with those of the checkpoint, and take its class names where the data have none.

        Lightning calls this in every command, after `setup` and before the first batch.

        Raises:
            CheckpointError: A class would mean another one, or a resumed run would go on with other data.
        """
        try:
            self._load(state_dict if isinstance(state_dict, dict) else {"facts": state_dict})
        except CheckpointError as error:
            path = None if self.trainer is None else self.trainer.ckpt_path
            raise CheckpointError(f"{path}: {error}" if path else str(error)) from error

    def _load(self, state: dict[str, Any]) -> None:
        """The work of `load_state_dict`; its errors do not name the file."""
        check_state(state)
        names, facts = state.get("class_names") or [], state.get("facts") or {}
        stored, order = state.get("preprocessing") or {}, state.get("order") or {}
        taken = self.adopts and self._take_over(stored)
        if names and self.class_facts and (self._names_adopted or not self.class_names):
            self._names_adopted = True
            self.class_names = list(names)
            for name in self.class_facts:
                setattr(self, name, len(names))
        if self.trainer is None:
            return
        training = self.trainer.state.fn == TrainerFn.FITTING
        self._compare_facts({**dict.fromkeys(self.class_facts, names), **facts}, training)
        if self.adopts and not taken and (found := other_values(stored, self.preprocessing)):
            self.warn(f"The network was trained with other preprocessing: {'; '.join(found)}")
        if training:
            self._compare_order(order)

    def _take_over(self, preprocessing: Mapping[str, Any]) -> bool:
        """Take over a checkpoint's preprocessing, as a class does for files to predict on; tells whether it did."""
        return False

    def _compare_facts(self, stored: Mapping[str, Any], training: bool) -> None:
        """Refuse facts with other contents, or warn of them where evaluation on other data makes sense."""
        own = {name: content for name, content in self.fact_contents.items() if self._matters(name)}
        if training:
            if found := differences(stored, own):
                raise CheckpointError(f"{'; '.join(found)}: resume with the same data")
            return
        classes = {name: content for name, content in own.items() if name in self.class_facts}
        if found := differences(stored, classes):
            raise CheckpointError(
                f"{'; '.join(found)}: the network would name wrong classes; give data with the checkpoint's classes in "
                "its order"
            )
        others = {name: own[name] for name in own if name not in self.class_facts | self.free_facts}
        counts = {} if self.adopts else {name: getattr(self, name) for name in others if self._is_linked(name)}
        if found := differences(*untold(stored, others, self.preprocessing, counts)):
            self.warn(f"The network was trained on other data: {'; '.join(found)}")

    def _is_linked(self, name: str) -> bool:
        """Tell whether the network has another number than the data, which the command line prints."""
        assert self.trainer is not None
        own = getattr(self, name)
        return bool(self.trainer.lightning_module.hparams.get(name, own) != own)

    def _matters(self, name: str) -> bool:
        """Tell whether the run's network takes a fact."""
        assert self.trainer is not None
        module: Any = self.trainer.lightning_module
        if module is None:  # before the first run
            return False
        asked = getattr(module, "takes_fact", None)  # of the suite's modules; rooms do not import each other
        return bool(asked(name) if asked is not None else module.hparams.get(name))

    def _compare_order(self, stored: Mapping[str, Any]) -> None:
        """Warn if a resumed run cannot see the batches that the interrupted one would have seen."""
        now = self._order()
        changed = [f"{name} was {old}, is {now.get(name)}" for name, old in stored.items() if now.get(name) != old]
        if changed:
            self.warn(f"The resumed run does not continue the interrupted one exactly: {'; '.join(changed)}")


def check_loader(batch_size: int, eval_batch_size: int, num_workers: int, seed: int | None) -> None:
    """Refuse sizes of batches, numbers of workers and seeds that no loader can have.

    Raises:
        ConfigError: One is out of range.
    """
    for name, value, least in (("batch_size", batch_size, 1), ("eval_batch_size", eval_batch_size, 1),
                               ("num_workers", num_workers, 0), ("seed", 0 if seed is None else seed, 0)):  # fmt: skip
        if value < least:
            raise ConfigError(f"{name}={value}: give {least} or more")


def stages_of(function: str) -> list[Stage]:
    """The lists that a function of the trainer needs, as plain text also where Lightning hands on a `TrainerFn`."""
    stage: Stage = TrainerFn(function).value
    return ["fit", "validate"] if stage == "fit" else [stage]


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
