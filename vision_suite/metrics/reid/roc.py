"""Verification on the pairs of a retrieval test: true positive rate at a given false positive rate (ROC points)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.reid.ranking import AnyFloats, Block
from vision_suite.metrics.reid.truth import RetrievalTruth


class PairTally:
    """Exact TPR at fixed FPR over all kept (query, gallery) pairs, in one pass over blocks of distances.

    A pair is positive if the gallery entry is correct for the query, negative if identities differ; removed pairs
    (junk, same identity and camera) are neither. A pair is accepted when its distance is at most a threshold; TPR at
    FPR f is the largest share of accepted positives over the thresholds that accept at most the share f of negatives.
    The number N of negatives is known before any distance, so only the positives and the floor(f N) + 1 closest
    negatives are held: no histogram, no binning. Memory: at most about four times max(f) N distances.

    Args:
        truth: Identities and cameras.
        fpr: False positive rates, each above 0 and below 1.

    Raises:
        ConfigError: A rate out of range.
        DataError: There is no negative pair.

    Example:
        >>> tally = PairTally(RetrievalTruth([7], [7, 8, 9], [0], [1, 1, 1]), fpr=[0.5])
        >>> blocks = list(tally.tap([(0, np.array([[0.1, 0.2, 0.3]]))]))
        >>> tally.rates()
        {'tpr_at_fpr_0.5': 1.0}
    """

    def __init__(self, truth: RetrievalTruth, fpr: Sequence[float]) -> None:
        check_rates(fpr)
        self.fpr = tuple(fpr)
        self._truth = truth
        queries, gallery = truth.shape
        same = sum(sum(rows.size for rows in truth.matches(query)) for query in range(queries))
        self._negatives = queries * (gallery - truth.junk.size) - same
        if self._negatives == 0:
            raise DataError("there is no negative pair to take a false positive rate from: all identities are equal")
        self._limit = self._allowed(max(self.fpr)) + 1
        self._positives: list[AnyFloats] = []
        self._closest: list[AnyFloats] = []
        self._held = 0
        self._bound = np.inf

    def tap(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Yield the blocks unchanged, after counting their pairs."""
        for start, block in blocks:
            for i, row in enumerate(block):
                positives, removed = self._truth.matches(start + i)
                near = row <= self._bound
                near[positives] = near[removed] = near[self._truth.junk] = False
                self._positives.append(row[positives])
                self._closest.append(row[near])
                self._held += self._closest[-1].size
                if self._held > 2 * self._limit + row.size:
                    self._shrink()
            yield start, block

    def rates(self, gather: Callable[[AnyFloats], AnyFloats] | None = None) -> dict[str, float]:
        """True positive rates by name, ``tpr_at_fpr_0.001`` ...

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
        closest.sort()
        return {
            f"tpr_at_fpr_{rate:g}": float(np.count_nonzero(positives < closest[self._allowed(rate)]) / positives.size)
            for rate in self.fpr
        }

    def _allowed(self, rate: float) -> int:
        """Negatives that may be accepted; the tiny term undoes the rounding of products like 0.29 x 100."""
        return int(rate * self._negatives + 1e-6)

    def _shrink(self) -> None:
        """Drop negatives that are not among the closest."""
        if self._held > self._limit:
            closest = np.partition(np.concatenate(self._closest), self._limit - 1)[: self._limit]
            self._closest, self._held, self._bound = [closest], closest.size, closest.max()


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
