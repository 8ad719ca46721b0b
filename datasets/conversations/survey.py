"""Survey of a stage's rows before anything starts: every one is read and encoded once, and faults are counted."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from pytorch_lightning.utilities import rank_zero_info

from vision_suite.datasets.conversations.encode import Sample, prompt_sample, training_sample
from vision_suite.datasets.conversations.questions import as_question, is_answered, with_answer
from vision_suite.datasets.conversations.rows import SHOWN, BadRow
from vision_suite.drafts import write_whole
from vision_suite.errors import DataError
from vision_suite.prepared import data_dir
from vision_suite.types.arrays import Ints
from vision_suite.types.conversations import ImageRef, Row
from vision_suite.types.data import Stage

if TYPE_CHECKING:
    from vision_suite.text.chat import ChatFormat

REMEMBER_FROM = 20_000  # rows; encoding fewer takes some seconds
RULES = 2  # raised when rows are read or encoded in another way, so that earlier outcomes are not used


class Measured(Protocol):
    """A row as ids, as far as a survey counts it."""

    @property
    def length(self) -> int:
        """Number of ids."""

    @property
    def targets(self) -> int:
        """Number of supervised ids."""

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """Its pictures."""

    @property
    def cut(self) -> bool:
        """True if it lost a part because it was too long."""

    @property
    def unknown(self) -> bool:
        """True if it has words that the tokenizer does not know."""


RowT = TypeVar("RowT")
RowT_co = TypeVar("RowT_co", covariant=True)
SampleT = TypeVar("SampleT", bound=Measured)
Encode = Callable[[int, RowT], SampleT]


class Rows(Protocol[RowT_co]):
    """Rows of a file or folder, such as a `vision_suite.datasets.conversations.sources.RowSource`.

    Attributes:
        name: Name of the source.
    """

    name: str

    def __len__(self) -> int: ...

    def row(self, index: int, notes: Counter[str]) -> RowT_co:
        """The row at an index; `BadRow` if it cannot be used."""

    def protocol(self) -> dict[str, Any]:
        """Settings of the source in plain values."""

    def stamps(self) -> list[list[str | int]]:
        """Path, size and time of each file, which tell whether one has changed."""


@dataclass
class Survey:
    """Usable rows of a stage.

    Attributes:
        place: (N, 2) number of the source and index in it of each row.
        lengths: (N,) ids.
        targets: (N,) supervised ids.
        pictures: (N,) pictures.
        refs: Pictures of all rows, each once.
        problems: Numbers of rows left out or changed, by kind.
        first: Message about the first row of each kind that was left out.
    """

    place: Ints
    lengths: Ints
    targets: Ints
    pictures: Ints
    refs: list[ImageRef]
    problems: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def taken(self, rows: Ints) -> Survey:
        """The survey of some of the rows, in the order given."""
        return replace(
            self,
            place=self.place[rows],
            lengths=self.lengths[rows],
            targets=self.targets[rows],
            pictures=self.pictures[rows],
        )


def survey_once(
    sources: Sequence[Rows[RowT]],
    encode: Encode[RowT, SampleT],
    settings: Mapping[str, Any],
    kept: dict[tuple[int, int], SampleT] | None = None,
) -> Survey:
    """Survey of the sources of a stage; that of large ones is kept in the data cache until a file or setting changes.

    Args:
        sources: Sources of the stage.
        encode: Function that turns a row of a source, by its number, into ids.
        settings: Everything else that the ids depend on, in plain values.
        kept: Takes the ids of each row by number of its source and index in it, where rows are encoded now.
    """
    total = sum(map(len, sources))
    if total < REMEMBER_FROM:
        return survey(sources, encode, kept)
    stamp = [RULES, dict(settings), [[source.protocol(), source.stamps()] for source in sources]]
    digest = hashlib.sha256(json.dumps(stamp, sort_keys=True).encode()).hexdigest()
    memo = data_dir() / "surveys" / f"{digest[:32]}.json"
    if memo.is_file():
        stored = json.loads(memo.read_text(encoding="utf-8"))
        refs = [ImageRef(Path(path), start, length, column) for path, start, length, column in stored["refs"]]
        return _made(stored["rows"], refs, Counter(stored["problems"]), stored["first"])
    rank_zero_info(f"Encoding {total} rows (once, until a file or setting changes)")
    made = survey(sources, encode, kept)
    table = np.concatenate([made.place, np.stack([made.lengths, made.targets, made.pictures], axis=1)], axis=1)
    named = [[str(ref.path), *ref[1:]] for ref in made.refs]
    contents = {"rows": table.tolist(), "refs": named, "problems": made.problems, "first": made.first}
    write_whole(memo, json.dumps(contents))
    return made


def settings_of(chat: ChatFormat, max_length: int, stage: Stage) -> dict[str, Any]:
    """Settings that the ids of a conversation depend on, for `survey_once`."""
    return {**chat.settings, "format": chat.fingerprint(), "max_length": max_length, "stage": stage}


def survey(
    sources: Sequence[Rows[RowT]],
    encode: Encode[RowT, SampleT],
    kept: dict[tuple[int, int], SampleT] | None,
) -> Survey:
    """Read and encode every row once.

    Args:
        sources: Sources of a stage.
        encode: Function that turns a row of a source, by its number, into ids.
        kept: Takes the ids of each row by number of its source and index in it.
    """
    found: list[tuple[int, int, int, int, int]] = []
    refs: dict[ImageRef, None] = {}
    problems: Counter[str] = Counter()
    first: dict[str, str] = {}
    for number, source in enumerate(sources):
        for index in range(len(source)):
            try:
                row = source.row(index, problems)
                sample = encode(number, row)
            except BadRow as error:
                problems[error.reason] += 1
                first.setdefault(error.reason, f"source {source.name!r} {error}")
                continue
            if kept is not None:
                kept[number, index] = sample
            if sample.cut:
                problems["rows_cut"] += 1
            if sample.unknown:
                problems["rows_with_unknown_words"] += 1
            found.append((number, index, sample.length, sample.targets, len(sample.images)))
            refs |= dict.fromkeys(sample.images)
    return _made(found, list(refs), problems, first)


def encoder(chat: ChatFormat, longest: Sequence[int], *, stage: Stage) -> Encode[Row, Sample]:
    """Function that turns a row of a source, by the source's number, into ids.

    Args:
        chat: Format of conversations.
        longest: Largest number of ids of each source's rows.
        stage: Stage; to train, whole conversations are encoded, else questions up to their answer.
    """

    def encode(number: int, row: Row) -> Sample:
        try:
            if stage == "fit":
                return training_sample(chat, with_answer(row), longest[number])
            asked = as_question(row)
            if stage != "predict" and not asked.text and not is_answered(asked):
                raise BadRow("no_answer", "its right answer is not given")
            for text in (asked.reference, *asked.choices):  # encoded only when they are scored
                chat.check_text(text)
            return prompt_sample(chat, asked, longest[number])
        except DataError as error:  # of the chat format too, such as a special token within a text
            reason = error.reason if isinstance(error, BadRow) else "malformed"
            raise BadRow(reason, f"row {row.id[:SHOWN]!r}: {error}") from None

    return encode


def _made(rows: Sequence[Sequence[int]], refs: list[ImageRef], problems: Counter[str], first: dict[str, str]) -> Survey:
    """Survey of rows (source, index, ids, supervised ids, pictures)."""
    table = np.array(rows, dtype=np.int64).reshape(-1, 5)
    return Survey(table[:, :2], table[:, 2], table[:, 3], table[:, 4], refs, problems, first)
