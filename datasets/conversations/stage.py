"""Rows of one stage: those that can be used, by index, with their ids and pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar

import numpy as np

from vision_suite.datasets.conversations.encode import Sample
from vision_suite.datasets.conversations.pictures import Appearance, PictureStore, unreadable
from vision_suite.datasets.conversations.questions import as_question, with_answer
from vision_suite.datasets.conversations.sources import RowSource
from vision_suite.datasets.conversations.survey import (
    Encode,
    Rows,
    SampleT,
    Survey,
    encoder,
    settings_of,
    survey_once,
)
from vision_suite.datasets.loading import Cache
from vision_suite.errors import DataError
from vision_suite.types.conversations import ImageRef, Row
from vision_suite.types.data import Stage

if TYPE_CHECKING:
    from vision_suite.text.chat import ChatFormat

OnBadRow = Literal["error", "skip"]
SHOWN_BLANK = ": shown in the mean colour"  # end of the line about pictures that cost no row
OnMissing = Literal["error", "skip", "blank"]
SHOWN = 300  # signs of a path or reason in a message
KINDS = ("choice", "answer", "text")


@dataclass(frozen=True)
class Policy:
    """Treatment of rows that cannot be used, and of pictures that cannot be read.

    Attributes:
        bad_row: Stop at malformed rows, or leave them out and count them.
        missing: Stop at rows whose pictures cannot be read, leave them out, or show the mean colour; counted.
    """

    bad_row: OnBadRow = "error"
    missing: OnMissing = "error"


class Pictured(Protocol):
    """A row with pictures."""

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """Its pictures."""


RowT = TypeVar("RowT", bound=Pictured)


class UsableRows(Generic[RowT, SampleT]):
    """Rows of one stage that can be used, in the order of their sources, with their ids and pictures.

    Args:
        sources: Sources of the stage.
        encode: Function that turns a row of a source, by its number, into ids.
        settings: Everything else that the ids depend on, in plain values.
        appearance: Form in which the network sees pictures.
        policy: Treatment of rows and pictures that cannot be used.
        cache: Keep ids and pictures in memory, or make them anew for each batch.

    Attributes:
        problems: Numbers of rows and pictures that were left out or changed, by kind.
        notes: One line about each kind of row left out, or shown blank, with the first of them.
        survey: Lengths of the rows.
        pictures: Pictures of the rows.

    Raises:
        DataError: A row or picture cannot be used and the policy is to stop, or no row is left.
    """

    left_out: ClassVar[tuple[str, ...]] = ("over_length",)  # reasons to leave a row out, whatever the policy
    fatal: ClassVar[dict[str, str]] = {}  # reasons to stop, whatever the policy, and the way out

    def __init__(
        self,
        sources: Sequence[Rows[RowT]],
        encode: Encode[RowT, SampleT],
        settings: Mapping[str, Any],
        appearance: Appearance,
        *,
        policy: Policy,
        cache: Cache,
    ) -> None:
        self._sources, self._encode = list(sources), encode
        kept: dict[tuple[int, int], SampleT] | None = {} if cache == "memory" else None
        found = survey_once(self._sources, encode, settings, kept)
        self.problems, self.notes = found.problems, list(found.first.values())
        for reason in self.fatal.keys() & found.first.keys():
            line = found.first[reason]
            raise DataError(f"{self._counted({reason: line})} ({line}): {self.fatal[reason]}")
        bad = {reason: line for reason, line in found.first.items() if reason not in self.left_out}
        if bad and policy.bad_row == "error":
            raise DataError(f"{self._counted(bad)} ({next(iter(bad.values()))}): mend them, or pass on_bad_row=skip")
        found = self._readable(found, policy)
        if not len(found.place):
            raise DataError(f"no row is left of {', '.join(each.name for each in self._sources)}: {self._why(found)}")
        self.survey = self._ordered(found)
        blank = frozenset(self._unreadable) if policy.missing == "blank" else frozenset()
        refs = [ref for ref in found.refs if ref not in self._unreadable or ref in blank]
        self.pictures = PictureStore(appearance, cache, refs, blank)
        self._held: list[SampleT] | None = None
        if kept is not None:
            places = [(number, index) for number, index in self.survey.place.tolist()]
            self._held = [kept.get(place) or self._sample(index) for index, place in enumerate(places)]

    def __len__(self) -> int:
        return len(self.survey.place)

    def row(self, index: int) -> RowT:
        """The row at an index."""
        return self._read(index)

    def sample(self, index: int) -> SampleT:
        """Ids of the row at an index."""
        return self._sample(index) if self._held is None else self._held[index]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of usable rows of each source."""
        return tuple(np.bincount(self.survey.place[:, 0], minlength=len(self._sources)).tolist())

    def source_names(self) -> list[str]:
        """Name of the source of each row."""
        return [self._sources[number].name for number in self.survey.place[:, 0].tolist()]

    def counts(self) -> dict[str, dict[str, int]]:
        """Rows, rows with pictures, ids and supervised ids of each source."""
        found = {}
        for number, source in enumerate(self._sources):
            own = self.survey.place[:, 0] == number
            found[source.name] = {
                "rows": int(own.sum()),
                "rows_with_pictures": int((self.survey.pictures[own] > 0).sum()),
                "tokens": int(self.survey.lengths[own].sum()),
                "targets": int(self.survey.targets[own].sum()),
            }
        return found

    def _ordered(self, found: Survey) -> Survey:
        """The survey in the order of batches."""
        return found

    def _sample(self, index: int) -> SampleT:
        return self._encode(int(self.survey.place[index, 0]), self._read(index))

    def _read(self, index: int) -> RowT:
        """The row at an index, as its source gives it."""
        number, place = self.survey.place[index].tolist()
        row: RowT = self._sources[number].row(place, Counter())
        return row

    def _readable(self, found: Survey, policy: Policy) -> Survey:
        """The survey without rows whose pictures cannot be read, if the policy is to leave them out."""
        self._unreadable = unreadable(found.refs)
        if not self._unreadable:
            return found
        ref, reason = next(iter(self._unreadable.items()))
        first = (
            f"{len(self._unreadable)} of {len(found.refs)} pictures cannot be read (first: {str(ref.path)[:SHOWN]!r}: "
            f"{reason[:SHOWN]})"
        )
        if policy.missing == "error":
            raise DataError(f"{first}: copy them again, or pass on_missing=skip or on_missing=blank")
        self.problems["pictures_unreadable"] = len(self._unreadable)
        if policy.missing == "blank":
            self.notes.append(first + SHOWN_BLANK)
            return found
        self.notes.append(first)
        kept = [index for index, place in enumerate(found.place.tolist()) if self._is_whole(place)]
        self.problems["missing_image"] = len(found.place) - len(kept)
        return found.taken(np.array(kept, dtype=np.int64))

    def _is_whole(self, place: Sequence[int]) -> bool:
        """Tell whether all pictures of a row can be read."""
        row = self._sources[place[0]].row(place[1], Counter())
        return not any(ref in self._unreadable for ref in row.images)

    def _counted(self, reasons: dict[str, str]) -> str:
        return ", ".join(f"{self.problems[reason]} rows {reason.replace('_', ' ')}" for reason in reasons)

    def _why(self, found: Survey) -> str:
        return "; ".join(self.notes) or "they are empty"


class StageRows(UsableRows[Row, Sample]):
    """Conversations of one stage by the index of batches.

    Rows to train on stand in the order of their sources. Rows to evaluate are sorted by kind (choices, free answers,
    plain text), task and length, so that batches hold rows of like length.

    Args:
        sources: Sources of the stage.
        chat: Format of conversations.
        appearance: Form in which the network sees pictures.
        max_length: Largest number of ids, where a source has none of its own.
        stage: Use of the rows.
        policy: Treatment of rows and pictures that cannot be used.
        cache: Keep ids and pictures in memory, or make them anew for each batch.

    Raises:
        DataError: As `UsableRows`, or a task to score has questions with choices and without.
    """

    def __init__(
        self,
        sources: Sequence[RowSource],
        chat: ChatFormat,
        appearance: Appearance,
        max_length: int,
        *,
        stage: Stage,
        policy: Policy,
        cache: Cache,
    ) -> None:
        self._stage, self._training = stage, stage == "fit"
        encode, settings = encoding(sources, chat, max_length, stage)
        super().__init__(sources, encode, settings, appearance, policy=policy, cache=cache)

    def row(self, index: int) -> Row:
        """The row at an index; a conversation to evaluate on has its last answer as reference."""
        row = self._read(index)
        return with_answer(row) if self._training else as_question(row)

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks of the rows, each once."""
        return list(dict.fromkeys(self.task_names()))

    def task_names(self) -> list[str]:
        """Name of each row's task: the one that a question names itself, else its source's."""
        return [self.row(index).source for index in range(len(self))]

    def _ordered(self, found: Survey) -> Survey:
        """Rows to evaluate in the order of evaluation."""
        if self._training:
            return found
        rows = [as_question(self._sources[number].row(place, Counter())) for number, place in found.place.tolist()]
        if self._stage != "predict":
            _compare_kinds(rows)
        keys: list[Any] = [
            (KINDS.index(kind_of(row)), number, row.source, length, index)
            for index, (row, length, (number, _)) in enumerate(
                zip(rows, found.lengths.tolist(), found.place.tolist(), strict=True)
            )
        ]
        return found.taken(np.array([key[-1] for key in sorted(keys)], dtype=np.int64))


def encoding(
    sources: Sequence[RowSource], chat: ChatFormat, max_length: int, stage: Stage
) -> tuple[Encode[Row, Sample], dict[str, Any]]:
    """Function that turns rows of a stage into ids, and the settings that those depend on.

    Args:
        sources: Sources of the stage.
        chat: Format of conversations.
        max_length: Largest number of ids, where a source has none of its own.
        stage: Use of the rows.
    """
    longest = [source.settings.max_length or max_length for source in sources]
    return encoder(chat, longest, stage=stage), settings_of(chat, max_length, stage)


def _compare_kinds(rows: Sequence[Row]) -> None:
    """Refuse tasks of which one score would mix choices and free answers; chains have tasks of their own."""
    choices, answers = (
        {row.source for row in rows if kind_of(row) == kind and not row.is_chain} for kind in ("choice", "answer")
    )
    if mixed := sorted(choices & answers):
        raise DataError(f"task {mixed[0]!r} has questions with and without choices: give them sources of their own")


def kind_of(row: Row) -> Literal["choice", "answer", "text"]:
    """Kind of a row to evaluate on."""
    return "text" if row.text else "choice" if row.choices else "answer"
