"""Bare trials and scenes: the metrics ask for attributes only, not for the classes of the data room."""

from dataclasses import dataclass, field

import numpy as np

from vision_suite.types import Condition


@dataclass
class StubScene:
    boxes: np.ndarray
    size: tuple = (400.0, 300.0)
    labels: tuple = ()
    image: str = ""
    placement: tuple = (0.0, 0.0, 1.0)


@dataclass
class StubTrial:
    sequence: np.ndarray
    scene: str = "s"
    subject: str = "a"
    task: str = "cup"
    condition: int = Condition.PRESENT
    targets: tuple = ()
    target: int = -1
    given: int = 0
    terminated: bool = True
    recording: int = -1
    first: int = 0
    xy: np.ndarray = field(default=None)
    duration: np.ndarray = field(default=None)

    def __post_init__(self):
        self.sequence = np.asarray(self.sequence, dtype=np.int64)
        count = len(self.sequence)
        self.xy = np.full((count, 2), np.nan, dtype=np.float32) if self.xy is None else self.xy
        self.duration = np.full(count, np.nan, dtype=np.float32) if self.duration is None else self.duration


def row_of(objects, **changes):
    """A scene of objects of 20 x 20 pixels, ten to a row."""
    place = np.arange(objects)
    left, top = 30.0 * (place % 10), 30.0 * (place // 10)
    return StubScene(np.stack([left, top, left + 20, top + 20], axis=1), **changes)
