"""Re-ID evaluation as plain functions: from a distance matrix, or from features in bounded memory.

Protocol (single query, multi-shot gallery): junk (identity -1) and entries with the identity and camera of the query
are removed, the rest is ranked by distance with ties broken by gallery index; queries without a correct entry are left
out of every mean, and ``num_valid`` counts the others. See `vision_suite.metrics.reid.ranking` for the rule itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.reid.distances import as_features, cosine_blocks
from vision_suite.metrics.reid.ranking import (
    AnyFloats,
    APConvention,
    Block,
    RetrievalScores,
    check_finite,
    row_blocks,
    score,
    summarise,
)
from vision_suite.metrics.reid.roc import PairTally
from vision_suite.metrics.reid.truth import Labels, RetrievalTruth
from vision_suite.types.arrays import Floats

Matrix = npt.ArrayLike | torch.Tensor


def evaluate(
    distance: Matrix,
    query_ids: Labels,
    gallery_ids: Labels,
    query_cams: Labels | None,
    gallery_cams: Labels | None,
    max_rank: int = 50,
    ap: APConvention = "rect",
) -> RetrievalScores:
    """Score a (Q, G) distance matrix; it is read in blocks of rows and never changed.

    Args:
        distance: (Q, G) distances, any real type, array or tensor; smaller is closer.
        query_ids: (Q,) identities.
        gallery_ids: (G,) identities; -1 is junk.
        query_cams: (Q,) cameras; None or -1 if unknown (no same-camera removal, with a warning).
        gallery_cams: (G,) cameras; None or -1 if unknown.
        max_rank: Length of the CMC curve, which repeats its last value beyond the end of a gallery.
        ap: "rect" (mean of j / rank_j) or "trapz" (the Market-1501 MATLAB code).

    Raises:
        DataError: Shapes do not agree, sets are empty, values are NaN or infinite, or no query is valid (the message
            names the likely cause).
        ConfigError: ``ap`` is unknown, or ``max_rank`` is below 1.

    Example:
        >>> distance = [[0.1, 0.2, 0.3]]
        >>> result = evaluate(distance, [7], [8, 7, 9], [0], [1, 1, 1], max_rank=3)
        >>> result["mAP"], result["cmc"]
        (0.5, array([0., 1., 1.]))
    """
    truth = RetrievalTruth(query_ids, gallery_ids, query_cams, gallery_cams)
    return summarise(score(_matrix_blocks(distance, truth), truth, ap), truth, max_rank)


def evaluate_features(
    query_features: Matrix,
    gallery_features: Matrix,
    query_ids: Labels,
    gallery_ids: Labels,
    query_cams: Labels | None,
    gallery_cams: Labels | None,
    max_rank: int = 50,
    ap: APConvention = "rect",
) -> RetrievalScores:
    """Score features by 1 - cosine, a block of queries at a time: never more than 64 MiB of distances.

    Args:
        query_features: (Q, D) features, normalised inside; float32 unless they are float64. Distances of CUDA
            tensors are computed on their device.
        gallery_features: (G, D) features, with the same treatment.
        query_ids: (Q,) identities.
        gallery_ids: (G,) identities; -1 is junk.
        query_cams: (Q,) cameras; None or -1 if unknown.
        gallery_cams: (G,) cameras; None or -1 if unknown.
        max_rank: Length of the CMC curve.
        ap: "rect" or "trapz", as in `evaluate`.

    Raises:
        DataError: The input is unusable as in `evaluate`.
        ConfigError: A setting is out of range as in `evaluate`.

    Example:
        >>> query, gallery = [[1.0, 0.0]], [[0.9, 0.1], [0.0, 1.0]]
        >>> evaluate_features(query, gallery, [7], [7, 8], [0], [1, 1])["mAP"]
        1.0
    """
    truth = RetrievalTruth(query_ids, gallery_ids, query_cams, gallery_cams)
    query, gallery = as_features(query_features, "query_features"), as_features(gallery_features, "gallery_features")
    if (len(query), len(gallery)) != truth.shape or query.shape[1] != gallery.shape[1]:
        raise DataError(
            f"query_features {tuple(query.shape)} and gallery_features {tuple(gallery.shape)} do not fit "
            f"{truth.shape[0]} query_ids and {truth.shape[1]} gallery_ids: give (Q, D) and (G, D)"
        )
    blocks = cosine_blocks(query, gallery, row_blocks(*truth.shape))
    return summarise(score(blocks, truth, ap), truth, max_rank)


def evaluate_single_shot(
    distance: Matrix,
    query_ids: Labels,
    gallery_ids: Labels,
    query_cams: Labels | None,
    gallery_cams: Labels | None,
    max_rank: int = 50,
    draws: int = 10,
    seed: int = 0,
) -> RetrievalScores:
    """Score a (Q, G) distance matrix with galleries of one picture per identity (classic CUHK03, 1,367/100 split).

    The CMC curve is the mean over ``draws`` random galleries; a draw is shared by all queries, except that the picture
    of a query's own identity is drawn among those not removed for it. ``mAP``, ``mINP`` and ``average_precision`` do
    not depend on the draws: they are those of the whole gallery, as in `evaluate`.

    Args:
        distance: (Q, G) distances.
        query_ids: (Q,) identities.
        gallery_ids: (G,) identities; -1 is junk.
        query_cams: (Q,) cameras; None or -1 if unknown.
        gallery_cams: (G,) cameras; None or -1 if unknown.
        max_rank: Length of the CMC curve.
        draws: Number of random galleries.
        seed: Seed of the draws.

    Raises:
        DataError: The input is unusable as in `evaluate`.
        ConfigError: A setting is out of range as in `evaluate`, or ``draws`` is below 1.

    Example:
        >>> distance = [[0.1, 0.3, 0.2]]  # of two pictures of identity 8, one is drawn
        >>> evaluate_single_shot(distance, [7], [8, 8, 7], [0], [1, 1, 1], max_rank=2, draws=4, seed=0)["cmc"]
        array([0.5, 1. ])
    """
    truth = RetrievalTruth(query_ids, gallery_ids, query_cams, gallery_cams)
    uniform = uniform_draws(draws, truth.num_identities, seed)
    return summarise(score(_matrix_blocks(distance, truth), truth, draws=uniform), truth, max_rank)


def verification(
    distance: Matrix,
    query_ids: Labels,
    gallery_ids: Labels,
    query_cams: Labels | None,
    gallery_cams: Labels | None,
    fpr: Sequence[float] = (1e-4, 1e-3, 1e-2),
) -> dict[str, float]:
    """True positive rate of the kept pairs at given false positive rates: points of the exact ROC curve.

    Args:
        distance: (Q, G) distances.
        query_ids: (Q,) identities.
        gallery_ids: (G,) identities; -1 is junk.
        query_cams: (Q,) cameras; None or -1 if unknown.
        gallery_cams: (G,) cameras; None or -1 if unknown.
        fpr: False positive rates, above 0 and below 1.

    Returns:
        ``{"tpr_at_fpr_0.0001": ...}``, fractions of one.

    Raises:
        DataError: The input is unusable as in `evaluate`, or there is no negative pair.
        ConfigError: A rate is out of range.

    Example:
        >>> verification([[0.1, 0.2, 0.3]], [7], [7, 8, 9], [0], [1, 1, 1], fpr=[0.5])
        {'tpr_at_fpr_0.5': 1.0}
    """
    truth = RetrievalTruth(query_ids, gallery_ids, query_cams, gallery_cams)
    tally = PairTally(truth, fpr)
    deque(tally.tap(_matrix_blocks(distance, truth)), maxlen=0)
    return tally.rates()


def uniform_draws(draws: int, identities: int, seed: int) -> Floats:
    """(draws, identities) uniform numbers in [0, 1) that name one picture per identity and draw.

    Raises:
        ConfigError: ``draws`` below 1.

    Example:
        >>> uniform_draws(draws=2, identities=3, seed=0).shape
        (2, 3)
    """
    if draws < 1:
        raise ConfigError(f"draws={draws} is not a number of random galleries: choose 1 or more")
    return np.random.default_rng(seed).random((draws, identities))


def _matrix_blocks(distance: Matrix, truth: RetrievalTruth) -> Iterator[Block]:
    matrix = distance.detach() if isinstance(distance, torch.Tensor) else np.asarray(distance)
    if tuple(matrix.shape) != truth.shape:
        raise DataError(
            f"distance has shape {tuple(matrix.shape)} but there are {truth.shape[0]} query_ids and {truth.shape[1]} "
            "gallery_ids: give one row per query and one column per gallery entry"
        )
    if isinstance(matrix, np.ndarray) and matrix.dtype.kind not in "fiu":
        raise DataError(f"distance has type {matrix.dtype}: give real numbers")
    for start, stop in row_blocks(*truth.shape):
        rows = matrix[start:stop]
        if isinstance(rows, torch.Tensor):
            rows = (rows if rows.dtype == torch.float64 else rows.float()).cpu().numpy()
        block: AnyFloats = rows.astype(np.float32 if rows.dtype in (np.float16, np.float32) else np.float64)
        check_finite(block, start)
        yield start, block
