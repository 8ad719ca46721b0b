"""Instruction data: conversations about pictures and text, from several sources mixed by weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from vision_suite.datasets.base import Stage, stages_of
from vision_suite.datasets.conversations.base import ConversationData
from vision_suite.datasets.conversations.batches import InstructBatches
from vision_suite.datasets.conversations.pictures import Appearance, Square
from vision_suite.datasets.conversations.settings import ChatSettings, ChatTemplate
from vision_suite.datasets.conversations.sources import RowSource, SourceSettings, open_sources
from vision_suite.datasets.conversations.stage import OnBadRow, OnMissing, Policy, StageRows, encoding
from vision_suite.datasets.conversations.survey import survey_once
from vision_suite.datasets.lengths import LengthBatchSampler
from vision_suite.datasets.loading import Cache
from vision_suite.datasets.pictures.images import Interpolation
from vision_suite.datasets.roots import resolve_root
from vision_suite.errors import ConfigError
from vision_suite.records import as_record
from vision_suite.types.instruct import Row

# Files of a prepared set by stage; the first that is there counts.
FILES = {
    "fit": ("train.json", "train.jsonl"),
    "validate": ("questions_val.jsonl", "val.json", "val.jsonl"),
    "test": ("questions_test.jsonl", "test.json", "test.jsonl"),
}
ARGUMENTS = {"fit": "sources", "validate": "validate_on", "test": "test_on", "predict": "predict_on"}


class InstructData(ConversationData[StageRows]):
    """Conversations about pictures and text: to train on, and questions and plain text to evaluate on.

    ``image_tokens`` is kept as given. ``sources`` names the sources of training, then the tasks of evaluation, by the
    index of batches; it is complete after `setup`.

    Attributes:
        chat: Format of the conversations.
        vocabulary_size: Number of ids of the tokenizer.
    """

    items = "conversations"
    task = "instruct"
    arguments: ClassVar[dict[str, str]] = ARGUMENTS

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
        super().__init__(
            chat=ChatSettings(tokenizer, image_tokens, template, system),
            appearance=Appearance(image_size, mean, std, interpolation, square),
            max_length=max_length, batch_tokens=batch_tokens, temperature=temperature,
            policy=Policy(on_bad_row, on_missing), cache=cache,
            batch_size=batch_size, eval_batch_size=eval_batch_size, num_workers=num_workers, seed=seed,
        )  # fmt: skip
        self.packed = packed
        given = {"fit": sources, "validate": validate_on, "test": test_on, "predict": predict_on}
        opened = {stage: _opened(each, root, stage) for stage, each in given.items()}
        opened["predict"] = opened["predict"] or opened["test"]
        if not any(opened.values()):
            raise ConfigError("no data set: give --data.root, or --data.sources, --data.test_on or --data.predict_on")
        self._open(opened, "conversations", packed=packed)

    def rows(self, split: Stage) -> list[Row]:
        """The rows of a split, by the index of batches; known after `setup`."""
        stage = self._stages.get(split)
        return [] if stage is None else [stage.row(index) for index in range(len(stage))]

    def preview(self, stage: Stage, index: int) -> str:
        """One line with the tokens of a row: supervised runs in double brackets, pictures as ``<picture 0 x5>``."""
        sample = self._stages[stage].sample(index)
        return self.chat.preview(sample.encoded())

    def prepare_data(self) -> None:
        """Encode the rows once per machine; the other processes read what is kept of large sources."""
        if self.trainer is not None and self.trainer.state.fn is not None:
            for name in stages_of(self.trainer.state.fn.value):
                if self._opened[name]:
                    survey_once(self._opened[name], *encoding(self._opened[name], self.chat, self.max_length, name))

    def _rows_of(self, name: Stage) -> StageRows:
        return StageRows(
            self._opened[name], self.chat, self.appearance, self.max_length,
            stage=name, policy=self._policy, cache=self._cache,
        )  # fmt: skip

    def _use(self, name: Stage) -> None:
        super()._use(name)
        if name != "fit":
            self.sources += [task for task in self._stages[name].tasks if task not in self.sources]

    def _train_sampler(self, rank: int, world_size: int) -> LengthBatchSampler:
        return self._sampler_of(rank, world_size, packed=self.packed)

    def _batches(self, stage: Stage, rank: int) -> InstructBatches:
        rows, training = self._stages[stage], stage == "fit"
        number = {name: index for index, name in enumerate(self.sources)}
        return InstructBatches(
            rows.sample,
            len(rows),
            sources=[number[name] for name in (rows.source_names() if training else rows.task_names())],
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
