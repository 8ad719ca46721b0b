"""The retrieval rule: from distances to ranks, and from ranks alone to AP, INP and CMC.

Every number of the suite's re-ID evaluation comes from `score`, for distances of any source (a full matrix,
features in chunks, re-ranking). The rank of a correct gallery entry is 1 + the kept entries strictly closer + the kept
entries at the same distance with a smaller gallery index: the order of a stable sort, without sorting.

Source: Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015 (single query, multi-shot gallery);
mINP: Ye et al., "Deep Learning for Person Re-identification", TPAMI 2021, eq. 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Literal, TypedDict

import numpy as np
import numpy.typing as npt
import torch

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.reid.truth import RetrievalTruth
from vision_suite.types.arrays import Floats, Ints

AnyFloats = npt.NDArray[np.floating]  # float32 or float64, as the features are
Block = tuple[int, AnyFloats]
APConvention = Literal["rect", "trapz"]

AP_CONVENTIONS: dict[str, str] = {
    "rect": "rectangular: mean of j / rank_j",
    "trapz": "trapezoidal: mean of (j / rank_j + (j - 1) / (rank_j - 1)) / 2",
}
TIES = "stable: by distance, then by gallery index"
# Up to here counting P times over a row is cheaper than one stable sort of it; both give the same ranks.
COUNT_UP_TO = 256
# Elements of one distance block. Fixed, so that blocks, and with them the last bits of distances, depend on sizes only.
BLOCK_ELEMENTS = 1 << 24


class RetrievalScores(TypedDict):
    """Result of one retrieval evaluation, in fractions of one.

    ``mAP``, ``mINP``: means over the valid queries. ``cmc`` (max_rank,) float64: share of valid queries with a correct
    entry among the first k. ``num_valid``: queries with at least one correct entry left. ``average_precision`` (Q,)
    float64: AP per query, NaN where the query is not valid.
    """

    mAP: float
    mINP: float
    cmc: Floats
    num_valid: int
    average_precision: Floats


@dataclass(frozen=True)
class QueryScores:
    """Scores of each query, which remain after its distances are dropped; rows are queries.

    Attributes:
        query: (Q,) row of the query.
        first: (Q, S) rank of the first correct entry, 0 if the query has none; S = 1, or one column per draw.
        average_precision: (Q,) AP, NaN if the query has no correct entry.
        inverse_negative_penalty: (Q,) number of correct entries / rank of the last one, NaN if there is none.
        ranked: (Q, K) gallery rows of the first K kept entries, -1 where fewer are left.
        ranked_distance: (Q, K) distances of ``ranked``, inf where fewer are left.
    """

    query: Ints
    first: Ints
    average_precision: Floats
    inverse_negative_penalty: Floats
    ranked: Ints
    ranked_distance: Floats

    @classmethod
    def empty(cls, queries: int, shots: int, keep: int) -> QueryScores:
        """Rows to fill, all without a correct entry."""
        return cls(
            query=np.arange(queries, dtype=np.int64),
            first=np.zeros((queries, shots), dtype=np.int64),
            average_precision=np.full(queries, np.nan),
            inverse_negative_penalty=np.full(queries, np.nan),
            ranked=np.full((queries, keep), -1, dtype=np.int64),
            ranked_distance=np.full((queries, keep), np.inf),
        )

    @classmethod
    def join(cls, parts: list[QueryScores]) -> QueryScores:
        """Join parts that were scored separately, in the order of their queries."""
        order = np.argsort(np.concatenate([part.query for part in parts]), kind="stable")
        columns = {f.name: np.concatenate([getattr(part, f.name) for part in parts])[order] for f in fields(cls)}
        return cls(**columns)


def row_blocks(queries: int, gallery: int) -> list[tuple[int, int]]:
    """Query ranges [start, stop) whose distance block fits `BLOCK_ELEMENTS`.

    Example:
        >>> row_blocks(1500, 100)
        [(0, 1024), (1024, 1500)]
    """
    rows = max(1, min(1024, BLOCK_ELEMENTS // max(1, gallery)))
    return [(start, min(start + rows, queries)) for start in range(0, queries, rows)]


def for_rows(work: Callable[[int], None], rows: int) -> None:
    """Do ``work`` for each row number, in as many threads as torch uses.

    Example:
        >>> squares = [0] * 4
        >>> for_rows(lambda row: squares.__setitem__(row, row * row), 4)
        >>> squares
        [0, 1, 4, 9]
    """
    workers = max(1, min(torch.get_num_threads(), rows))

    def share(first: int) -> None:
        for row in range(first, rows, workers):
            work(row)

    if workers == 1:
        share(0)
        return
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(share, range(workers)):
            pass


def check_finite(block: AnyFloats, start: int) -> None:
    """Refuse a block of distances, whose first query is ``start``, that holds NaN or infinity.

    Raises:
        DataError: Names the first such distance.

    Example:
        >>> check_finite(np.array([[0.1, np.nan]]), start=5)
        Traceback (most recent call last):
        vision_suite.errors.DataError: the distance of query 5 to gallery entry 1 is nan: ...
    """
    if not np.isfinite(block).all():
        i, j = np.argwhere(~np.isfinite(block))[0].tolist()
        raise DataError(
            f"the distance of query {start + i} to gallery entry {j} is {block[i, j]}: distances must be finite; "
            "check the features for NaN or overflow"
        )


def positive_ranks(row: AnyFloats, positives: Ints) -> Ints:
    """Ranks, from 1, of the entries ``positives`` (ascending) of a distance row whose removed entries are inf.

    Example:
        >>> positive_ranks(np.array([0.3, 0.1, 0.3, np.inf]), np.array([0, 2]))
        array([2, 3])
    """
    if positives.size > COUNT_UP_TO:
        order = np.argsort(row, kind="stable")
        rank = np.empty(row.size, dtype=np.int64)
        rank[order] = np.arange(1, row.size + 1)
        return rank[positives]
    ranks = np.empty(positives.size, dtype=np.int64)
    for i, position in enumerate(positives.tolist()):
        value = row[position]
        before = np.count_nonzero(row[:position] <= value)
        ranks[i] = 1 + before + np.count_nonzero(row[position + 1 :] < value)
    return ranks


def nearest(row: AnyFloats, k: int) -> Ints:
    """Positions of the k smallest finite entries in the order of a stable sort; fewer if fewer are finite.

    Example:
        >>> nearest(np.array([0.3, 0.1, 0.3, np.inf]), k=4)
        array([1, 0, 2])
    """
    k = min(k, row.size)
    if k == 0:
        return np.empty(0, dtype=np.int64)
    bound = np.partition(row, k - 1)[k - 1]
    near = np.flatnonzero(row <= bound)
    near = near[np.argsort(row[near], kind="stable")][:k]
    return near[np.isfinite(row[near])]


def average_precision(ranks: Ints, ap: APConvention) -> float:
    """AP of one query from the ascending ranks of its correct entries.

    ``rect``: mean_j j / rank_j. ``trapz``: mean_j (j / rank_j + (j - 1) / (rank_j - 1)) / 2, the second term being 1
    for rank_j = 1 (the Market-1501 MATLAB code).

    Example:
        >>> average_precision(np.array([1, 4]), "rect")  # (1 / 1 + 2 / 4) / 2
        0.75
    """
    found = np.arange(1, ranks.size + 1)
    precision = found / ranks
    if ap == "rect":
        return float(precision.mean())
    before = np.where(ranks == 1, 1.0, (found - 1) / np.maximum(ranks - 1, 1))
    return float((precision + before).mean() / 2)


def shot_ranks(row: AnyFloats, positives: Ints, own: int, picks: Ints, uniform: Floats) -> Ints:
    """Rank of the correct entry in each drawn gallery of one picture per identity.

    Args:
        row: (G,) distances, removed entries inf.
        positives: Kept correct entries; the draw among them replaces the draw of the query's own identity.
        own: Column of the query's identity in ``picks``.
        picks: (S, identities) gallery rows drawn.
        uniform: (S,) uniform draws in [0, 1) for the query's own identity.

    Returns:
        (S,) ranks from 1.

    Example:
        >>> row = np.array([0.3, 0.1, 0.2])
        >>> picks = np.array([[0, 1], [0, 2]])  # identity 0 has row 0; of identity 1 row 1 is drawn, then row 2
        >>> shot_ranks(row, np.array([0]), own=0, picks=picks, uniform=np.array([0.5, 0.5]))
        array([2, 2])
    """
    chosen = positives[(uniform * positives.size).astype(np.int64)]
    drawn = picks.copy()
    drawn[:, own] = chosen
    distance, value = row[drawn], row[chosen][:, None]
    closer = (distance < value) | ((distance == value) & (drawn < chosen[:, None]))
    ranks: Ints = 1 + closer.sum(axis=1, dtype=np.int64)
    return ranks


def score(
    blocks: Iterable[Block],
    truth: RetrievalTruth,
    ap: APConvention = "rect",
    keep: int = 0,
    draws: Floats | None = None,
) -> QueryScores:
    """Score queries from blocks of their distances; rows of a block are ranked in parallel threads.

    Args:
        blocks: (first query row, (C, G) finite distances) pairs; the arrays are overwritten.
        truth: Identities and cameras of the queries and of the gallery.
        ap: AP convention.
        keep: Length K of the ranked lists to keep.
        draws: (S, identities) uniform draws in [0, 1): CMC ranks come from S galleries of one picture per identity.

    Raises:
        ConfigError: Unknown AP convention.

    Example:
        >>> truth = RetrievalTruth([7], [8, 7, 7], [0], [1, 1, 0])  # the last entry has the query's camera
        >>> score([(0, np.array([[0.1, 0.2, 0.0]]))], truth).first
        array([[2]])
    """
    if ap not in AP_CONVENTIONS:
        raise ConfigError(f"ap={ap!r} is not an AP convention: choose one of {', '.join(AP_CONVENTIONS)}")
    picks = None if draws is None else truth.picks(draws)
    parts: list[QueryScores] = []
    for start, block in blocks:
        part = QueryScores.empty(len(block), 1 if draws is None else len(draws), keep)
        part.query[:] += start
        block[:, truth.junk] = np.inf

        def score_row(i: int, start: int = start, block: AnyFloats = block, part: QueryScores = part) -> None:
            row = block[i]
            positives, removed = truth.matches(start + i)
            row[removed] = np.inf
            if positives.size:
                ranks = positive_ranks(row, positives)
                ranks.sort()
                part.average_precision[i] = average_precision(ranks, ap)
                part.inverse_negative_penalty[i] = ranks.size / ranks[-1]
                part.first[i] = ranks[0]
                if picks is not None and draws is not None:
                    own = truth.group(start + i)
                    part.first[i] = shot_ranks(row, positives, own, picks, draws[:, own])
            if keep:
                near = nearest(row, keep)
                part.ranked[i, : near.size] = near
                part.ranked_distance[i, : near.size] = row[near]

        for_rows(score_row, len(block))
        parts.append(part)
    if not parts:
        return QueryScores.empty(0, 1 if draws is None else len(draws), keep)
    return QueryScores.join(parts)


def summarise(scores: QueryScores, truth: RetrievalTruth, max_rank: int) -> RetrievalScores:
    """Means over the valid queries.

    Raises:
        ConfigError: ``max_rank`` below 1.
        DataError: No query is valid; the message names the likely cause.

    Example:
        >>> truth = RetrievalTruth([7], [8, 7], [0], [1, 1])
        >>> result = summarise(score([(0, np.array([[0.1, 0.2]]))], truth), truth, max_rank=2)
        >>> result["mAP"], result["cmc"]
        (0.5, array([0., 1.]))
    """
    if max_rank < 1:
        raise ConfigError(f"max_rank={max_rank} is not a length of the CMC curve: choose 1 or more")
    valid = scores.first[:, 0] > 0
    num_valid = int(valid.sum())
    if num_valid == 0:
        raise DataError(truth.why_invalid())
    first = scores.first[valid]
    hits = np.bincount(np.minimum(first, max_rank + 1).ravel(), minlength=max_rank + 2)
    return RetrievalScores(
        mAP=float(scores.average_precision[valid].mean()),
        mINP=float(scores.inverse_negative_penalty[valid].mean()),
        cmc=np.cumsum(hits[1 : max_rank + 1]) / first.size,
        num_valid=num_valid,
        average_precision=scores.average_precision,
    )
