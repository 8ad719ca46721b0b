"""Instruction data: conversations about pictures and text, from several sources mixed by weight."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, get_args

from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from vision_suite.datasets.base import BaseData, Stage, problem_list, stages_of
from vision_suite.datasets.conversations.batches import InstructBatches
from vision_suite.datasets.conversations.pictures import Appearance, Square
from vision_suite.datasets.conversations.settings import (
    ChatSettings,
    ChatTemplate,
    stored_preprocessing,
    stored_settings,
)
from vision_suite.datasets.conversations.sources import RowSource, SourceSettings, open_sources
from vision_suite.datasets.conversations.stage import OnBadRow, OnMissing, Policy, StageRows
from vision_suite.datasets.conversations.survey import survey_once
from vision_suite.datasets.lengths import LengthBatchSampler, Mixture
from vision_suite.datasets.loading import Cache, worker_count
from vision_suite.datasets.pictures.images import Interpolation
from vision_suite.datasets.roots import resolve_root
from vision_suite.datasets.saved import SavedPreprocessing
from vision_suite.errors import CheckpointError, ConfigError, DataError, check_choice, check_number
from vision_suite.records import as_record
from vision_suite.types.instruct import Row

# Files of a prepared set by stage; the first that is there counts.
FILES = {
    "fit": ("train.json", "train.jsonl"),
    "validate": ("questions_val.jsonl", "val.json", "val.jsonl"),
    "test": ("questions_test.jsonl", "test.json", "test.jsonl"),
}
ARGUMENTS = {"fit": "sources", "validate": "validate_on", "test": "test_on", "predict": "predict_on"}


class InstructData(BaseData):
    """Conversations about pictures and text: to train on, and questions and plain text to evaluate on.

    ``image_tokens`` is kept as given. ``sources`` names the sources of training, then the tasks of evaluation, by the
    index of batches; it is complete after `setup`.

    Attributes:
        chat: Format of the conversations.
        vocabulary_size: Number of ids of the tokenizer.
    """

    facts = ("vocabulary_size", "image_tokens")
    items = "conversations"
    task = "instruct"

    def __init__(
        self,
        root: str | None = None,
        sources: dict[str, SourceSettings] | None = None,
        validate_on: dict[str, SourceSettings] | None = None,
        test_on: dict[str, SourceSettings] | None = None,
        predict_on: dict[str, SourceSettings] | None = None,
        tokenizer: str = "smollm2",
        image_tokens: int = 0,
        template: ChatTemplate = "auto",
        system: str | None = None,
        image_size: tuple[int, int] = (384, 384),
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        std: tuple[float, float, float] = (0.5, 0.5, 0.5),
        interpolation: Interpolation = "bicubic",
        square: Square = "pad",
        max_length: int = 2048,
        batch_size: int = 8,
        eval_batch_size: int = 8,
        batch_tokens: int | None = None,
        packed: bool = False,
        temperature: float = 1.0,
        on_missing: OnMissing = "error",
        on_bad_row: OnBadRow = "error",
        cache: Cache = "none",
        num_workers: int | None = None,
        seed: int | None = None,
    ) -> None:
        """Load the tokenizer and open the sources; rows and pictures are read and checked when a stage begins.

        Args:
            root: Folder of a prepared set, also relative to the data cache: it gives what sources, validate_on and
                test_on leave unset.
            sources: Sources to train on, by name.
            validate_on: Sources to validate on, by name.
            test_on: Sources to test on, by name.
            predict_on: Sources to predict on, by name; by default those to test on.
            tokenizer: Prepared set, folder, .gguf file or hub name of a tokenizer, or a .txt file whose words are one.
            image_tokens: Tokens of one picture, 0 for a model that sees none.
            template: Chat template: the tokenizer's own if it has one (auto), chatml, or plain text.
            system: Text of the system's turn where a conversation has none; by default the template's own, an empty
                text for no such turn.
            image_size: Height and width of the network's pictures.
            mean: Mean of each channel, of values 0..1.
            std: Standard deviation of each channel, of values 0..1.
            interpolation: Filter for resizing.
            square: Shape pictures by padding in the mean colour, as LLaVA and Wings do, or by stretching.
            max_length: Largest number of ids of a conversation, those of pictures included. A longer one loses its
                oldest turns, a plain text its end.
            batch_size: Largest number of conversations per training batch and process.
            eval_batch_size: Conversations per batch and process in evaluation.
            batch_tokens: Largest number of ids per training batch and process, padding included; None for no limit.
            packed: Put the conversations of a training batch into one row without padding.
            temperature: Temperature of the mixture: above 1 small sources get a larger share than their size gives.
            on_missing: Action on pictures that cannot be read: stop, leave their rows out, or show the mean colour;
                both are counted and reported.
            on_bad_row: Action on malformed rows: stop, or leave them out, count and report them.
            cache: memory keeps ids and resized pictures of a stage; none makes them for each batch.
            num_workers: Worker processes of each loader; by default none with cache=memory, else up to 8.
            seed: Seed of the order; by default the run's seed.

        Raises:
            ConfigError: Settings contradict each other.
            DataError: A file or the tokenizer is missing or malformed.
        """
        workers = worker_count(num_workers, cache)
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, num_workers=workers, seed=seed)
        check_number("max_length", max_length, low=1, whole=True)
        if batch_tokens is not None:
            check_number("batch_tokens", batch_tokens, low=1, whole=True)
        for name, value, kind in (
            ("on_missing", on_missing, OnMissing), ("on_bad_row", on_bad_row, OnBadRow), ("cache", cache, Cache),
            ("square", square, Square), ("interpolation", interpolation, Interpolation),
        ):  # fmt: skip
            check_choice(name, value, get_args(kind))
        self._chat_settings = ChatSettings(tokenizer, image_tokens, template, system)
        self.appearance = Appearance(image_size, mean, std, interpolation, square)
        self.max_length, self.batch_tokens, self.packed, self.temperature = (
            max_length,
            batch_tokens,
            packed,
            temperature,
        )
        self._policy, self._cache = Policy(on_bad_row, on_missing), cache
        self.chat = self._chat_settings.load()
        self.vocabulary_size, self.image_tokens = self.chat.vocabulary_size, image_tokens
        given = {"fit": sources, "validate": validate_on, "test": test_on, "predict": predict_on}
        self._opened = {stage: _opened(each, root, stage) for stage, each in given.items()}
        self._opened["predict"] = self._opened["predict"] or self._opened["test"]
        if not any(self._opened.values()):
            raise ConfigError("no data set: give --data.root, or --data.sources, --data.test_on or --data.predict_on")
        self.sources = [source.name for source in self._opened["fit"]]
        self._stages: dict[str, StageRows] = {}
        self._sampler: LengthBatchSampler | None = None
        self.protocol = {
            "dataset": "+".join(dict.fromkeys(source.name for each in self._opened.values() for source in each)),
            "layout": "conversations",
            "root": str(next(source.path for each in self._opened.values() for source in each)),
            "tokenizer": tokenizer,
            "vocabulary_sha256": self.chat.vocabulary_sha256,
            "image_tokens": image_tokens,
            "template": template,
            "max_length": max_length,
            "packed": packed,
            "sources": {
                stage: {source.name: source.protocol() for source in each}
                for stage, each in self._opened.items()
                if each
            },
            "counts": {},
            "problems": {},
            "warnings": [],
        }

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

    def rows(self, split: Stage) -> list[Row]:
        """The rows of a split, by the index of batches; known after `setup`."""
        stage = self._stages.get(split)
        return [] if stage is None else [stage.row(index) for index in range(len(stage))]

    def use_features(self, tower: Callable[[Tensor], Tensor], batch_size: int = 64) -> None:
        """Run a frozen tower over the pictures of all stages that are set up, and give ``features`` in batches.

        Args:
            tower: Function from pictures (N, 3, h, w) to features (N, T, W).
            batch_size: Pictures in one call.
        """
        for rows in self._stages.values():
            rows.pictures.use_features(tower, batch_size)

    def preview(self, stage: Stage, index: int) -> str:
        """One line with the tokens of a row: supervised runs in double brackets, pictures as ``<picture 0 x5>``."""
        sample = self._stages[stage].sample(index)
        return self.chat.preview(sample.encoded())

    def prepare_data(self) -> None:
        """Encode the rows once per machine; the other processes read what is kept of large sources."""
        if self.trainer is not None and self.trainer.state.fn is not None:
            for name in stages_of(self.trainer.state.fn.value):
                if self._opened[name]:
                    survey_once(self._opened[name], self.chat, self.max_length, name)

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
                    f"there is nothing to {name} on: give --data.{ARGUMENTS[name]}, or a --data.root with it"
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
        made = StageRows(
            self._opened[name], self.chat, self.appearance, self.max_length,
            stage=name, policy=self._policy, cache=self._cache,
        )  # fmt: skip
        self._stages[name] = made
        self.protocol["counts"][name] = made.counts()
        if made.problems:
            self.protocol["problems"][name] = dict(sorted(made.problems.items()))
        for line in made.notes:
            self.protocol["warnings"].append(line)
            self.warn(f"Left out of {name}: {line}")
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
        else:
            self.sources += [task for task in made.tasks if task not in self.sources]

    def _mixture(self) -> Mixture:
        made = self._stages["fit"]
        weights = tuple(source.settings.weight for source in self._opened["fit"])
        return Mixture(made.sizes, weights, self.temperature)

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
        survey = self._stages["fit"].survey
        self._sampler = LengthBatchSampler(
            survey.lengths, survey.targets, survey.pictures > 0, self._mixture(),
            batch_size=self.batch_size, batch_tokens=self.batch_tokens, packed=self.packed,
            accumulate=self._accumulate(), seed=self.seed, rank=rank, world_size=world_size,
            used=None if self.trainer is None else self.trainer.limit_train_batches,
        )  # fmt: skip
        return self._sampler

    def _batches(self, stage: Stage, rank: int) -> InstructBatches:
        rows, training = self._stages[stage], stage == "fit"
        number = {name: index for index, name in enumerate(self.sources)}
        return InstructBatches(
            rows.sample,
            len(rows),
            sources=[number[name] for name in rows.source_names(tasks=not training)],
            pictures=rows.pictures if self.image_tokens else None,
            pad_id=self.chat.pad_id,
            pack=training and self.packed,
            step_targets=self._sampler.step_targets if training and self._sampler is not None else None,
        )


def _opened(given: Mapping[str, SourceSettings] | None, root: str | None, stage: str) -> list[RowSource]:
    """Sources of a stage: as given, or the file of a prepared set; none if it has none."""
    if given is None and root is not None and stage in FILES:
        folder = resolve_root(root)
        found = [folder / name for name in FILES[stage] if (folder / name).is_file()]
        given = {folder.name: SourceSettings(str(found[0]))} if found else None
    return open_sources({name: as_record(SourceSettings, each, "sources") for name, each in (given or {}).items()})


def _counted(own: Mapping[str, int]) -> str:
    """Numbers of a source in words; questions to evaluate have no supervised ids."""
    supervised = f", {own['targets']:,} supervised" if own["targets"] else ""
    return f"{own['rows']:,} rows ({own['rows_with_pictures']:,} with pictures), {own['tokens']:,} tokens{supervised}"
