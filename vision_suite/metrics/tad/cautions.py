"""Signs that an evaluation of detections measures something else than the detector: units, coverage, scores."""

from __future__ import annotations

import numpy as np

from vision_suite.metrics.tad.tables import AnnotatedSegments, PredictedSegments
from vision_suite.types.arrays import Floats, Ints

FAR = 1.5  # ends beyond so many durations are no matter of rounding or of padded windows
UNITS = 10.0  # frames are at least 10 a second
COVERED = 0.9


def evaluation_cautions(truth: AnnotatedSegments, found: PredictedSegments) -> list[str]:
    """Lines on predictions or annotations that look wrong, each with its count; empty if nothing does.

    Args:
        truth: Annotations.
        found: Usable predictions.

    Example:
        >>> from vision_suite.metrics.tad.tables import read_found, read_truth
        >>> notes = [{"segment": [1, 9], "label": "run"}]
        >>> truth = read_truth({"database": {"v": {"duration": 10, "annotations": notes}}})
        >>> entries = [{"segment": [1000, 9000], "score": 0.5}, {"segment": [0, 9], "score": 0.4}]
        >>> for line in evaluation_cautions(truth, read_found({"results": {"v": entries}}, truth, labels=False)):
        ...     print(line.partition(":")[0])
        1 of 2 predictions end far beyond their video, such as at 9000 of 10 s in 'v'
    """
    return [*_units(truth, found), *_coverage(truth, found), *_scores(found.score), *_strangers(found)]


def _units(truth: AnnotatedSegments, found: PredictedSegments) -> list[str]:
    known = found.video >= 0
    lines = [
        line
        for word, video, segment in (
            ("annotations", truth.video, truth.segment),
            ("predictions", found.video[known], found.segment[known]),
        )
        if (line := _far(truth, video, segment, word))
    ]
    if lines or not known.any():
        return lines
    # Without durations, or in a unit that is too large, only the two sides can be compared.
    most = np.full(len(truth.videos), np.nan)
    np.fmax.at(most, truth.video, truth.segment[:, 1])
    seen = np.full(len(truth.videos), np.nan)
    np.fmax.at(seen, found.video[known], found.segment[known, 1])
    both = np.isfinite(most) & np.isfinite(seen)
    if not both.any():
        return lines
    annotated, predicted = float(np.median(most[both])), float(np.median(seen[both]))
    if predicted > annotated > 1 and bool((seen[both] <= FAR * truth.duration[both]).all()):
        return lines  # proposals reach through the whole of long videos that show an early action
    small, large = sorted((annotated, predicted))
    if small > 0 and large > UNITS * small:
        lines.append(
            f"the last prediction of a video ends at {predicted:g}, its last annotation at {annotated:g} (medians of "
            f"{int(both.sum())} videos): give both in seconds, not milliseconds, frames or shares of the video"
        )
    return lines


def _far(truth: AnnotatedSegments, video: Ints, segment: Floats, word: str) -> str | None:
    limit = truth.duration[video]
    far = segment[:, 1] > FAR * limit  # never true for an unknown duration
    if not far.any():
        return None
    worst = int(np.argmax(np.where(far, segment[:, 1] / limit, -1.0)))
    return (
        f"{int(far.sum())} of {len(far)} {word} end far beyond their video, such as at {segment[worst, 1]:g} of "
        f"{limit[worst]:g} s in {truth.videos[video[worst]]!r}: give seconds, not milliseconds or frames"
    )


def _coverage(truth: AnnotatedSegments, found: PredictedSegments) -> list[str]:
    annotated = np.unique(truth.video)
    known = np.unique(found.video[found.video >= 0])
    reached = int(np.isin(annotated, known).sum())
    lines = []
    if reached < COVERED * len(annotated) and (len(known) or not len(found.video)):  # else told when they are read
        missing = truth.videos[int(annotated[~np.isin(annotated, known)][0])]
        lines.append(
            f"only {reached} of {len(annotated)} annotated videos have a prediction ({missing!r} has none): all "
            "annotations of the others count as missed"
        )
    if len(known) > 1 and len(known) == int((found.video >= 0).sum()):
        lines.append(
            f"each of the {len(known)} predicted videos has a single prediction: give all, as average precision and "
            "recall are over ranked lists"
        )
    return lines


def _scores(score: Floats) -> list[str]:
    lines = []
    outside = (score < 0) | (score > 1)
    if outside.any():
        lines.append(
            f"{int(outside.sum())} of {len(score)} scores are outside 0 to 1 (from {score.min():g} to "
            f"{score.max():g}): their order alone counts, but check that they are the scores you meant"
        )
    if len(score) > 1 and score.min() == score.max():
        lines.append(f"all {len(score)} scores are {score[0]:g}: predictions are ranked by video and time instead")
    return lines


def _strangers(found: PredictedSegments) -> list[str]:
    lines = []
    if labels := found.counts.get("unknown_labels", 0):
        lines.append(f"{labels} predictions have a label without an annotation here and are left out")
    strange = int((found.video < 0).sum())
    if 0 < strange < len(found.video):  # all of them: told when they are read
        lines.append(
            f"{strange} predictions of {found.counts['unknown_videos']} videos that the ground truth does not list "
            "count as false positives: check the ids and the subset"
        )
    return lines
