"""Base of the datamodules of conversations: chat format, pictures, mixture of sources, facts and protocol."""

from __future__ import annotations

import hashlib
import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar, get_args

from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from vision_suite.datasets.base import BaseData, Stage, problem_list, stages_of
from vision_suite.datasets.conversations.pictures import Appearance, Square
from vision_suite.datasets.conversations.settings import ChatSettings, stored_preprocessing, stored_settings
from vision_suite.datasets.conversations.stage import SHOWN_BLANK, OnBadRow, OnMissing, Policy, UsableRows
from vision_suite.datasets.conversations.survey import Rows
from vision_suite.datasets.lengths import LengthBatchSampler, Mixture
from vision_suite.datasets.loading import Cache, worker_count
from vision_suite.datasets.pictures.images import Interpolation
from vision_suite.datasets.saved import SavedPreprocessing
from vision_suite.errors import CheckpointError, DataError, check_choice, check_number

RowsT = TypeVar("RowsT", bound="UsableRows[Any, Any]")


class ConversationData(BaseData, Generic[RowsT]):
    """Base of data of conversations, whatever a model is to learn from them.

    A subclass opens its sources and calls `_open`, makes the rows of a stage in `_rows_of`, and their batches.

    Args:
        chat: Settings of the chat format.
        appearance: Form in which the network sees pictures.
        max_length: Largest number of ids of a conversation.
        batch_tokens: Largest number of ids per training batch and process; None for no limit.
        temperature: Temperature of the mixture.
        policy: Treatment of rows and pictures that cannot be used.
        cache: Keep ids and pictures of a stage in memory, or make them for each batch.
        batch_size: Largest number of rows per training batch and process.
        eval_batch_size: Rows per batch and process in evaluation.
        num_workers: Worker processes of each loader; None for the usual number.
        seed: Seed of the order; None for the run's seed.

    Attributes:
        chat: Format of the conversations.
        vocabulary_size: Number of ids of the tokenizer.
        image_tokens: Tokens of one picture.
        sources: Name of each source, by the index of batches; complete after `setup`.
        arguments: Argument of the constructor that gives the sources of each stage, for messages.

    Raises:
        ConfigError: A setting is out of range.
        DataError: There is no such tokenizer.
    """

    facts = ("vocabulary_size", "image_tokens")
    arguments: ClassVar[dict[str, str]]

    def __init__(
        self,
        *,
        chat: ChatSettings,
        appearance: Appearance,
        max_length: int,
        batch_tokens: int | None,
        temperature: float,
        policy: Policy,
        cache: Cache,
        batch_size: int,
        eval_batch_size: int,
        num_workers: int | None,
        seed: int | None,
    ) -> None:
        workers = worker_count(num_workers, cache)
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, num_workers=workers, seed=seed)
        check_number("max_length", max_length, low=1, whole=True)
        if batch_tokens is not None:
            check_number("batch_tokens", batch_tokens, low=1, whole=True)
        for name, value, kind in (
            ("on_missing", policy.missing, OnMissing), ("on_bad_row", policy.bad_row, OnBadRow),
            ("cache", cache, Cache), ("square", appearance.square, Square),
            ("interpolation", appearance.interpolation, Interpolation),
        ):  # fmt: skip
            check_choice(name, value, get_args(kind))
        self._chat_settings, self.appearance = chat, appearance
        self.max_length, self.batch_tokens, self.temperature = max_length, batch_tokens, temperature
        self._policy, self._cache = policy, cache
        self.chat = chat.load()
        self.vocabulary_size, self.image_tokens = self.chat.vocabulary_size, chat.image_tokens
        self.sources: list[str] = []
        self._opened: dict[str, list[Any]] = {}
        self._stages: dict[str, RowsT] = {}
        self._sampler: LengthBatchSampler | None = None

    def _open(self, opened: Mapping[str, Sequence[Rows[Any]]], layout: str, **facts: Any) -> None:
        """Take the opened sources of each stage, and begin the protocol.

        Args:
            opened: Sources by stage.
            layout: Word for the kind of data.
            **facts: Further facts for the protocol.
        """
        self._opened = {stage: list(each) for stage, each in opened.items()}
        every = [source for each in self._opened.values() for source in each]
        self.sources = [source.name for source in self._opened.get("fit", [])]
        self.protocol = {
            "dataset": "+".join(dict.fromkeys(source.name for source in every)),
            "layout": layout,
            "root": str(every[0].path),
            "tokenizer": self._chat_settings.tokenizer,
            "vocabulary_sha256": self.chat.vocabulary_sha256,
            "image_tokens": self.image_tokens,
            "template": self._chat_settings.template,
            "max_length": self.max_length,
            **facts,
            "sources": {
                stage: {source.name: source.protocol() for source in each}
                for stage, each in self._opened.items()
                if each
            },
            "counts": {},
            "problems": {},
            "warnings": [],
        }

    @abstractmethod
    def _rows_of(self, name: Stage) -> RowsT:
        """Read and encode the rows of a stage."""

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Steps from a conversation to the network's input, in plain values; sizes are (h, w)."""
        return stored_preprocessing(self.appearance, self._chat_settings, self.max_length)

    @classmethod
    def _settings(cls, saved: SavedPreprocessing) -> dict[str, Any]:
        return stored_settings(saved)

    def _fact_content(self, name: str) -> Any:
        if name == "vocabulary_size":
            return {"count": self.vocabulary_size, "sha256": self.chat.vocabulary_sha256}
        return super()._fact_content(name)

    def _compare_facts(self, stored: Mapping[str, Any], training: bool) -> None:
        """Refuse the checkpoint of another vocabulary in every command: its ids would mean other words."""
        own, known = self._fact_content("vocabulary_size"), stored.get("vocabulary_size")
        if isinstance(known, dict) and known != own and self._matters("vocabulary_size"):
            texts = [f"{each.get('count')} ids, sha256 {str(each.get('sha256'))[:12]}" for each in (known, own)]
            raise CheckpointError(
                f"the network's vocabulary ({texts[0]}) is not that of --data.tokenizer ({texts[1]}): give the "
                "tokenizer that it was trained with"
            )
        super()._compare_facts(stored, training)

    @property
    def item_bytes(self) -> int:
        """Bytes of a conversation at the largest length, with one picture in 32 bits."""
        height, width = self.appearance.size
        return 5 * 8 * self.max_length + (4 * 3 * height * width if self.image_tokens else 0)

    def size(self, stage: Stage) -> int:
        """Number of rows in a stage's list, known after `setup`."""
        return len(self._stages[stage]) if stage in self._stages else 0

    def use_features(self, tower: Callable[[Tensor], Tensor], batch_size: int = 64) -> None:
        """Run a frozen tower over the pictures of all stages that are set up, and give ``features`` in batches.

        Args:
            tower: Function from pictures (N, 3, h, w) to features (N, T, W).
            batch_size: Pictures in one call.
        """
        for rows in self._stages.values():
            rows.pictures.use_features(tower, batch_size)

    def setup(self, stage: str) -> None:
        """Read and encode every row of a stage once, and check its pictures.

        Raises:
            DataError: A row or picture cannot be used, or the stage has no row.
        """
        for name in stages_of(stage):
            if name in self._stages or (not self._opened[name] and name == "validate"):
                continue
            if not self._opened[name]:
                raise DataError(
                    f"there is nothing to {name} on: give --data.{self.arguments[name]}, or a --data.root with it"
                )
            self._use(name)
        if stage == "fit":
            parts = [
                f"{part} {name}: {_counted(own)}"
                for part, each in self.protocol["counts"].items()
                for name, own in each.items()
            ]
            problems = sum((Counter(each) for each in self.protocol["problems"].values()), Counter[str]())
            facts = f"{self.vocabulary_size:,} ids, {self.image_tokens} tokens a picture"
            told = [*parts, facts, f"problems: {problem_list(problems)}"]
            rank_zero_info(f"{self.protocol['dataset']}: {'; '.join(told)}")

    def _use(self, name: Stage) -> None:
        made = self._stages[name] = self._rows_of(name)
        self.protocol["counts"][name] = made.counts()
        if made.problems:
            self.protocol["problems"][name] = dict(sorted(made.problems.items()))
        for line in made.notes:
            self.protocol["warnings"].append(line)
            self.warn(f"{'' if line.endswith(SHOWN_BLANK) else 'Left out of '}{name}: {line}")
        if name == "fit":
            mixture = self._mixture()
            self.protocol["rows_per_epoch"] = dict(zip(self.sources, mixture.quotas, strict=True))
            digest = hashlib.sha256()
            for values in (made.survey.place, made.survey.lengths, made.survey.targets):
                digest.update(values.tobytes())
            files = [file for source in self._opened["fit"] for file in source.files]
            for file in files:
                digest.update(f"{file.name}\0{os.stat(file).st_size}\n".encode())
            self.protocol["fingerprint"] = {"files": len(files), "sha256": digest.hexdigest()}

    def _mixture(self) -> Mixture:
        weights = tuple(source.settings.weight for source in self._opened["fit"])
        return Mixture(self._stages["fit"].sizes, weights, self.temperature)

    def _order(self) -> dict[str, int | str]:
        mixture = f"{self.protocol.get('rows_per_epoch', {})}"
        return {
            **super()._order(),
            "batch_tokens": self.batch_tokens or 0,
            "accumulate_grad_batches": self._accumulate(),
            "rows_per_epoch": mixture,
        }

    def _accumulate(self) -> int:
        return 1 if self.trainer is None else int(self.trainer.accumulate_grad_batches)

    def _train_sampler(self, rank: int, world_size: int) -> LengthBatchSampler:
        return self._sampler_of(rank, world_size)

    def _sampler_of(self, rank: int, world_size: int, *, packed: bool = False) -> LengthBatchSampler:
        """The sampler of training batches, which is kept.

        Args:
            rank: Number of this process.
            world_size: Number of processes.
            packed: Batches have no padding.
        """
        survey = self._stages["fit"].survey
        self._sampler = LengthBatchSampler(
            survey.lengths, survey.targets, survey.pictures > 0, self._mixture(),
            batch_size=self.batch_size, batch_tokens=self.batch_tokens, packed=packed,
            accumulate=self._accumulate(), seed=self.seed, rank=rank, world_size=world_size,
            used=None if self.trainer is None else self.trainer.limit_train_batches,
        )  # fmt: skip
        return self._sampler


def _counted(own: Mapping[str, int]) -> str:
    """Numbers of a source in words; questions to evaluate have no supervised ids."""
    supervised = f", {own['targets']:,} supervised" if own["targets"] else ""
    return f"{own['rows']:,} rows ({own['rows_with_pictures']:,} with pictures), {own['tokens']:,} tokens{supervised}"
