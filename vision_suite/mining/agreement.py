"""Agreement of the detectors on the objects that a run's sentences name."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from vision_suite.metrics.hallucination.agreement import Agreement
from vision_suite.mining.decide import Threshold, outcome
from vision_suite.mining.reading import MinedImage
from vision_suite.mining.step import GREEDY

OUTCOMES = (True, None, False)  # present, abstains, absent
Counts = list[list[int]]


@dataclass(frozen=True)
class DetectorPair:
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


def agreements(images: Iterable[MinedImage], thresholds: Mapping[str, Threshold]) -> Iterator[DetectorPair]:
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
            found_by = {each: outcome(image.scores[each][name], limits.of(name)) for each, limits in thresholds.items()}
            for both in combinations(thresholds, 2):
                found[both][name, found_by[both[0]], found_by[both[1]]] += 1
    for both, counted in found.items():
        counts = _table((one, other, count) for (_, one, other), count in counted.items())
        frequent = Counter({name: 0 for name, _, _ in counted})
        for (name, _, _), count in counted.items():
            frequent[name] += count
        names = {
            name: _table((one, other, count) for (each, one, other), count in counted.items() if each == name)
            for name, _ in sorted(frequent.items(), key=lambda entry: (-entry[1], entry[0]))
        }
        (present, _, first), _, (second, _, absent) = counts
        told = Agreement(present, first, second, absent, sum(map(sum, counts)) - present - first - second - absent)
        yield DetectorPair(both, counts, told.kappa, told.uncertain, names)


def _table(rows: Iterable[tuple[bool | None, bool | None, int]]) -> Counts:
    counts = Counter[tuple[bool | None, bool | None]]()
    for one, other, count in rows:
        counts[one, other] += count
    return [[counts[one, other] for other in OUTCOMES] for one in OUTCOMES]
