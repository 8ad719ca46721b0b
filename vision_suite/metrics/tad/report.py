"""Report of a detection evaluation: scores, error analysis and curves of one split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vision_suite.errors import DataError
from vision_suite.metrics.tad.cautions import evaluation_cautions
from vision_suite.metrics.tad.errors import analyse_errors
from vision_suite.metrics.tad.scoring import ACTIVITYNET, recalled, scored
from vision_suite.metrics.tad.tables import check_thresholds, read_found, read_truth
from vision_suite.types import DetectionReport
from vision_suite.types.tad import Detection, DetectionResults, GroundTruth

ERROR_TIOU = 0.5
MOST_PROPOSALS = 100  # a video, on average


def detection_report(
    ground_truth: GroundTruth,
    detections: Mapping[str, list[Detection]],
    proposals: Mapping[str, list[Detection]],
    tiou: Sequence[float],
    *,
    class_scores: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    protocol: Mapping[str, Any],
    curves: Mapping[str, np.ndarray],
) -> DetectionReport:
    """Score detections and proposals of a split.

    Args:
        ground_truth: ActivityNet annotation dictionary.
        detections: Detections by video, ActivityNet's entries.
        proposals: Proposals by video, in the same form.
        tiou: Thresholds of mean average precision.
        class_scores: (K,) scores of whole videos.
        class_names: The K names.
        protocol: Facts of the data module; lines of its ``warnings`` stay before those of this evaluation.
        curves: Boundary curves by video, handed on for drawing.

    Raises:
        DataError: Nothing was annotated or proposed.

    Example:
        >>> truth = {"database": {"v": {"annotations": [{"segment": [0, 10], "label": "run"}]}}}
        >>> found = {"v": [{"segment": [0, 9], "label": "run", "score": 1.0}]}
        >>> facts = {"class_scores": {}, "class_names": ["run"], "protocol": {}, "curves": {}}
        >>> detection_report(truth, found, found, [0.5, 0.95], **facts).metrics["average_mAP"]
        0.5
    """
    results: DetectionResults = {"version": "VERSION 1.3", "results": dict(detections), "external_data": {}}
    truth = read_truth(ground_truth)
    # A class that no video of this split shows is known to the detector, but cannot be scored.
    found = read_found(results, truth, labels=True, invalid="drop", unknown_labels="drop")
    scores = scored(truth, found, check_thresholds(tiou))
    metrics = {"average_mAP": scores["average_mAP"]}
    metrics |= {f"mAP@{threshold:g}": float(value) for threshold, value in zip(tiou, scores["mAP"], strict=True)}
    cautions = evaluation_cautions(truth, found)
    if dropped := found.counts["dropped_segments"]:
        cautions.append(
            f"{dropped} predictions without a positive, finite length or without a finite score are left out"
        )
    facts = {**protocol, "tiou": list(tiou), "detections": scores["counts"]}
    facts["warnings"] = [*protocol.get("warnings", ()), *cautions]
    try:
        bare = read_found({"results": dict(proposals)}, truth, labels=False, invalid="drop")
        recall = recalled(truth, bare, MOST_PROPOSALS, np.array(ACTIVITYNET))
        metrics |= {name: float(recall[name]) for name in ("AR@1", "AR@5", "AR@10", "AR@100") if name in recall}
        metrics["AUC"] = recall["AUC"] / 100
        facts["proposals_per_video"] = recall["counts"]["predictions"] / recall["counts"]["videos"]
    except DataError as error:
        facts["no_recall"] = str(error)
    metrics["video_top1"] = _video_top1(ground_truth, class_scores, class_names)
    return DetectionReport(
        metrics=metrics,
        protocol=facts,
        classes=scores["classes"],
        tiou=np.array(tiou),
        ap=scores["ap"],
        ground_truth=ground_truth.copy(),
        predictions=results,
        errors=analyse_errors(ground_truth, results, ERROR_TIOU),
        curves=dict(curves),
    )


def _video_top1(ground_truth: GroundTruth, class_scores: Mapping[str, np.ndarray], class_names: Sequence[str]) -> float:
    """Share of the annotated videos whose best class is one of theirs."""
    hits = []
    for name, entry in ground_truth["database"].items():
        labels = {note["label"] for note in entry["annotations"]}
        if labels and name in class_scores:
            hits.append(class_names[int(np.argmax(class_scores[name]))] in labels)
    return float(np.mean(hits)) if hits else float("nan")
