"""Generated trials and scenes of scanpaths."""

import numpy as np

from vision_suite.types import Condition, Scene, Trial


def trial_of(sequence, **changes):
    """A trial of subject a, who searches for a cup in scene s; pixels and durations are unknown unless given."""
    objects = np.asarray(sequence, dtype=np.int64)
    usual = {
        "scene": "s", "subject": "a", "task": "cup", "condition": Condition.PRESENT, "targets": (), "target": -1,
        "xy": np.full((len(objects), 2), np.nan, dtype=np.float32),
        "duration": np.full(len(objects), np.nan, dtype=np.float32),
    }  # fmt: skip
    return Trial(sequence=objects, **{**usual, **changes})


def row_of(objects, **changes):
    """A scene of objects of 20 x 20 pixels, ten to a row."""
    index = np.arange(objects)
    left, top = 30.0 * (index % 10), 30.0 * (index // 10)
    boxes = np.stack([left, top, left + 20, top + 20], axis=1).astype(np.float32)
    return Scene(**{"name": "s", "size": (400.0, 300.0), "boxes": boxes, "labels": ("",) * objects, **changes})
