"""Losses of temporal action detection and their targets."""

from vision_suite.losses.tad.detection import DetectionLoss, segment_classification, video_classification
from vision_suite.losses.tad.targets import DetectionTargets, detection_targets

__all__ = [
    "DetectionLoss",
    "DetectionTargets",
    "detection_targets",
    "segment_classification",
    "video_classification",
]
