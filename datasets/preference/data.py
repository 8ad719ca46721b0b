"""Preference data: pairs of continuations to train on, captions and questions to find made-up objects with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, get_args

from torch import Tensor
from torch.utils.data import Dataset

from vision_suite.datasets.base import Stage
from vision_suite.datasets.conversations.base import ConversationData
from vision_suite.datasets.conversations.batches import InstructBatches
from vision_suite.datasets.conversations.pictures import Appearance, Square
from vision_suite.datasets.conversations.settings import ChatSettings, ChatTemplate
from vision_suite.datasets.conversations.stage import OnBadRow, OnMissing, Policy
from vision_suite.datasets.loading import BatchKey, Cache
from vision_suite.datasets.pictures.images import Interpolation
from vision_suite.datasets.preference.batches import PreferenceBatches
from vision_suite.datasets.preference.encode import PairSample, Unit
from vision_suite.datasets.preference.evaluation import EvaluationRows, EvaluationSettings, EvaluationSource
from vision_suite.datasets.preference.reference import KeyedLogps, Score, branch_keys, reference_of, reference_path
from vision_suite.datasets.preference.sources import PairSettings, PairSource
from vision_suite.datasets.preference.stage import PairRows
from vision_suite.errors import ConfigError, check_choice, check_number
from vision_suite.records import as_record
from vision_suite.text.lexicon import Words
from vision_suite.types.conversations import Message, Row
from vision_suite.types.data import EvaluationStage
from vision_suite.types.preference import HallucinationItem, PreferenceRow

Rows = PairRows | EvaluationRows


class PreferenceData(ConversationData[Rows]):
    """Pairs of continuations to train on, and questions about pictures whose objects are known to evaluate on.

    ``sources`` names the sources of training, then the evaluations, by the index of batches; it is complete after
    `setup`.
    """

    items = "pairs"
    task = "preference"
    arguments: ClassVar[dict[str, str]] = {
        "fit": "sources",
        "validate": "validate_on",
        "test": "test_on",
        "predict": "predict_on",
    }

    def __init__(
        self,
        sources: dict[str, PairSettings] | None = None,
        validate_on: dict[str, EvaluationSettings] | None = None,
        test_on: dict[str, EvaluationSettings] | None = None,
        predict_on: dict[str, EvaluationSettings] | None = None,
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
        unit: Unit = "sentence",
        shuffle_labels: bool = False,
        changed_weight: float | None = None,
        batch_size: int = 8,
        eval_batch_size: int = 8,
        batch_tokens: int | None = None,
        temperature: float = 1.0,
        on_missing: OnMissing = "error",
        on_bad_row: OnBadRow = "error",
        cache: Cache = "none",
        num_workers: int | None = None,
        seed: int | None = None,
    ) -> None:
        """Load the tokenizer and open the sources; rows and pictures are read and checked when a stage begins.

        Args:
            sources: Sources of pairs to train on, by name.
            validate_on: Evaluations to validate on, by name.
            test_on: Evaluations to test on, by name.
            predict_on: Evaluations whose pictures to predict on, by name; by default those to test on.
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
            max_length: Largest number of ids of a beginning with either continuation, those of pictures included.
                Longer pairs are left out and counted; a limit that would cut a picture's tokens stops.
            unit: Continuations are single sentences behind the context (C-DPO), or whole answers that begin with it
                (DPO on the same pairs).
            shuffle_labels: Draw the order of each pair at random by the seed: a control that must learn nothing.
            changed_weight: Weight of ids in which both continuations differ, for DDPO; by default batches have no
                weights.
            batch_size: Largest number of pairs per training batch and process.
            eval_batch_size: Questions per batch and process in evaluation.
            batch_tokens: Largest number of ids per training batch and process, padding included, each beginning counted
                once with both continuations; None for no limit.
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
        check_choice("unit", unit, get_args(Unit))
        if changed_weight is not None:
            check_number("changed_weight", changed_weight, low=1)
        self.unit, self.shuffle_labels, self.changed_weight = unit, shuffle_labels, changed_weight
        given = {"validate": validate_on, "test": test_on, "predict": predict_on}
        pairs = {name: as_record(PairSettings, each, "sources") for name, each in (sources or {}).items()}
        opened: dict[str, Sequence[PairSource | EvaluationSource]] = {
            "fit": [PairSource(name, each) for name, each in pairs.items()]
        }
        for stage, evaluations in given.items():
            opened[stage] = _evaluations(evaluations or {}, self.arguments[stage])
        opened["predict"] = opened["predict"] or opened["test"]
        if not any(opened.values()):
            raise ConfigError("no data: give --data.sources, --data.test_on or --data.predict_on")
        self._open(opened, "preferences", unit=unit, shuffle_labels=shuffle_labels, changed_weight=changed_weight)

    def rows(self, split: Stage) -> list[Row]:
        """The questions of a split by the index of batches, known after `setup`; to train, with preferred answers."""
        stage = self._stages.get(split)
        if stage is None:
            return []
        if isinstance(stage, EvaluationRows):
            return [stage.row(index) for index in range(len(stage))]
        return [_as_row(pair) for pair in self.pairs()]

    def pairs(self) -> list[PreferenceRow]:
        """The pairs of training in the order in which they are trained on, by the index of batches."""
        stage = self._stages.get("fit")
        return [stage.row(index) for index in range(len(stage))] if isinstance(stage, PairRows) else []

    def preview(self, stage: Stage, index: int) -> str:
        """Tokens of a row; a pair is three lines: the beginning, then both sides, supervised, in double brackets."""
        sample = self._stages[stage].sample(index)
        if not isinstance(sample, PairSample):
            return self.chat.preview(sample.encoded())
        chosen, rejected = (self.chat.preview(sample.side(number)) for number in (0, 1))
        return f"{self.chat.preview(sample.prefix.encoded())}\n  preferred {chosen}\n  rejected  {rejected}"

    def hallucination_items(self, split: EvaluationStage) -> list[HallucinationItem]:
        """The truth about each row of a split by the index of batches, known after `setup`."""
        stage = self._stages.get(split)
        return stage.items() if isinstance(stage, EvaluationRows) else []

    def lexicons(self, split: Stage) -> dict[str, Words]:
        """Words for objects by name of the evaluation, where its kind takes some; known after `setup`."""
        stage = self._stages.get(split)
        return stage.lexicons() if isinstance(stage, EvaluationRows) else {}

    def use_reference(self, logps: Score, weights: str) -> None:
        """Give ``reference_logps`` in batches of training: stored ones, the others computed now and stored.

        Args:
            logps: Function from a batch to the log-probabilities (B, 2) of its continuations before training.
            weights: Checksum of the network's weights before training.
        """
        rows = self._training_rows()
        samples = [rows.sample(index) for index in range(len(rows))]
        precision = "" if self.trainer is None else str(self.trainer.precision)
        keys = branch_keys(samples, weights=weights, precision=precision, form=repr(self.appearance))
        batches = self._batches("fit", 0)

        def batch_of(indices: list[int]) -> Any:
            batch = batches[BatchKey(indices, 0, 0)]
            return batch if self.trainer is None else self.trainer.strategy.batch_to_device(batch)

        rows.reference = None
        rows.reference = reference_of(
            samples, keys, KeyedLogps(reference_path(weights)), logps, batch_of, self.batch_size
        )

    def _training_rows(self) -> PairRows:
        rows = self._stages.get("fit")
        if not isinstance(rows, PairRows):
            raise ConfigError("the pairs of training are not read yet: call setup('fit') first")
        return rows

    def _rows_of(self, name: Stage) -> Rows:
        own: dict[str, Any] = {"policy": self._policy, "cache": self._cache}
        arguments = (self._opened[name], self.chat, self.appearance, self.max_length)
        if name != "fit":
            return EvaluationRows(*arguments, **own)
        return PairRows(*arguments, unit=self.unit, shuffled=self.seed if self.shuffle_labels else None, **own)

    def _use(self, name: Stage) -> None:
        super()._use(name)
        if name != "fit":
            self.sources += [each.name for each in self._opened[name] if each.name not in self.sources]

    def _batches(self, stage: Stage, rank: int) -> Dataset[dict[str, Tensor]]:
        rows = self._stages[stage]
        number = {name: index for index, name in enumerate(self.sources)}
        sources = [number[name] for name in rows.source_names()]
        pictures = rows.pictures if self.image_tokens else None
        if isinstance(rows, PairRows):
            return PreferenceBatches(
                rows, sources=sources, pictures=pictures, pad_id=self.chat.pad_id, changed_weight=self.changed_weight
            )
        return InstructBatches(rows.sample, len(rows), sources=sources, pictures=pictures, pad_id=self.chat.pad_id)


def _evaluations(given: Mapping[str, EvaluationSettings], argument: str) -> list[EvaluationSource]:
    """Evaluations of an argument, each opened; pictures without a truth are there to predict on only."""
    settings = {name: as_record(EvaluationSettings, each, argument) for name, each in given.items()}
    for name, each in settings.items():
        if each.kind == "pictures" and argument != "predict_on":
            raise ConfigError(f"{argument}.{name}: kind=pictures has no truth to evaluate with: give it to predict_on")
    return [EvaluationSource(name, each) for name, each in settings.items()]


def _as_row(pair: PreferenceRow) -> Row:
    """A pair as the conversation with its preferred answer."""
    answer = f"{pair.context} {pair.chosen}" if pair.context else pair.chosen
    return Row(pair.id, (*pair.messages, Message("assistant", (answer,))), pair.images, pair.source)
