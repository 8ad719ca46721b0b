"""Temporal action detection: batches and reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NotRequired, Protocol, TypedDict

from vision_suite.types import Report
from vision_suite.types.data import Data, EvaluationStage

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from vision_suite.types.arrays import Floats


class FeatureBatch(TypedDict):
    """Sequences of snippet features without annotations, for prediction: cut or resized to T time steps (cells).

    ``features`` (B, C, T) float32, 0 where padded; ``valid`` (B, T) bool. ``origin`` (B,) and ``cell_seconds`` (B,)
    float64: cell c is at ``origin + c * cell_seconds`` seconds of the video. ``duration`` (B,) float64, seconds of the
    video. ``horizon`` (B,) float64, seconds at which the video's next window begins, infinity after the last.
    ``video`` (B,) int64 index in the list of videos, ``index`` (B,) int64 index in the list of sequences.
    ``video_scores`` (B, K) float32 class scores from a file, only outside of training and if the data has such a file.
    """

    features: Tensor
    valid: Tensor
    origin: Tensor
    cell_seconds: Tensor
    duration: Tensor
    horizon: Tensor
    video: Tensor
    index: Tensor
    video_scores: NotRequired[Tensor]


class TADBatch(FeatureBatch):
    """Annotated sequences.

    ``segments`` (B, G, 2) float32 annotations in cells and ``label`` (B, G) int64 their classes, -1 where there are
    fewer than G.
    """

    segments: Tensor
    label: Tensor


class Detection(TypedDict):
    """One entry of ActivityNet's result dictionary.

    ``segment`` start and end in seconds, ``score``, and ``label``, which proposals lack.
    """

    segment: list[float]
    score: float
    label: NotRequired[str]


class Annotation(TypedDict):
    """One annotation of ActivityNet's ground truth: start and end in seconds, and the class."""

    segment: list[float]
    label: str


class AnnotatedVideo(TypedDict):
    """One video of ActivityNet's ground truth; ``duration`` in seconds, None if unknown."""

    subset: str
    duration: float | None
    annotations: list[Annotation]


class GroundTruth(TypedDict):
    """ActivityNet's annotation dictionary; ``database`` has the videos by id."""

    version: str
    taxonomy: list[dict[str, object]]
    database: dict[str, AnnotatedVideo]


class DetectionResults(TypedDict):
    """ActivityNet's result dictionary; ``results`` has the detections by the video's id."""

    version: str
    results: dict[str, list[Detection]]
    external_data: dict[str, object]


class DetectionScores(TypedDict):
    """Result of `vision_suite.metrics.tad.mean_average_precision`."""

    mAP: Floats
    average_mAP: float
    ap: Floats
    classes: list[str]
    tiou_thresholds: Floats
    counts: dict[str, int]


class LengthBin(TypedDict):
    """Annotations of one bin of lengths; ``missed`` and ``mAP`` (fractions of one) only if there are annotations."""

    bounds: list[float]
    annotations: int
    missed: NotRequired[float]
    mAP: NotRequired[float]


class ErrorAnalysis(TypedDict):
    """Result of `vision_suite.metrics.tad.errors.analyse_errors`."""

    tiou: float
    kinds: list[str]
    profile: Floats
    length: dict[str, LengthBin]


@dataclass(frozen=True)
class DetectionReport(Report):
    """Result of an evaluation of temporal action detection, for tables and pictures.

    Attributes:
        metrics: Scalars by name: ``average_mAP``, ``mAP@0.5`` ..., ``AR@100``, ``AUC`` ... (fractions of one).
        protocol: Everything needed to read the numbers.
        classes: Names of the K evaluated classes.
        tiou: (t,) thresholds.
        ap: (t, K) average precision.
        ground_truth: ActivityNet annotation dictionary of the evaluated videos.
        predictions: ActivityNet result dictionary.
        errors: Result of `vision_suite.metrics.tad.errors.analyse_errors`.
        curves: Seconds, start and end probabilities (3, n) by video, and seconds and temporal attention (2, n) by the
            same key with ``gate``.
    """

    classes: list[str]
    tiou: np.ndarray
    ap: np.ndarray
    ground_truth: GroundTruth = field(repr=False)
    predictions: DetectionResults = field(repr=False)
    errors: ErrorAnalysis = field(repr=False)
    curves: dict[str, np.ndarray] = field(default_factory=dict, repr=False)


class VideoFacts(Protocol):
    """Facts of one video, see `vision_suite.datasets.tad.annotations.Video`."""

    @property
    def name(self) -> str:
        """Id without ``v_``."""

    @property
    def duration(self) -> float:
        """Seconds, NaN if unknown."""


class TADSource(Data, Protocol):
    """Facts of data for temporal action detection, see `vision_suite.datasets.tad.TADData`."""

    def videos(self, stage: EvaluationStage) -> Sequence[VideoFacts]:
        """Videos of a stage, in the order in which batches number them."""

    def ground_truth(self, stage: EvaluationStage) -> GroundTruth:
        """Annotations of a stage as an ActivityNet dictionary."""
