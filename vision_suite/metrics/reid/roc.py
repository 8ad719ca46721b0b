"""Verification on the pairs of a retrieval test: the exact ROC curve at small false positive rates, and its thresholds.

A pair is accepted as the same identity when its distance is at most a threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.reid.ranking import AnyFloats, Block
from vision_suite.metrics.reid.truth import RetrievalTruth
from vision_suite.types.arrays import Floats

Gather = Callable[[np.ndarray], np.ndarray]
# Up to this number of negative pairs all of them are held, and the curve is drawn whole.
CURVE_PAIRS = 1 << 22
MANTISSAS = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)


@dataclass(frozen=True)
class Roc:
    """Exact ROC curve of P positive and N negative pairs, up to the false positive rate of the negatives held.

    Attributes:
        positives: (P,) distances of the positive pairs, ascending.
        negatives: (M,) distances of the M closest of the N negative pairs, ascending.
        num_negatives: N.
    """

    positives: AnyFloats = field(repr=False)
    negatives: AnyFloats = field(repr=False)
    num_negatives: int

    def accept(self, rate: float) -> float:
        """Largest distance that accepts at most the share ``rate`` of the negatives.

        Example:
            >>> roc = Roc(np.array([0.1, 0.4]), np.array([0.2, 0.3]), 2)
            >>> round(roc.accept(0.5), 6), roc.tpr(0.5)
            (0.3, 0.5)
        """
        return float(np.nextafter(self._bound(rate), -np.inf))

    def tpr(self, rate: float) -> float:
        """Share of positives accepted where at most the share ``rate`` of the negatives is."""
        return float(np.searchsorted(self.positives, self._bound(rate), side="left") / self.positives.size)

    def reject(self, rate: float) -> float:
        """Smallest distance beyond which at most the share ``rate`` of the positives lies.

        Example:
            >>> Roc(np.array([0.1, 0.4]), np.array([0.2, 0.3]), 2).reject(0.5)
            0.1
        """
        return float(self.positives[self.positives.size - 1 - allowed(rate, self.positives.size)])

    def table(self, wanted: Sequence[float] = ()) -> dict[str, Floats]:
        """Points of the curve at round rates and those ``wanted``, from one negative pair on.

        Returns:
            Ascending columns ``fpr``, ``tpr``, ``accept`` and ``reject``: rates of false positives, and for each rate
            the share of positives accepted, the distance up to which a pair is the same, and the one beyond which the
            same share of the positives lies.
        """
        decades = range(int(np.floor(np.log10(1 / self.num_negatives))), 0)
        rates = {float(f"{mantissa}e{decade}") for decade in decades for mantissa in MANTISSAS} | set(wanted)
        held = sorted(rate for rate in rates if allowed(rate, self.num_negatives) < self.negatives.size)
        kept = [rate for rate in held if rate in wanted or allowed(rate, self.num_negatives) > 0]
        return {
            "fpr": np.array(kept),
            "tpr": np.array([self.tpr(rate) for rate in kept]),
            "accept": np.array([self.accept(rate) for rate in kept]),
            "reject": np.array([self.reject(rate) for rate in kept]),
        }

    def _bound(self, rate: float) -> np.floating:
        """Distance of the closest negative that may not be accepted."""
        bound: np.floating = self.negatives[allowed(rate, self.num_negatives)]
        return bound


class PairTally:
    """Positive and closest negative pairs of a retrieval test, in one pass over blocks of distances.

    A pair is positive if the gallery entry is correct for the query, negative if identities differ; removed pairs
    (junk, same identity and camera) are neither. TPR at FPR f is the largest share of accepted positives over the
    thresholds that accept at most the share f of negatives. The number N of negatives is known before any distance, so
    only the positives and the floor(f N) + 1 closest negatives are held, and at least `CURVE_PAIRS` of them: no
    histogram, no binning. Memory: at most about four times the distances held.

    Args:
        truth: Identities and cameras.
        fpr: False positive rates, each above 0 and below 1.
        thresholds: Distances chosen elsewhere, whose rates are counted too: pairs up to the first are the same, pairs
            beyond the second different.

    Raises:
        ConfigError: A rate out of range.
        DataError: There is no negative pair.

    Example:
        >>> tally = PairTally(RetrievalTruth([7], [7, 8, 9], [0], [1, 1, 1]), fpr=[0.5])
        >>> blocks = list(tally.tap([(0, np.array([[0.1, 0.2, 0.3]]))]))
        >>> tally.rates()
        {'tpr_at_fpr_0.5': 1.0}
    """

    def __init__(
        self, truth: RetrievalTruth, fpr: Sequence[float], thresholds: tuple[float, float] | None = None
    ) -> None:
        check_rates(fpr)
        self.fpr = tuple(fpr)
        self._truth = truth
        queries, gallery = truth.shape
        same = sum(sum(rows.size for rows in truth.matches(query)) for query in range(queries))
        self._negatives = queries * (gallery - truth.junk.size) - same
        if self._negatives == 0:
            raise DataError("there is no negative pair to take a false positive rate from: all identities are equal")
        self._limit = max(allowed(max(self.fpr), self._negatives) + 1, min(self._negatives, CURVE_PAIRS))
        self._positives: list[AnyFloats] = []
        self._closest: list[AnyFloats] = []
        self._held = 0
        self._bound = np.inf
        self._thresholds = thresholds
        self._decided = np.zeros((1, 4), dtype=np.int64)  # positives called same, different; negatives likewise

    def tap(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Yield the blocks unchanged, after counting their pairs."""
        for start, block in blocks:
            for i, row in enumerate(block):
                positives, removed = self._truth.matches(start + i)
                negative = np.ones(row.size, dtype=bool)
                negative[positives] = negative[removed] = negative[self._truth.junk] = False
                self._positives.append(row[positives])
                self._closest.append(row[negative & (row <= self._bound)])
                self._held += self._closest[-1].size
                if self._held > 2 * self._limit + row.size:
                    self._shrink()
                if self._thresholds is not None:
                    same, different = row <= self._thresholds[0], row > self._thresholds[1]
                    sides = [each[part] for part in (positives, negative) for each in (same, different)]
                    self._decided += [[np.count_nonzero(side) for side in sides]]
            yield start, block

    def roc(self, gather: Gather | None = None) -> Roc:
        """The curve of all pairs.

        Args:
            gather: Function that joins the rows of all processes, if each counted a share of the blocks.

        Raises:
            DataError: There is no positive pair.
        """
        self._shrink()
        positives = np.concatenate([np.empty(0, dtype=np.float32), *self._positives])
        closest = np.concatenate([np.empty(0, dtype=np.float32), *self._closest])
        if gather is not None:
            positives, closest = gather(positives), gather(closest)
        if positives.size == 0:
            raise DataError(self._truth.why_invalid())
        return Roc(np.sort(positives), np.sort(closest)[: self._limit], self._negatives)

    def rates(self, gather: Gather | None = None) -> dict[str, float]:
        """True positive rates by name, ``tpr_at_fpr_0.001`` ...; arguments and errors as of `roc`."""
        return self.rates_of(self.roc(gather))

    def rates_of(self, roc: Roc) -> dict[str, float]:
        """True positive rates on a curve, by name."""
        return {f"tpr_at_fpr_{rate:g}": roc.tpr(rate) for rate in self.fpr}

    def decided(self, positives: int, gather: Gather | None = None) -> dict[str, float]:
        """Rates of the thresholds chosen elsewhere; none without them.

        Args:
            positives: Number of positive pairs of all processes.
            gather: As of `roc`.

        Returns:
            ``decision/tpr`` and ``decision/fpr``, the shares of positives and negatives called the same;
            ``decision/fnr``, the share of positives called different; ``decision/unsure``, that of all pairs called
            neither.
        """
        if self._thresholds is None:
            return {}
        rows = self._decided if gather is None else gather(self._decided)
        same, different, wrong, right = rows.sum(axis=0).tolist()
        pairs = positives + self._negatives
        return {
            "decision/tpr": same / positives,
            "decision/fpr": wrong / self._negatives,
            "decision/fnr": different / positives,
            "decision/unsure": (pairs - same - different - wrong - right) / pairs,
        }

    def _shrink(self) -> None:
        """Drop negatives that are not among the closest."""
        if self._held > self._limit:
            closest = np.partition(np.concatenate(self._closest), self._limit - 1)[: self._limit]
            self._closest, self._held, self._bound = [closest], closest.size, closest.max()


def allowed(rate: float, pairs: int) -> int:
    """Pairs that a rate lets through; the tiny term undoes the rounding of products like 0.29 x 100.

    Example:
        >>> allowed(0.29, 100)
        29
    """
    return min(int(rate * pairs + 1e-6), pairs - 1)


def check_rates(fpr: Sequence[float]) -> None:
    """Refuse false positive rates out of range.

    Raises:
        ConfigError: No rate, or one that is not above 0 and below 1.

    Example:
        >>> check_rates([0.01, 1.0])
        Traceback (most recent call last):
        vision_suite.errors.ConfigError: fpr=[0.01, 1.0]: give one or more false positive rates above 0 and below 1
    """
    if not fpr or not all(0 < rate < 1 for rate in fpr):
        raise ConfigError(f"fpr={list(fpr)}: give one or more false positive rates above 0 and below 1")
