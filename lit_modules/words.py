"""Words for scores that several modules log."""

from __future__ import annotations

from collections.abc import Sequence


def precision_labels(tiou: Sequence[float]) -> dict[str, str]:
    """Labels of the mean average precision: the mean over all thresholds, and the first, middle and last one.

    Args:
        tiou: Thresholds of temporal overlap, ascending.
    """
    shown = dict.fromkeys([tiou[0], tiou[len(tiou) // 2], tiou[-1]])
    return {"val/average_mAP": "mean mAP", **{f"val/mAP@{value:g}": f"mAP at tIoU {value:g}" for value in shown}}
