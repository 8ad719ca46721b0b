"""A filter of sentences while captions are written: detectors must have found everything that a sentence names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info

from vision_suite.datasets.conversations.pictures import read_picture
from vision_suite.datasets.preference.data import PreferenceData
from vision_suite.detectors.small import SmallDetector
from vision_suite.errors import ConfigError, check_number
from vision_suite.lit_modules.base import datamodule_of
from vision_suite.lit_modules.captions import LitCaptions
from vision_suite.text.coco import CocoWords
from vision_suite.text.lexicon import Words
from vision_suite.types.conversations import Row


class Scorer(Protocol):
    """Part of a detector that the filter asks."""

    def score(self, images: Sequence[Image.Image], queries: Sequence[Sequence[str]]) -> list[dict[str, float]]:
        """Scores of each picture's names."""


class SentenceFilter(Callback):
    """Lets ``predict`` write captions of sentences whose objects all detectors have found (the paper's App. A.2).

    A sentence without objects passes. An object that a detector does not know, or does not find, keeps a sentence out.
    Objects are found by the words of the evaluation (its ``synonyms``), else by COCO's. The end tells how many
    sentences were judged and refused.

    Args:
        detectors: Checkpoint of each detector, by a name of your choice, see configs/sentinel/detector_a.
        threshold: Score from which an object counts as found; by default that of each detector's own validation.
    """

    def __init__(self, detectors: dict[str, str], threshold: float | None = None) -> None:
        if not detectors:
            raise ConfigError("SentenceFilter has no detectors: give one checkpoint or more, such as {a: a/last.ckpt}")
        if threshold is not None:
            check_number("threshold", threshold, low=0, high=1)
        self._paths, self._threshold = dict(detectors), threshold
        self._detectors: list[tuple[Scorer, float]] = []
        self._rows: list[Row] = []
        self._words: Mapping[str, Words] = {}
        self._scores: dict[tuple[int, int, str], float] = {}
        self._judged, self._refused = 0, 0

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load the detectors, and judge the sentences of the module.

        Raises:
            ConfigError: The module writes no captions, or a detector has no threshold.
        """
        data = datamodule_of(trainer)
        if not isinstance(pl_module, LitCaptions) or not isinstance(data, PreferenceData):
            raise ConfigError("SentenceFilter is for predictions of LitSentinel on PreferenceData: leave it out")
        self._detectors = [self._loaded(name, path) for name, path in self._paths.items()]
        self._rows, self._words, self._scores = data.rows("predict"), data.lexicons("predict"), {}
        self._judged, self._refused = 0, 0
        pl_module.judge = self.clean

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge no further ones, and tell the numbers of this process."""
        if isinstance(pl_module, LitCaptions):
            pl_module.judge = None
        rank_zero_info(f"SentenceFilter: refused {self._refused} of {self._judged} sentences")

    def clean(self, index: int, context: str, sentences: Sequence[str]) -> list[bool]:
        """Tell of each sentence whether every detector finds everything that it names.

        Args:
            index: Index of the picture's question.
            context: Caption so far.
            sentences: Sentences that may follow it.
        """
        row = self._rows[index]
        words = self._words.get(row.source) or CocoWords()
        named = [{mention.name for mention in words.find(sentence)} for sentence in sentences]
        self._ask(index, row, set().union(*named))
        every = range(len(self._detectors))
        clean = [
            all(self._scores[index, number, name] >= self._detectors[number][1] for name in names for number in every)
            for names in named
        ]
        self._judged, self._refused = self._judged + len(clean), self._refused + clean.count(False)
        return clean

    def _ask(self, index: int, row: Row, names: set[str]) -> None:
        """Score names that were not asked about this picture before."""
        new = sorted(name for name in names if (index, 0, name) not in self._scores)
        if not new:
            return
        picture = read_picture(row.images[0])
        for number, (detector, _) in enumerate(self._detectors):
            found = detector.score([picture], [new])[0]
            self._scores |= {(index, number, name): found[name] for name in new}

    def _loaded(self, name: str, path: str) -> tuple[Scorer, float]:
        detector = SmallDetector(Path(path), name)
        threshold = detector.threshold if self._threshold is None else self._threshold
        if threshold is None:
            raise ConfigError(f"SentenceFilter: detector {name!r} has no threshold of its validation: give threshold")
        return detector, threshold
