"""Agreement of the detectors on the objects that a run's sentences name."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from vision_suite.mining.decide import Threshold, outcome
from vision_suite.mining.reading import MinedImage
from vision_suite.mining.step import GREEDY

OUTCOMES = (True, None, False)  # present, abstains, absent
Counts = list[list[int]]


@dataclass(frozen=True)
class Agreement:
    """Agreement of two detectors.

    Attributes:
        detectors: Both.
        counts: (3, 3) distinct objects of pictures by their outcomes, the first detector's in rows: present, abstains,
            absent.
        kappa: Cohen's kappa of the objects on which neither abstains, NaN where it is undefined.
        uncertain: Share of objects that are neither present nor absent for both.
        names: Counts of each name, the most frequent first.
    """

    detectors: tuple[str, str]
    counts: Counts
    kappa: float
    uncertain: float
    names: Mapping[str, Counts]

    def line(self) -> str:
        """The counts for a terminal."""
        total = sum(map(sum, self.counts))
        both, first, second, none = self.counts[0][0], self.counts[0][2], self.counts[2][0], self.counts[2][2]
        return (
            f"agreement   {' and '.join(self.detectors)}: {total:,} objects, {both:,} present, {none:,} absent, "
            f"{first:,} for the first alone, {second:,} for the second alone, {total - both - none - first - second:,} "
            f"with an abstention; {self.uncertain:.1%} uncertain, kappa {self.kappa:.3f}"
        )


def agreements(images: Iterable[MinedImage], thresholds: Mapping[str, Threshold]) -> Iterator[Agreement]:
    """Agreement of each two detectors on the distinct objects of pictures.

    Args:
        images: Pictures with their steps.
        thresholds: Limits of the detectors.
    """
    found: dict[tuple[str, str], Counter[tuple[str, bool | None, bool | None]]] = defaultdict(Counter)
    known: set[tuple[str, str]] = set()
    for image in images:
        drawn = (row for rows in image.steps for row in rows.candidates if row.k != GREEDY)
        for name in dict.fromkeys(name for row in drawn for name in row.names):
            if (image.sha256, name) in known:
                continue
            known.add((image.sha256, name))
            told = {each: outcome(image.scores[each][name], limits.of(name)) for each, limits in thresholds.items()}
            for both in combinations(thresholds, 2):
                found[both][name, told[both[0]], told[both[1]]] += 1
    for both, counted in found.items():
        counts = _table((one, other, count) for (_, one, other), count in counted.items())
        frequent = Counter({name: 0 for name, _, _ in counted})
        for (name, _, _), count in counted.items():
            frequent[name] += count
        names = {
            name: _table((one, other, count) for (each, one, other), count in counted.items() if each == name)
            for name, _ in sorted(frequent.items(), key=lambda entry: (-entry[1], entry[0]))
        }
        uncertain = 1 - (counts[0][0] + counts[2][2]) / sum(map(sum, counts))
        yield Agreement(both, counts, kappa(counts), uncertain, names)


def kappa(counts: Sequence[Sequence[int]]) -> float:
    """Cohen's kappa of two outcomes, present and absent; objects with an abstention do not count.

    Args:
        counts: (3, 3) objects: present, abstains, absent.

    Returns:
        1 for agreement throughout, 0 for that of chance; NaN where chance alone agrees throughout, or nothing counts.

    Example:
        >>> round(kappa([[70, 0, 9], [0, 5, 0], [6, 0, 15]]), 10)
        0.5704467354
    """
    both, first, second, none = counts[0][0], counts[0][2], counts[2][0], counts[2][2]
    total = both + first + second + none
    if not total:
        return math.nan
    chance = ((both + first) * (both + second) + (none + first) * (none + second)) / total**2
    return ((both + none) / total - chance) / (1 - chance) if chance < 1 else math.nan


def _table(rows: Iterable[tuple[bool | None, bool | None, int]]) -> Counts:
    counts = Counter[tuple[bool | None, bool | None]]()
    for one, other, count in rows:
        counts[one, other] += count
    return [[counts[one, other] for other in OUTCOMES] for one in OUTCOMES]
