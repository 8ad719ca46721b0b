"""Temporal action detection: mean average precision, and average recall of proposals (ActivityNet's evaluation).

Numbers equal those of ActivityNet's ``Evaluation/eval_detection.py`` and ``eval_proposal.py``; those scripts sort equal
scores in no defined order, here they follow video, segment and label, so the order of a file never matters.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from vision_suite.errors import DataError
from vision_suite.metrics.tad.cautions import evaluation_cautions
from vision_suite.metrics.tad.matching import match, pairs
from vision_suite.metrics.tad.tables import (
    AnnotatedSegments,
    Invalid,
    PredictedSegments,
    check_thresholds,
    read_found,
    read_truth,
)
from vision_suite.ops.segments import paired_tiou
from vision_suite.types.arrays import Bools, Floats, Ints
from vision_suite.types.tad import DetectionScores

# Literal decimals: a computed 0.3 + 0.1 is not 0.4 and turns a match of exactly 0.4 into a miss.
ACTIVITYNET = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
THUMOS = (0.3, 0.4, 0.5, 0.6, 0.7)
STEPS = 100


def mean_average_precision(
    ground_truth: Mapping[str, object],
    predictions: Mapping[str, object],
    tiou_thresholds: Sequence[float] = ACTIVITYNET,
    *,
    subset: str | None = None,
    blocked: Collection[str] = (),
    invalid: Invalid = "error",
    unknown_labels: Invalid = "error",
) -> DetectionScores:
    """Mean average precision of detections.

    Per class and threshold: predictions of all videos by falling score; each takes the free annotation of its video
    and class with the largest tIoU that is at least the threshold, else it is false. AP is the area under the
    interpolated precision over recall (VOC 2010 and later). A class without predictions counts 0. A prediction in a
    video without annotations, or in one that the ground truth does not list, is false. What looks wrong is warned of:
    other units than seconds, videos without predictions or unknown ones, scores that are all equal or outside 0 to 1.

    Args:
        ground_truth: ``{"database": {id: {"subset": ..., "annotations": [{"label", "segment": [start, end]}]}}}``,
            seconds. Annotations without a positive, finite length are left out and counted; a class that has no other
            still counts, with AP 0, as in the official code. Ids may have ``v_`` before them, here and below.
        predictions: ``{"results": {id: [{"label", "score", "segment"}]}}``.
        tiou_thresholds: Thresholds on tIoU, in (0, 1]; `ACTIVITYNET` or `THUMOS`.
        subset: Subset of the ground truth; None takes all of its videos.
        blocked: Ids of videos that count in neither.
        invalid: ``error`` refuses predictions without a positive, finite length or finite score, ``drop`` leaves them
            out and counts them.
        unknown_labels: ``error`` refuses labels without an annotation in the subset (the official code fails on them),
            ``drop`` leaves them out and counts them.

    Returns:
        ``mAP`` (t,) float64 by threshold, ``average_mAP`` their mean, ``ap`` (t, K) by class, ``classes`` K names,
        ``tiou_thresholds`` (t,), and ``counts``: videos, annotations, predictions, and omissions by kind. Fractions of
        one.

    Raises:
        DataError: A dictionary is malformed or empty, or holds entries that ``error`` refuses.

    Example:
        >>> truth = {"database": {"v": {"annotations": [{"segment": [0, 10], "label": "run"}]}}}
        >>> found = {"results": {"v": [{"segment": [0, 9], "label": "run", "score": 0.8}]}}
        >>> mean_average_precision(truth, found, [0.5, 0.95])["mAP"]
        array([1., 0.])
    """
    thresholds = check_thresholds(tiou_thresholds)
    truth = read_truth(ground_truth, subset, blocked)
    found = read_found(predictions, truth, labels=True, blocked=blocked, invalid=invalid, unknown_labels=unknown_labels)
    _tell(truth, found)
    return scored(truth, found, thresholds)


def scored(truth: AnnotatedSegments, found: PredictedSegments, thresholds: Floats) -> DetectionScores:
    """The result of `mean_average_precision` for tables that are read already, without warnings.

    Example:
        >>> truth = read_truth({"database": {"v": {"annotations": [{"segment": [0, 10], "label": "run"}]}}})
        >>> entries = [{"segment": [0, 9], "label": "run", "score": 0.8}]
        >>> found = read_found({"results": {"v": entries}}, truth, labels=True)
        >>> scored(truth, found, np.array([0.5, 0.95]))["mAP"].tolist()
        [1.0, 0.0]
    """
    taken = matched(truth, found, thresholds)
    ap = np.zeros((len(thresholds), len(truth.classes)))
    positives = np.bincount(truth.label, minlength=len(truth.classes))
    for label in range(len(truth.classes)):
        ap[:, label] = average_precision(taken[found.label == label] >= 0, int(positives[label]))
    mean = ap.mean(axis=1)
    return {
        "mAP": mean,
        "average_mAP": float(mean.mean()),
        "ap": ap,
        "classes": list(truth.classes),
        "tiou_thresholds": thresholds,
        "counts": _counts(truth, found),
    }


def matched(truth: AnnotatedSegments, found: PredictedSegments, thresholds: Floats) -> Ints:
    """The annotation that each prediction takes within its video and class: (n, t), -1 for none.

    Example:
        >>> truth = read_truth({"database": {"v": {"annotations": [{"segment": [0, 10], "label": "run"}]}}})
        >>> entries = [{"segment": [0, 9], "label": "run", "score": 0.8}]
        >>> matched(truth, read_found({"results": {"v": entries}}, truth, labels=True), np.array([0.5, 0.95]))
        array([[ 0, -1]])
    """
    classes = max(len(truth.classes), 1)
    group = np.where(found.video < 0, -1, found.video * classes + found.label)
    return match(group, found.segment, truth.video * classes + truth.label, truth.segment, thresholds)


def average_precision(true: Bools, positives: int) -> Floats:
    """Area under interpolated precision over recall.

    Args:
        true: (n, t) whether each prediction, best first, is right at each threshold.
        positives: Number of annotations; 0 for a class whose annotations have no length, which scores 0.

    Returns:
        (t,) float64.

    Example:
        >>> average_precision(np.array([[True], [False], [True]]), positives=2)  # (1 / 1 + 2 / 3) / 2
        array([0.83333333])
    """
    if not len(true):
        return np.zeros(true.shape[1])
    hits = np.cumsum(true, axis=0, dtype=np.float64)
    precision = hits / np.arange(1, len(true) + 1)[:, None]
    best_from_here = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    area: Floats = (best_from_here * true).sum(axis=0) / max(positives, 1)
    return area


def average_recall(
    ground_truth: Mapping[str, object],
    proposals: Mapping[str, object],
    max_avg: int = 100,
    tiou_thresholds: Sequence[float] = ACTIVITYNET,
    *,
    subset: str | None = None,
    blocked: Collection[str] = (),
    invalid: Invalid = "error",
) -> dict[str, Any]:
    """Average recall over the average number of proposals per video (AR@AN), and the area under that curve.

    The budget is pooled over the videos: at step j of 100 each of V videos gives its best ``int(n * share_j)``
    proposals, n being its own number, so that ``j / 100 * max_avg * V`` are used in all. A video without proposals
    therefore lends its share to the others; for comparable numbers write ``max_avg`` proposals for every video. An
    annotation is found if any used proposal reaches the threshold. It warns as `mean_average_precision` does.

    Args:
        ground_truth: Annotations, in the form of `mean_average_precision`.
        proposals: ``{"results": {id: [{"score", "segment"}]}}``; labels are ignored.
        max_avg: Largest average number of proposals per video.
        tiou_thresholds: Thresholds on tIoU over which recall is averaged.
        subset: Subset of the ground truth; None takes all of its videos.
        blocked: Ids of videos that count in neither.
        invalid: Treatment of unusable proposals, with the choices of `mean_average_precision`.

    Returns:
        ``AN`` (100,) average numbers of proposals, ``AR`` (100,) average recall at each, ``recall`` (t, 100), ``AUC``
        the area in percent, ``AR@1``, ``AR@5``, ``AR@10``, ``AR@100`` where AN reaches them, and ``counts``. ``AR`` and
        ``recall`` are fractions of one.

    Raises:
        DataError: A dictionary is malformed, or there is no proposal for any annotated video.

    Example:
        >>> truth = {"database": {"v": {"annotations": [{"segment": [0, 10], "label": "run"}]}}}
        >>> found = {"results": {"v": [{"segment": [0, 9], "score": 0.8}]}}
        >>> average_recall(truth, found, tiou_thresholds=[0.5, 0.95])["AR@1"]
        0.5
    """
    if not (isinstance(max_avg, (int, float, np.integer)) and 1 <= max_avg < np.inf):
        raise DataError(f"max_avg={max_avg!r} must be 1 or more proposals per video")
    thresholds = check_thresholds(tiou_thresholds)
    truth = read_truth(ground_truth, subset, blocked)
    found = read_found(proposals, truth, labels=False, blocked=blocked, invalid=invalid)
    _tell(truth, found)
    return recalled(truth, found, max_avg, thresholds)


def recalled(truth: AnnotatedSegments, found: PredictedSegments, max_avg: float, thresholds: Floats) -> dict[str, Any]:
    """The result of `average_recall` for tables that are read already, without warnings.

    Raises:
        DataError: There is no proposal for any annotated video.

    Example:
        >>> truth = read_truth({"database": {"v": {"annotations": [{"segment": [0, 10], "label": "run"}]}}})
        >>> found = read_found({"results": {"v": [{"segment": [0, 9], "score": 0.8}]}}, truth, labels=False)
        >>> recalled(truth, found, 1.0, np.array([0.5]))["recall"][0, -1].item()
        1.0
    """
    annotated = np.unique(truth.video)
    known = np.isin(found.video, annotated)
    if not known.any():
        raise DataError("there is no proposal for any annotated video: check the ids and the subset")
    video, segment = found.video[known], found.segment[known]
    number = np.bincount(video, minlength=len(truth.videos))
    # All proposals of the file count here, also those of other videos, as in the official code.
    ratio = max_avg * float(len(annotated)) / len(found.video)
    used = np.minimum((number * ratio).astype(np.int64), number)
    if not used.sum():
        raise DataError(f"max_avg={max_avg} leaves no proposal of any video: give a larger one")
    shares = np.arange(1, STEPS + 1) / 100.0 * (max_avg * float(len(annotated)) / used.sum())
    budget = np.minimum((used[:, None] * shares).astype(np.int64), used[:, None])
    rank = np.empty(len(video), dtype=np.int64)
    order = np.argsort(video, kind="stable")
    rank[order] = np.arange(len(video)) - np.searchsorted(video[order], video[order])

    row, column = pairs(truth.video, video)
    overlap = paired_tiou(truth.segment[row], segment[column])
    recall = np.empty((len(thresholds), STEPS))
    for index, threshold in enumerate(thresholds):
        hit = overlap >= threshold
        first = np.full(len(truth.video), np.iinfo(np.int64).max)
        np.minimum.at(first, row[hit], rank[column[hit]])
        recall[index] = (first[:, None] < budget[truth.video]).mean(axis=0)
    curve = recall.mean(axis=0)
    numbers = shares * (float(used.sum()) / len(annotated))
    out = {
        "AN": numbers,
        "AR": curve,
        "recall": recall,
        "AUC": float(100 * np.trapezoid(curve, numbers) / numbers[-1]),
        "tiou_thresholds": thresholds,
        "counts": _counts(truth, found),
    }
    for wanted in (1, 5, 10, 100):
        at = np.flatnonzero(np.isclose(numbers, wanted))
        if len(at):
            out[f"AR@{wanted}"] = float(curve[at[0]])
    return out


def _tell(truth: AnnotatedSegments, found: PredictedSegments) -> None:
    for line in evaluation_cautions(truth, found):
        warnings.warn(line, stacklevel=3)


def _counts(truth: AnnotatedSegments, found: PredictedSegments) -> dict[str, int]:
    return {
        "videos": len(truth.videos),
        "annotations": len(truth.label),
        "dropped_annotations": truth.dropped,
        "predictions": len(found.score),
        **found.counts,
    }
