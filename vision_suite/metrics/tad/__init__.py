"""Evaluation of temporal action detection on ActivityNet's dictionaries: mAP, AR and error analysis."""

from vision_suite.metrics.tad.scoring import (
    ACTIVITYNET,
    THUMOS,
    average_precision,
    average_recall,
    mean_average_precision,
)

__all__ = ["ACTIVITYNET", "THUMOS", "average_precision", "average_recall", "mean_average_precision"]
