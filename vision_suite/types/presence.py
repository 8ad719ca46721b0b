"""Presence of named objects in pictures: batches and reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vision_suite.types import Report
from vision_suite.types.pictures import ImageBatch

if TYPE_CHECKING:
    from torch import Tensor

    from vision_suite.types.arrays import Floats


class PresenceBatch(ImageBatch):
    """Pictures with the names of their objects. ``present`` (B, K) float32, 1 where the picture shows a name."""

    present: Tensor


@dataclass(frozen=True)
class PresenceReport(Report):
    """Result of an evaluation of presence, for tables and pictures.

    Attributes:
        metrics: ``mAP`` (mean of the names' average precisions), ``AP`` (all pairs of picture and name ranked
            together), ``auc``, ``calibration_error``, and ``tpr`` and ``fpr`` at the threshold; fractions of one.
        protocol: Everything needed to read the numbers.
        names: Names by index.
        average_precision: (K,) average precision of each name, NaN for one that no picture shows.
        fpr: (T,) false positive rates of the ROC curve over all pairs, ascending.
        tpr: (T,) true positive rates.
        reliability: (N, 3) bins of scores: mean score, share that is present, number of pairs.
        threshold: Score from which a name counts as present.
        operating_point: Threshold that this evaluation would choose; empty outside of validation.
    """

    names: tuple[str, ...]
    average_precision: Floats
    fpr: Floats = field(repr=False)
    tpr: Floats = field(repr=False)
    reliability: Floats = field(repr=False)
    threshold: float
    operating_point: dict[str, Any] = field(default_factory=dict)
