"""Contracts between data modules and Lightning modules: batches in, reports out.

``datasets`` and ``lit_modules`` never import each other; they meet here. Nothing in this file needs torch at run time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Role(IntEnum):
    """What a picture is used for in a retrieval protocol."""

    GALLERY = 0
    QUERY = 1
    SUPPORT = 2  # further pictures of a query's identity and camera, averaged into it (multi-query)


class ImageBatch(TypedDict):
    """Pictures without truth, for prediction.

    ``image`` (B, 3, H, W) float32, normalised; ``index`` (B,) int64, position in the data set; ``role`` (B,) int64,
    `Role`.
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


class Condition(IntEnum):
    """What a person was asked to do with a scene."""

    PRESENT = 0  # find a target that is there
    ABSENT = 1  # find a target that is not there
    FREE = 2  # just look


PADDING, BACKGROUND = -1, -2  # in ``sequence`` of a `ScanpathBatch`, where no object's number stands


class ScanpathBatch(TypedDict, total=False):
    """Scenes of at most N objects, what is searched for, and where one person looked, at most L fixations.

    Objects: either ``crops`` (B, N, 3, h, w) float32, normalised, or ``features`` (B, N, F) float32. ``boxes``
    (B, N, 4) float32 x1, y1, x2, y2 in pixels; ``present`` (B, N) bool, False where padded. ``position`` (B, N, 2)
    float32 row and column of the centres in object pitches, whole numbers on grids; ``start`` (B, 2) float32, where
    gaze begins, in the same unit. ``image_size`` (B, 2) float32 width, height in pixels.

    Target: ``target`` (B,) int64 the object, -1 for none; ``targets`` (B, N) bool every object that counts as found;
    ``target_features`` (B, F) or ``target_crop`` (B, 3, h, w) float32 if the target is given apart from the objects;
    ``condition`` (B,) int64, `Condition`.

    Scanpath: ``sequence`` (B, L) int64 objects, ``BACKGROUND`` or ``PADDING``; ``xy`` (B, L, 2) float32 pixels and
    ``duration`` (B, L) float32 seconds, NaN where unknown or padded; ``given`` (B,) int64 how many first fixations are
    given and not predicted; ``terminated`` (B,) bool, False where a recording goes on behind the cut.
    ``index`` (B,) int64 place in the list of trials.
    """

    crops: Tensor
    features: Tensor
    boxes: Tensor
    present: Tensor
    position: Tensor
    start: Tensor
    image_size: Tensor
    target: Tensor
    targets: Tensor
    target_features: Tensor
    target_crop: Tensor
    condition: Tensor
    sequence: Tensor
    xy: Tensor
    duration: Tensor
    given: Tensor
    terminated: Tensor
    index: Tensor


@dataclass(frozen=True)
class Report:
    """What any evaluation leaves behind for tables and pictures.

    Attributes:
        metrics: Scalars by name. protocol: Everything needed to read the numbers.
    """

    metrics: dict[str, float]
    protocol: dict[str, Any]


@dataclass(frozen=True)
class RetrievalReport(Report):
    """What a re-ID evaluation leaves behind for tables and pictures.

    Attributes:
        metrics: Scalars by name: ``mAP``, ``mINP``, ``rank1`` ..., and per branch ``sa/mAP`` ... (fractions of one).
        cmc: Per branch ("" is the fused feature) the CMC curve, float64 (max_rank,).
        protocol: Everything needed to read the numbers: AP convention, ties, val use, re-rank parameters, ...
        query_index: (Q,) int64 data-set index of each query.
        ranked_index: (Q, K) int64 data-set index of the first K kept gallery entries, -1 where fewer are left.
        ranked_distance: (Q, K) float32 distance of those entries, inf where fewer are left.
        ranked_match: (Q, K) bool, whether the entry is a correct match.
        average_precision: (Q,) float64, NaN for a query without a correct gallery entry.
    """

    cmc: dict[str, np.ndarray]
    query_index: np.ndarray
    ranked_index: np.ndarray
    ranked_distance: np.ndarray
    ranked_match: np.ndarray
    average_precision: np.ndarray


@dataclass(frozen=True)
class ClassificationReport(Report):
    """What a classification evaluation leaves behind for tables and pictures.

    Attributes:
        metrics: Scalars by name: ``top1``, ``top5``, and per branch ``sa/top1`` ... (fractions of one).
        protocol: Everything needed to read the numbers.
        index: (M,) int64 data-set index. label: (M,) int64 truth. prediction: (M,) int64 arg-max class.
        confidence: (M,) float32 probability of the predicted class.
    """

    index: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    confidence: np.ndarray = field(repr=False)


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
        errors: What `vision_suite.metrics.tad_errors.analyse_errors` found.
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


@dataclass(frozen=True)
class ScanpathReport(Report):
    """What an evaluation of scanpath prediction leaves behind for tables and pictures.

    Attributes:
        metrics: Scalars by name: the model's ``sequence_score`` ..., and ``<predictor>/<score>`` of the others.
        protocol: Everything needed to read the numbers, in words by subject.
        rows: By predictor (``model``, ``mode``, ``human``, ``random``, ``next_object``, ``offsets``) scores by name.
        intervals: Likewise the ends of bootstrap intervals.
        pairs: Likewise how many pairs of paths were compared, and how many of these have no score.
        counts: By predictor paths, and how many are short, empty or unterminated.
        hits: Of ``model`` and ``human`` (3, K) share of paths that hit the target by fixation 1..K, and its interval.
        trials: Each trial with its samples and log probabilities, in plain containers.
        probabilities: By trial (L + 1, N + 2) probability of each object, the background and the end before each
            decision; None where unknown.
        scenes: By name what can be drawn of a scene: ``size``, ``boxes``, ``labels``, ``image``, ``placement``.
    """

    rows: dict[str, dict[str, float]]
    intervals: dict[str, dict[str, tuple[float, float]]]
    pairs: dict[str, dict[str, tuple[int, int]]]
    counts: dict[str, dict[str, int]]
    hits: dict[str, np.ndarray]
    trials: list[dict[str, Any]] = field(repr=False)
    probabilities: list[np.ndarray | None] = field(repr=False)
    scenes: dict[str, Any] = field(repr=False)
