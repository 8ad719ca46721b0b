"""Pairs of scanpaths that are compared with each other, and their scores by stimulus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vision_suite.metrics.scanpath.pairwise.scores import PAIR_SCORES, PairSettings, Stimulus, pair_scores
from vision_suite.metrics.scanpath.paths import Scanpath
from vision_suite.metrics.scanpath.report.protocol import best_by, human_pairs, mean_by
from vision_suite.types.arrays import Floats, Ints

GroupedPaths = Sequence[Sequence[Scanpath]]


@dataclass(frozen=True)
class Comparison:
    """Scanpaths of many stimuli, and the pairs of them that are compared.

    Attributes:
        paths: N scanpaths, one stimulus after the other.
        stimuli: Stimulus of each scanpath.
        owner: (N,) int64 index of each scanpath's stimulus.
        pairs: (P, 2) int64 indices of the compared scanpaths.
        count: Number of stimuli.
    """

    paths: list[Scanpath]
    stimuli: list[Stimulus]
    owner: Ints
    pairs: Ints
    count: int

    @classmethod
    def against(cls, samples: GroupedPaths, humans: GroupedPaths, stimuli: Sequence[Stimulus]) -> Comparison:
        """Every sample with every human scanpath of its stimulus.

        Args:
            samples: Samples by stimulus.
            humans: Human scanpaths by stimulus.
            stimuli: S stimuli.
        """
        chosen = []
        for own, others in zip(samples, humans, strict=True):
            end = len(own) + len(others)
            chosen.append([(one, other) for one in range(len(own)) for other in range(len(own), end)])
        both = [[*own, *others] for own, others in zip(samples, humans, strict=True)]
        return cls._of(both, chosen, stimuli)

    @classmethod
    def among(cls, humans: GroupedPaths, stimuli: Sequence[Stimulus]) -> Comparison:
        """Every human scanpath with those of the other observers of its stimulus, in both orders.

        Args:
            humans: Human scanpaths by stimulus.
            stimuli: S stimuli.
        """
        return cls._of(humans, [human_pairs([path.observer for path in own]) for own in humans], stimuli)

    @classmethod
    def _of(
        cls, paths: GroupedPaths, chosen: Sequence[list[tuple[int, int]]], stimuli: Sequence[Stimulus]
    ) -> Comparison:
        counts = [len(own) for own in paths]
        starts = np.cumsum([0, *counts])[:-1].tolist()
        pairs = [(start + one, start + two) for start, own in zip(starts, chosen, strict=True) for one, two in own]
        return cls(
            paths=[path for own in paths for path in own],
            stimuli=[stimulus for stimulus, count in zip(stimuli, counts, strict=True) for _ in range(count)],
            owner=np.repeat(np.arange(len(paths)), counts),
            pairs=np.array(pairs, dtype=np.int64).reshape(-1, 2),
            count=len(paths),
        )

    def scores(self, names: Sequence[str], settings: PairSettings) -> dict[str, Floats]:
        """(P,) float64 scores of all pairs, by name; a score of several parts has a name for each, ``name/part``."""
        found: dict[str, Floats] = {}
        for name in names:
            values = pair_scores(name, self.paths, self.stimuli, self.pairs, settings)
            labels = [f"{name}/{part}" for part in PAIR_SCORES[name].columns] or [name]
            found |= dict(zip(labels, values.T, strict=True))
        return found

    def means(self, values: Floats) -> Floats:
        """(S,) mean of (P,) scores over the pairs of each stimulus; NaN for a stimulus without a score."""
        return mean_by(values, self.owner[self.pairs[:, 0]], self.count)

    def best_means(self, values: Floats, *, higher: bool) -> Floats:
        """(S,) mean over the first scanpaths of each stimulus of the best of their scores; NaN without a score."""
        best = best_by(values, self.pairs[:, 0], len(self.paths), higher=higher)
        return mean_by(best, self.owner, self.count)
