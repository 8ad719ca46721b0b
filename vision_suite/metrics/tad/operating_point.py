"""From ranked detections to a short list that a person can use: one label a span, above a threshold of its class.

Average precision needs hundreds of ranked detections a video, most of them wrong. For use, overlapping ones are
resolved and a threshold by class, chosen on the validation split, cuts the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vision_suite.errors import CheckpointError, is_number
from vision_suite.metrics.tad.scoring import matched
from vision_suite.metrics.tad.tables import AnnotatedSegments, PredictedSegments, read_found, read_truth
from vision_suite.types.arrays import Bools, Floats, Ints
from vision_suite.types.tad import Detection

TIOU = 0.5
# The best threshold of n annotations is the best of about n, and the standard error of an F1 near 0.5 is 0.5 / sqrt(n):
# below ten, 0.16 and more, which is what thresholds differ by. Such classes take the threshold of all together.
FEW = 10
SHARED_SPAN = 0.5  # of the shorter one: two detections that share more are the same span
DEFAULT_SHARE = 0.5  # of a video's best score, without an operating point


def short_list(found: Sequence[Detection], point: Mapping[str, Any]) -> list[Detection]:
    """The detections of one video that are worth acting on, in order of time; no two of them overlap.

    Args:
        found: All labelled detections of the video.
        point: Result of `choose_thresholds`; an empty one keeps those down to half of the video's best score.

    Example:
        >>> rows = [("run", 0.9, 0, 10), ("jump", 0.6, 0, 10), ("run", 0.5, 8, 20), ("run", 0.2, 30, 40)]
        >>> found = [{"label": name, "score": score, "segment": [start, end]} for name, score, start, end in rows]
        >>> [(entry["label"], entry["segment"]) for entry in short_list(found, {})]
        [('run', [0.0, 10.0]), ('run', [10.0, 20.0])]
    """
    spans = one_label_a_span(found)
    best = max((entry["score"] for entry in spans), default=0.0)
    kept = [entry for entry in spans if entry["score"] >= _threshold(point, str(entry["label"]), best)]
    return sorted(kept, key=lambda entry: entry["segment"])


def one_label_a_span(found: Sequence[Detection]) -> list[Detection]:
    """Detections without overlap, best first.

    Of two detections of any labels that share more than half of the shorter one's length the better one stays. One that
    shares less gives way: it is cut where the better one begins or ends, and dropped if less than half of it is left.

    Example:
        >>> run = {"segment": [0.0, 10.0], "score": 0.9, "label": "run"}
        >>> walk, jump = ({"segment": [a, b], "score": 0.5, "label": "walk"} for a, b in ((2.0, 6.0), (8.0, 20.0)))
        >>> [(entry["label"], entry["segment"]) for entry in one_label_a_span([run, walk, jump])]
        [('run', [0.0, 10.0]), ('walk', [10.0, 20.0])]
    """
    segments = np.array([entry["segment"] for entry in found], dtype=np.float64).reshape(-1, 2)
    starts, ends = segments.T
    lengths = ends - starts
    left = lengths > 0
    kept: list[Detection] = []
    spans: Floats = np.zeros((0, 2))
    for number in np.argsort([-entry["score"] for entry in found], kind="stable"):
        if not left[number]:
            continue
        start, end = segments[number]
        touching = np.minimum(end, spans[:, 1]) > np.maximum(start, spans[:, 0])
        before, after = touching & (spans[:, 0] <= start), touching & (spans[:, 0] > start)
        start, end = max([start, *spans[before, 1]]), min([end, *spans[after, 0]])
        if end - start < SHARED_SPAN * lengths[number]:
            continue
        entry = found[number]
        kept.append({"label": entry["label"], "score": float(entry["score"]), "segment": [float(start), float(end)]})
        spans = np.concatenate([spans, [[start, end]]])
        left &= np.minimum(end, ends) - np.maximum(start, starts) <= SHARED_SPAN * np.minimum(end - start, lengths)
    return kept


def choose_thresholds(
    ground_truth: Mapping[str, object], detections: Mapping[str, Sequence[Detection]]
) -> dict[str, Any]:
    """The threshold of each class with the best F1 at tIoU 0.5 among the spans of `one_label_a_span`.

    A class with fewer than ten annotations, or of which nothing is found, takes the threshold that is best for all
    classes together. A threshold lies halfway between the last score that it keeps and the next one.

    Args:
        ground_truth: ActivityNet annotation dictionary of the validation split.
        detections: Detections by video.

    Returns:
        ``criterion``, ``tiou``, ``few``, ``shared`` (threshold), ``classes`` (thresholds of their own by name),
        ``annotations`` (number by name), and ``precision``, ``recall``, ``F1`` on this split at these thresholds. Empty
        if nothing is found at all.

    Raises:
        DataError: There is no annotation.

    Example:
        >>> truth = {"database": {"v": {"annotations": [{"segment": [0, 10], "label": "run"}]}}}
        >>> rows = [(0, 9, 0.8), (20, 30, 0.4)]
        >>> entries = [{"segment": [start, end], "label": "run", "score": score} for start, end, score in rows]
        >>> round(choose_thresholds(truth, {"v": entries})["shared"], 2)
        0.6
    """
    truth, found, right = _right(ground_truth, detections)
    shared = _best(found.score, right, len(truth.label))
    if shared is None:
        return {}
    annotations = np.bincount(truth.label, minlength=len(truth.classes))
    own: dict[str, float] = {}
    for label, name in enumerate(truth.classes):
        mine = found.label == label
        if annotations[label] >= FEW and (best := _best(found.score[mine], right[mine], int(annotations[label]))):
            own[name] = best
    point: dict[str, Any] = {
        "criterion": "largest F1 of each class on the validation split",
        "tiou": TIOU,
        "few": FEW,
        "shared": shared,
        "classes": own,
        "annotations": {name: int(count) for name, count in zip(truth.classes, annotations, strict=True)},
    }
    return {**point, **_measures(truth, found, right, point)}


def measures_at(
    ground_truth: Mapping[str, object], detections: Mapping[str, Sequence[Detection]], point: Mapping[str, Any]
) -> dict[str, float]:
    """Precision, recall and F1 at tIoU 0.5 of the short lists of a split, over all its spans.

    Args:
        ground_truth: ActivityNet annotation dictionary.
        detections: Detections by video.
        point: Result of `choose_thresholds`.

    Example:
        >>> truth = {"database": {"v": {"annotations": [{"segment": [0, 10], "label": "run"}]}}}
        >>> rows = [(0, 9, 0.8), (20, 30, 0.4)]
        >>> entries = [{"segment": [start, end], "label": "run", "score": score} for start, end, score in rows]
        >>> measures_at(truth, {"v": entries}, {"shared": 0.3, "classes": {}})
        {'precision': 0.5, 'recall': 1.0, 'F1': 0.6666666666666666}
    """
    return _measures(*_right(ground_truth, detections), point)


def check_point(point: Mapping[str, Any]) -> None:
    """Refuse an operating point of a checkpoint that is no result of `choose_thresholds`.

    Raises:
        CheckpointError: A threshold is missing or no finite number.

    Example:
        >>> check_point({"shared": 0.3, "classes": {"run": 0.5}})
    """
    classes = point.get("classes") if point else {}
    values = [point.get("shared"), *classes.values()] if point and isinstance(classes, Mapping) else []
    good = all(map(is_number, values))
    if point and (not values or not good):
        raise CheckpointError(
            f"operating_point has the thresholds {str(values)[:80]} instead of finite numbers: validate the checkpoint "
            "again, or take another one"
        )


def described(point: Mapping[str, Any]) -> str:
    """The rule of a short list in words.

    Example:
        >>> described({"shared": 0.3, "classes": {"run": 0.5}})
        'thresholds of the validation split (1 classes have their own, the others 0.3)'
    """
    if not point:
        return (
            f"scores down to {DEFAULT_SHARE:g} of the video's best: the checkpoint has no thresholds, as no validation "
            "split was scored in training"
        )
    own = len(point["classes"])
    return f"thresholds of the validation split ({own} classes have their own, the others {point['shared']:.4g})"


def _threshold(point: Mapping[str, Any], label: str, best: float) -> float:
    """Threshold of a class; ``best`` is the video's best score, of use without an operating point."""
    return float(point["classes"].get(label, point["shared"])) if point else DEFAULT_SHARE * best


def _right(
    ground_truth: Mapping[str, object], detections: Mapping[str, Sequence[Detection]]
) -> tuple[AnnotatedSegments, PredictedSegments, Bools]:
    """Annotations, the spans of all videos, and which of these take an annotation of their class."""
    spans = {name: one_label_a_span(entries) for name, entries in detections.items()}
    truth = read_truth(ground_truth)
    known = set(truth.classes)
    # A class without an annotation in this split is wrong wherever it is found; it must count.
    for label in sorted({str(e["label"]) for entries in spans.values() for e in entries} - known):
        truth.classes.append(label)
    found = read_found({"results": spans}, truth, labels=True, invalid="drop")
    return truth, found, matched(truth, found, np.array([TIOU]))[:, 0] >= 0


def _best(score: Floats, right: Bools, positives: int) -> float | None:
    """The threshold with the largest F1 of predictions in falling order of score; None if none is right."""
    if not right.any():
        return None
    hits = np.cumsum(right)
    f1 = 2 * hits / (np.arange(1, len(score) + 1) + positives)
    f1[:-1][score[:-1] == score[1:]] = -1.0  # equal scores stay or go together
    last = int(f1.argmax())
    return float((score[last] + (score[last + 1] if last + 1 < len(score) else 0.0)) / 2)


def _measures(
    truth: AnnotatedSegments, found: PredictedSegments, right: Bools, point: Mapping[str, Any]
) -> dict[str, float]:
    limits = np.array([_threshold(point, name, 0.0) for name in truth.classes])
    kept: Ints = np.flatnonzero(found.score >= limits[found.label])
    hits = int(right[kept].sum())
    precision, recall = hits / max(len(kept), 1), hits / max(len(truth.label), 1)
    return {"precision": precision, "recall": recall, "F1": 2 * hits / max(len(kept) + len(truth.label), 1)}
