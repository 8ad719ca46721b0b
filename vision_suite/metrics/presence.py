"""Scores of the presence of names in pictures: average precision, ROC curve, reliability, threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vision_suite.errors import DataError
from vision_suite.metrics.reliability import calibration_error, reliability
from vision_suite.types.arrays import Bools, Floats
from vision_suite.types.presence import PresenceReport

POINTS = 400  # points of the ROC curve that a report keeps


def average_precision(score: Floats, present: Bools) -> float:
    """Mean precision at the rank of each positive; of equal scores the positives come last, so ties never help.

    Args:
        score: (N,) scores.
        present: (N,) truth.

    Returns:
        NaN without positives.

    Example:
        >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]))  # (1 / 1 + 2 / 3) / 2
        0.8333333333333333
    """
    hits = present[np.lexsort((present, -score))]
    if not hits.any():
        return float("nan")
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())


def roc(score: Floats, present: Bools) -> tuple[Floats, Floats, Floats]:
    """The ROC curve: false and true positive rates, ascending, and the score from which each point counts as present.

    It begins at (0, 0), above every score.

    Args:
        score: (N,) scores.
        present: (N,) truth.

    Raises:
        DataError: All are present, or none.

    Example:
        >>> roc(np.array([0.9, 0.4]), np.array([True, False]))
        (array([0., 0., 1.]), array([0., 1., 1.]), array([inf, 0.9, 0.4]))
    """
    positives = int(present.sum())
    if positives in (0, len(present)):
        raise DataError(f"{positives} of {len(present)} pairs are present: a ROC curve needs both kinds")
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)  # equal scores count together
    found = np.cumsum(present[order])[last]
    false = np.cumsum(~present[order])[last]
    fpr = np.concatenate([[0.0], false / (len(present) - positives)])
    tpr = np.concatenate([[0.0], found / positives])
    return fpr, tpr, np.concatenate([[np.inf], score[order][last]])


def youden(score: Floats, present: Bools) -> float:
    """Threshold at which the true positive rate exceeds the false positive rate by most (Youden, 1950).

    It does not depend on how often names are present, which differs between pictures and the captions about them.

    Example:
        >>> youden(np.array([0.9, 0.6, 0.4, 0.1]), np.array([True, True, False, False]))
        0.6
    """
    fpr, tpr, threshold = roc(score, present)
    return float(threshold[1:][np.argmax((tpr - fpr)[1:])])


def rates(score: Floats, present: Bools, threshold: float) -> tuple[float, float]:
    """True and false positive rate of scores from a threshold on.

    Example:
        >>> rates(np.array([0.9, 0.4, 0.6, 0.1]), np.array([True, True, False, False]), 0.5)
        (0.5, 0.5)
    """
    said = score >= threshold
    return float(said[present].mean()), float(said[~present].mean())


def presence_report(
    score: Floats,
    present: Bools,
    names: Sequence[str],
    protocol: Mapping[str, Any],
    threshold: float | None = None,
) -> PresenceReport:
    """The report of an evaluation.

    Args:
        score: (M, K) probabilities of names.
        present: (M, K) truth.
        names: K names.
        protocol: Everything needed to read the numbers.
        threshold: Score from which a name counts as present; None chooses it here, and says so in the protocol.

    Raises:
        DataError: Scores are not finite, or every pair of picture and name is of one kind.

    Example:
        >>> score, present = np.array([[0.9, 0.2], [0.3, 0.6]]), np.array([[True, False], [False, True]])
        >>> presence_report(score, present, ["cat", "dog"], {}).metrics["mAP"]
        1.0
    """
    if not np.isfinite(score).all():
        raise DataError("scores of names are not finite: use another checkpoint")
    flat, truth = score.ravel(), present.ravel()
    fpr, tpr, _ = roc(flat, truth)
    chosen = youden(flat, truth)
    used = chosen if threshold is None else threshold
    by_name = np.array([average_precision(score[:, number], present[:, number]) for number in range(len(names))])
    bins = reliability(flat, truth)
    found, wrong = rates(flat, truth, used)
    kept = np.unique(np.linspace(0, len(fpr) - 1, min(POINTS, len(fpr))).round().astype(np.int64))
    return PresenceReport(
        metrics={
            "mAP": float(np.nanmean(by_name)),
            "AP": average_precision(flat, truth),
            "auc": float(np.trapezoid(tpr, fpr)),
            "tpr": found,
            "fpr": wrong,
            "calibration_error": calibration_error(bins),
        },
        protocol={
            **protocol,
            "num_pictures": len(score),
            "threshold": used,
            "threshold_from": "these pictures" if threshold is None else "validation",
            "names_not_shown": int(np.isnan(by_name).sum()),
        },
        names=tuple(names),
        average_precision=by_name,
        fpr=fpr[kept],
        tpr=tpr[kept],
        reliability=np.array([(each.score, each.real, each.count) for each in bins], np.float64),
        threshold=used,
        operating_point={"threshold": chosen} if threshold is None else {},
    )
