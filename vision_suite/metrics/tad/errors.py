"""Error analysis of detections, in the spirit of DETAD (Alwassel et al., ECCV 2018)."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from vision_suite.metrics.tad.matching import pairs
from vision_suite.metrics.tad.scoring import average_precision, matched
from vision_suite.metrics.tad.tables import AnnotatedSegments, PredictedSegments, read_found, read_truth
from vision_suite.ops.segments import paired_tiou
from vision_suite.types.arrays import Floats, Ints
from vision_suite.types.tad import ErrorAnalysis, LengthBin

KINDS = ("true positive", "double detection", "wrong label", "localisation", "confusion", "background")
TOUCHING = 0.1  # less overlap than this is background
MULTIPLES = 10
# Shares of a video's length; DETAD's bins of coverage.
COVERAGE = {"XS": (0.0, 0.2), "S": (0.2, 0.4), "M": (0.4, 0.6), "L": (0.6, 0.8), "XL": (0.8, np.inf)}


def analyse_errors(
    ground_truth: Mapping[str, object],
    predictions: Mapping[str, object],
    tiou: float = 0.5,
    *,
    subset: str | None = None,
    blocked: Collection[str] = (),
) -> ErrorAnalysis:
    """Count kinds of false positives among the best predictions, and missed annotations by length.

    A prediction that takes no annotation is a double detection (enough overlap with one of its class that is taken), a
    wrong label (enough overlap with one of another class), a localisation error (some overlap with its class), a
    confusion (some overlap with another class), or background (tIoU below 0.1 with all).

    Args:
        ground_truth: ActivityNet annotation dictionary.
        predictions: ActivityNet result dictionary; unusable segments and unknown labels are left out.
        tiou: Overlap that makes a prediction right.
        subset: Subset of the ground truth; None takes all of its videos.
        blocked: Ids of videos to leave out.

    Returns:
        ``tiou``; ``kinds`` names; ``profile`` (10, 6) shares of the kinds among the best n * G predictions of each
        class, n = 1 .. 10 and G its number of annotations; ``length`` by bin of lengths: its bounds, ``annotations``,
        ``missed`` (share that no prediction finds) and ``mAP`` when only annotations of the bin count. Bins are shares
        of the video's duration, or thirds of the annotations by seconds where durations are unknown.

    Raises:
        DataError: A dictionary is malformed or empty.

    Example:
        >>> truth = {"database": {"v": {"annotations": [{"segment": [0, 10], "label": "run"}]}}}
        >>> entries = [{"segment": [0, end], "label": "run", "score": end / 10} for end in (9, 8)]
        >>> analyse_errors(truth, {"results": {"v": entries}})["profile"][1, :2]  # a hit, and the same action again
        array([0.5, 0.5])
    """
    truth = read_truth(ground_truth, subset, blocked)
    found = read_found(predictions, truth, labels=True, blocked=blocked, invalid="drop", unknown_labels="drop")
    taken = matched(truth, found, np.array([tiou]))[:, 0]
    kind = _kinds(truth, found, taken, tiou)
    annotations = np.bincount(truth.label, minlength=len(truth.classes))
    rank = np.zeros(len(found.label), dtype=np.int64)
    for label in range(len(truth.classes)):
        rank[found.label == label] = np.arange(int((found.label == label).sum()))
    allowed = annotations[found.label] if len(found.label) else np.zeros(0, dtype=np.int64)
    profile = np.zeros((MULTIPLES, len(KINDS)))
    for n in range(MULTIPLES):
        counts = np.bincount(kind[rank < (n + 1) * allowed], minlength=len(KINDS))
        profile[n] = counts / max(counts.sum(), 1)
    return {"tiou": tiou, "kinds": list(KINDS), "profile": profile, "length": _by_length(truth, found, taken)}


def _kinds(truth: AnnotatedSegments, found: PredictedSegments, taken: Ints, tiou: float) -> Ints:
    """The kind of each prediction, an index into `KINDS`."""
    own, other = np.zeros(len(found.video)), np.zeros(len(found.video))
    row, column = pairs(found.video, truth.video)
    overlap = paired_tiou(found.segment[row], truth.segment[column])
    same = found.label[row] == truth.label[column]
    np.maximum.at(own, row[same], overlap[same])
    np.maximum.at(other, row[~same], overlap[~same])
    conditions = [taken >= 0, own >= tiou, other >= tiou, own >= TOUCHING, other >= TOUCHING]
    kind: Ints = np.select(conditions, range(len(conditions)), default=len(conditions)).astype(np.int64)
    return kind


def _by_length(truth: AnnotatedSegments, found: PredictedSegments, taken: Ints) -> dict[str, LengthBin]:
    """Annotations of each bin of lengths: their number, the share that is missed, and the mAP on them alone."""
    length, bins = _lengths(truth)
    hit = np.zeros(len(truth.label), dtype=bool)
    hit[taken[taken >= 0]] = True
    out: dict[str, LengthBin] = {}
    for name, (low, high) in bins.items():
        inside = (length > low) & (length <= high)
        entry: LengthBin = {"bounds": [float(low), float(high)], "annotations": int(inside.sum())}
        if inside.any():
            entry["missed"] = float((~hit[inside]).mean())
            # A prediction that takes an annotation of another bin is neither right nor wrong here.
            counted = (taken < 0) | inside[np.maximum(taken, 0)]
            scores = [
                average_precision((taken >= 0)[counted & (found.label == label)][:, None], int(number))[0]
                for label, number in enumerate(np.bincount(truth.label[inside], minlength=len(truth.classes)))
                if number
            ]
            entry["mAP"] = float(np.mean(scores))
        out[name] = entry
    return out


def _lengths(truth: AnnotatedSegments) -> tuple[Floats, dict[str, tuple[float, float]]]:
    seconds = truth.segment[:, 1] - truth.segment[:, 0]
    duration = truth.duration[truth.video]
    if np.isfinite(duration).all():
        return seconds / duration, COVERAGE
    low, high = np.quantile(seconds, [1 / 3, 2 / 3])
    return seconds, {"short": (0.0, float(low)), "middle": (float(low), float(high)), "long": (float(high), np.inf)}
