"""Temporal action detection: batches and reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

from vision_suite.types import Report

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class TADBatch(TypedDict):
    """Sequences of snippet features, cut or resized to T time steps (cells).

    ``features`` (B, C, T) float32, 0 where padded; ``valid`` (B, T) bool. ``segments`` (B, G, 2) float32
    annotations in cells and ``label`` (B, G) int64 their classes, -1 where there are fewer than G. ``origin`` (B,) and
    ``cell_seconds`` (B,) float64: cell c is at ``origin + c * cell_seconds`` seconds of the video. ``duration`` (B,)
    float64, seconds. ``horizon`` (B,) float64, seconds at which the video's next window begins, infinity after the
    last. ``video`` (B,) int64 place in the list of videos, ``index`` (B,) int64 place in the list of sequences.
    ``video_scores`` (B, K) float32 class scores from outside, if the data has such a file.
    """

    features: Tensor
    valid: Tensor
    segments: Tensor
    label: Tensor
    origin: Tensor
    cell_seconds: Tensor
    duration: Tensor
    horizon: Tensor
    video: Tensor
    index: Tensor


@dataclass(frozen=True)
class DetectionReport(Report):
    """What an evaluation of temporal action detection leaves behind for tables and pictures.

    Attributes:
        metrics: Scalars by name: ``average_mAP``, ``mAP@0.5`` ..., ``AR@100``, ``AUC`` ... (fractions of one).
        protocol: Everything needed to read the numbers.
        classes: Names of the K evaluated classes.
        tiou: (t,) thresholds. ap: (t, K) average precision.
        ground_truth: ActivityNet annotation dictionary of the evaluated videos.
        predictions: ActivityNet result dictionary.
        errors: What `vision_suite.metrics.tad.errors.analyse_errors` found.
        curves: By video the (3, n) seconds, start and end probabilities, and by the same key with ``gate`` the (2, n)
            seconds and temporal attention.
    """

    classes: list[str]
    tiou: np.ndarray
    ap: np.ndarray
    ground_truth: dict[str, Any] = field(repr=False)
    predictions: dict[str, Any] = field(repr=False)
    errors: dict[str, Any] = field(repr=False)
    curves: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
