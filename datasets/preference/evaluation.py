"""Sources of an evaluation: requests for captions and questions, with the truth about their pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from vision_suite.datasets.conversations.encode import Sample
from vision_suite.datasets.conversations.pictures import Appearance
from vision_suite.datasets.conversations.rows import number_markers
from vision_suite.datasets.conversations.sources import FileSource, folder_of, spread
from vision_suite.datasets.conversations.stage import Policy, UsableRows
from vision_suite.datasets.conversations.survey import Survey, encoder, settings_of
from vision_suite.datasets.files import read_json
from vision_suite.datasets.loading import Cache
from vision_suite.datasets.pictures.manifest import find_inputs
from vision_suite.datasets.preference.truth import (
    AskedAbout,
    CocoTruth,
    amber_questions,
    coco_questions,
    pope_questions,
)
from vision_suite.datasets.roots import resolve_root
from vision_suite.errors import ConfigError, DataError, check_literals
from vision_suite.prepared import find_folder
from vision_suite.text.amber import RELATED, SAFE, AmberWords
from vision_suite.text.coco import CocoWords
from vision_suite.text.coco_wordnet import WordNetCocoWords
from vision_suite.text.lexicon import Lexicon, Words
from vision_suite.text.nouns import NounTable
from vision_suite.types.conversations import ImageRef, Message, Row
from vision_suite.types.preference import HallucinationItem

if TYPE_CHECKING:
    from vision_suite.text.chat import ChatFormat

EvaluationKind = Literal["chair", "object_halbench", "amber", "amber_question", "pope", "pictures"]
CAPTIONS = ("chair", "object_halbench")  # kinds whose truth is COCO's


@dataclass(frozen=True)
class EvaluationSettings:
    """Place of an evaluation's questions, and of the truth about them.

    Attributes:
        kind: Rules by which answers are judged; pictures for pictures without a truth, to predict on.
        path: File of the questions. For chair and object_halbench COCO's instances, or JSON lines with image_id and
            question; for amber and amber_question AMBER's queries; for pope its JSON lines; for pictures a folder, glob
            or file. Also relative to the data cache.
        image_root: Folder that the names of pictures are relative to; by default the file's own.
        annotations: Files of the truth: COCO's instances and reference captions, by default path itself; AMBER's
            annotations, by default annotations.json beside path. Beside the latter lie AMBER's words, relation.json and
            safe_words.txt, for captions.
        synonyms: Words for the objects of captions, a JSON list of groups or of objects with words; by default COCO's.
        compat: ``wordnet`` finds COCO's words as published ports of CHAIR do, which lose some plurals; it takes
            ``vision-suite data prepare wordnet``. By default all plurals count.
        question: Request for a caption, where the file has none.
        request: Text behind each question, on a line of its own.
        limit: Number of questions to use, spread evenly over the file; by default all.
    """

    kind: EvaluationKind
    path: str
    image_root: str | None = None
    annotations: list[str] | None = None
    synonyms: str | None = None
    compat: Literal["plurals", "wordnet"] = "plurals"
    question: str = "Please describe this image in detail."
    request: str = ""
    limit: int | None = None

    def __post_init__(self) -> None:
        check_literals(self, "evaluation")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"evaluation: limit={self.limit} of {self.path!r} must be 1 or more")
        if self.synonyms is not None and self.kind not in (*CAPTIONS, "pictures"):
            raise ConfigError(f"evaluation: kind={self.kind} of {self.path!r} takes no synonyms: leave them out")
        if self.compat == "wordnet" and (self.synonyms is not None or self.kind not in CAPTIONS):
            raise ConfigError(
                f"evaluation: compat=wordnet of {self.path!r} is for COCO's own words: leave it out, or take kind "
                "chair or object_halbench without synonyms"
            )
        if self.kind in ("pope", "pictures") and self.annotations:
            raise ConfigError(f"evaluation: kind={self.kind} of {self.path!r} takes no annotations: leave them out")


class EvaluationSource(FileSource):
    """Questions of one evaluation.

    Args:
        name: Name of the evaluation, under which its results are told apart.
        settings: Place of its questions, and of the truth about them.

    Attributes:
        name: Name of the evaluation.
        settings: Place of its questions.
        path: File of the questions.
        files: Files of the questions and of the truth.
        words: Words for objects in captions; None where there are no captions to judge.

    Raises:
        DataError: A file is missing, malformed or empty.
    """

    def __init__(self, name: str, settings: EvaluationSettings) -> None:
        self.name, self.settings = name, settings
        alone = settings.kind == "pictures"
        as_given = Path(settings.path).expanduser()  # a glob, which names no file of its own
        self.path = (find_folder(settings.path) or as_given) if alone else resolve_root(settings.path)
        self._folder = resolve_root(settings.image_root) if settings.image_root else folder_of(self.path)
        truths = [resolve_root(each) for each in settings.annotations or ()]
        synonyms = None if settings.synonyms is None else resolve_root(settings.synonyms)
        self.words: Words | None = None if synonyms is None else Lexicon(_groups(synonyms))
        if settings.kind == "pictures":
            asked = [_without_truth(file, settings.question, name) for file in find_inputs(str(self.path)).files]
        elif settings.kind == "chair" or settings.kind == "object_halbench":
            self.words = words = _coco_words(settings) if self.words is None else self.words
            truth = CocoTruth(truths or [self.path], words)
            asked = coco_questions(self.path, truth, settings.question, name, settings.kind)
            truths += [] if synonyms is None else [synonyms]
        elif settings.kind == "pope":
            asked = pope_questions(self.path, name)
        else:
            truths = truths or [self.path.with_name("annotations.json")]
            asked = amber_questions(self.path, truths[0], name, settings.kind)
            if settings.kind == "amber":
                self.words = AmberWords.load(truths[0].parent)
                truths += [truths[0].with_name(each) for each in (RELATED, SAFE)]
        if not asked:
            raise DataError(f"evaluation {name!r} has no questions of kind {settings.kind}: {str(self.path)!r}")
        self._asked: list[AskedAbout] = [asked[place] for place in spread(len(asked), settings.limit)]
        self.files = (
            [Path(each.picture) for each in self._asked] if alone else list(dict.fromkeys([self.path, *truths]))
        )

    def __len__(self) -> int:
        return len(self._asked)

    def row(self, index: int, notes: Counter[str]) -> Row:
        """The question at an index.

        Args:
            index: Index of the question.
            notes: Takes the numbers of rows that were changed, by kind; reading changes none.
        """
        asked = self._asked[index]
        text = f"{asked.question}\n{self.settings.request}" if self.settings.request else asked.question
        turns = number_markers([("user", text)], 1, Counter())
        messages = tuple(Message(who, parts) for who, parts in turns)
        picture = (ImageRef(self._folder / asked.picture),)
        return Row(asked.item.id, messages, picture, self.name, reference=asked.item.answer)

    def item(self, index: int) -> HallucinationItem:
        """Truth about the question at an index."""
        asked = self._asked[index]
        return replace(asked.item, picture=str(self._folder / asked.picture))


class EvaluationRows(UsableRows[Row, Sample]):
    """Questions of one stage, each evaluation's by length, so that batches hold rows of like length.

    Args:
        sources: Evaluations of the stage.
        chat: Format of conversations.
        appearance: Form in which the network sees pictures.
        max_length: Largest number of ids of a question.
        policy: Treatment of rows and pictures that cannot be used.
        cache: Keep ids and pictures in memory, or make them anew for each batch.
    """

    def __init__(
        self,
        sources: Sequence[EvaluationSource],
        chat: ChatFormat,
        appearance: Appearance,
        max_length: int,
        *,
        policy: Policy,
        cache: Cache,
    ) -> None:
        self._evaluations = list(sources)
        encode = encoder(chat, [max_length] * len(sources), stage="predict")
        settings = settings_of(chat, max_length, "predict")
        super().__init__(sources, encode, settings, appearance, policy=policy, cache=cache)

    def items(self) -> list[HallucinationItem]:
        """Truth about each row, by the index of batches."""
        return [self._evaluations[number].item(place) for number, place in self.survey.place.tolist()]

    def lexicons(self) -> dict[str, Words]:
        """Words for objects by name of the evaluation, where it has captions to judge."""
        return {each.name: each.words for each in self._evaluations if each.words is not None}

    def _ordered(self, found: Survey) -> Survey:
        return found.taken(np.lexsort((found.lengths, found.place[:, 0])).astype(np.int64))


def _without_truth(file: Path, question: str, task: str) -> AskedAbout:
    picture = str(file.absolute())
    return AskedAbout(question, picture, HallucinationItem(file.name, "chair", task, picture=picture))


def _coco_words(settings: EvaluationSettings) -> Words:
    refined = settings.kind == "object_halbench"
    if settings.compat == "wordnet":
        return WordNetCocoWords(NounTable.load(), refined=refined)
    return CocoWords(refined=refined)


def _groups(path: Path) -> list[list[str]]:
    """Groups of synonyms: a list of lists, or of objects with ``words``.

    Raises:
        DataError: The file is missing or malformed.
    """
    contents = read_json(path)
    groups: list[list[str]] = []
    for each in contents if isinstance(contents, list) else ():
        words = each.get("words") if isinstance(each, dict) else each
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            break
        groups.append(words)
    if not groups or len(groups) < len(contents):
        raise DataError(f"{str(path)!r} holds no groups of synonyms: give a list of lists of words")
    return groups
