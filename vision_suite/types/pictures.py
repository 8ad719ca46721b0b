"""Pictures: batches, roles and reports of re-identification and classification."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypedDict

from vision_suite.types import Report

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Role(IntEnum):
    """Use of a picture in a retrieval protocol."""

    GALLERY = 0
    QUERY = 1
    SUPPORT = 2  # further pictures of a query's identity and camera, averaged into it (multi-query)


class ImageBatch(TypedDict):
    """Pictures without labels, for prediction.

    ``image`` (B, 3, H, W) float32, normalised; ``index`` (B,) int64, index in the data set; ``role`` (B,)
    int64, `Role`.
    """

    image: Tensor
    index: Tensor
    role: Tensor


class ReIDBatch(ImageBatch):
    """Re-ID pictures.

    ``identity`` (B,) int64: 0..C-1 in training, the data set's own number in evaluation (-1 junk).
    ``camera`` (B,) int64: 0-based, -1 if unknown. ``view`` (B,) int64: 0-based, -1 if unknown.
    """

    identity: Tensor
    camera: Tensor
    view: Tensor


class FGVCBatch(ImageBatch):
    """Classified pictures. ``label`` (B,) int64, 0..C-1."""

    label: Tensor


@dataclass(frozen=True)
class RetrievalReport(Report):
    """Result of a re-ID evaluation, for tables and pictures.

    Attributes:
        metrics: Scalars by name: ``mAP``, ``mINP``, ``rank1`` ..., and per branch ``sa/mAP`` ... (fractions of one).
        cmc: CMC curve, float64 (max_rank,), of each branch ("" is the fused feature).
        protocol: Everything needed to read the numbers: AP convention, ties, val use, re-rank parameters, ...
        query_index: (Q,) int64 data-set index of each query.
        ranked_index: (Q, K) int64 data-set index of the first K kept gallery entries, -1 where fewer are left.
        ranked_distance: (Q, K) float32 distance of those entries, inf where fewer are left.
        ranked_match: (Q, K) bool, whether the entry is a correct match.
        average_precision: (Q,) float64, NaN for a query without a correct gallery entry.
        roc: Columns ``fpr``, ``tpr``, ``accept`` and ``reject`` of the ROC curve over the pairs, float64 (K,); empty if
            it was not asked for or there are no negative pairs.
        operating_point: Thresholds that predictions decide by, chosen on a validation split; empty for another split.
    """

    cmc: dict[str, np.ndarray]
    query_index: np.ndarray
    ranked_index: np.ndarray
    ranked_distance: np.ndarray
    ranked_match: np.ndarray
    average_precision: np.ndarray
    roc: dict[str, np.ndarray] = field(default_factory=dict)
    operating_point: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class ClassificationReport(Report):
    """Result of a classification evaluation, for tables and pictures.

    Attributes:
        metrics: Scalars by name: ``top1``, ``top5``, and per branch ``sa/top1`` ... (fractions of one).
        protocol: Everything needed to read the numbers.
        index: (M,) int64 data-set index.
        label: (M,) int64 ground truth.
        prediction: (M,) int64 arg-max class, -1 where the scores are not finite.
        confidence: (M,) float32 probability of the predicted class.
    """

    index: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    confidence: np.ndarray = field(repr=False)
