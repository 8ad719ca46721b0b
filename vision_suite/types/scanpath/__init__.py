"""Scanpaths: scenes and trials as they were recorded, batches, and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

import numpy as np
import numpy.typing as npt

from vision_suite.types import Report
from vision_suite.types.arrays import Floats, Floats32, Ints
from vision_suite.types.data import Data, Stage

if TYPE_CHECKING:
    from torch import Tensor

    from vision_suite.types.scanpath.records import TrialRecord


class Condition(IntEnum):
    """Task of an observer in front of a scene."""

    PRESENT = 0  # find a target that is there
    ABSENT = 1  # find a target that is not there
    FREE = 2  # just look


PADDING, BACKGROUND = -1, -2  # in ``sequence`` of a `ScanpathBatch`, where no object's index stands


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture with its objects.

    Attributes:
        name: Unique name, such as the picture's file name.
        size: Width and height in pixels.
        boxes: (N, 4) float32 x1, y1, x2, y2 in pixels.
        labels: Name or class of each object, empty where unknown.
        image: The picture's file, empty where there is none.
        placement: x, y of the picture's corner and the factor from picture pixels to the scene's pixels, where the
            picture was shown scaled inside a larger screen.
        grid: Rows and columns, where the objects stand on a grid in row-major order.
        features: File of the objects' vectors, (N, F).
        fold: Part of a given cross-validation, -1 where none is given.
    """

    name: str
    size: tuple[float, float]
    boxes: Floats32
    labels: tuple[str, ...]
    image: str = ""
    placement: tuple[float, float, float] = (0.0, 0.0, 1.0)
    grid: tuple[int, int] | None = None
    features: str = ""
    fold: int = -1

    @cached_property
    def pitch(self) -> float:
        """Median distance between nearest centres, in pixels."""
        return object_pitch(self.boxes)

    def positions(self) -> Floats32:
        """(N, 2) row and column of the centres in object pitches; whole numbers on grids."""
        if self.grid is not None:
            return np.indices(self.grid).reshape(2, -1).T.astype(np.float32)
        return (box_centres(self.boxes)[:, ::-1] / self.pitch).astype(np.float32)

    def start(self) -> tuple[float, float]:
        """Row and column of the middle of the screen in object pitches, where gaze begins."""
        if self.grid is not None:
            return float(self.grid[0] // 2), float(self.grid[1] // 2)
        return self.size[1] / 2 / self.pitch, self.size[0] / 2 / self.pitch


@dataclass(frozen=True, eq=False)
class Trial:
    """Scanpath of one observer in one scene, as it was recorded.

    Attributes:
        scene: The scene's name.
        subject: The observer, empty if unknown.
        task: Word for the target of the search; "" in free viewing.
        condition: Task of the observer.
        targets: Objects that count as found.
        target: The object whose copy is the target token, -1 for none.
        sequence: (L,) int64 objects or ``BACKGROUND``.
        xy: (L, 2) float32 pixels, NaN where unknown.
        duration: (L,) float32 seconds, NaN where unknown.
        given: Number of first fixations that are given and not predicted.
        terminated: True if the path ended by itself behind the last fixation.
        subset: The authors' own part, such as train.
        target_image: Picture of the target apart from the scene.
        target_features: File of the target's vector, (F,).
        recording: Index of the whole path among the recordings that windows were cut from, -1 for a whole path.
        first: Index of the first fixation in that recording.
    """

    scene: str
    subject: str
    task: str
    condition: Condition
    targets: tuple[int, ...]
    target: int
    sequence: Ints
    xy: Floats32
    duration: Floats32
    given: int = 0
    terminated: bool = True
    subset: str = ""
    target_image: str = ""
    target_features: str = ""
    recording: int = -1
    first: int = 0

    @property
    def length(self) -> int:
        """Number of fixations L."""
        return len(self.sequence)

    def part(self, first: int, last: int, given: int) -> Trial:
        """Fixations ``first`` up to, not including, ``last``."""
        return replace(
            self,
            sequence=self.sequence[first:last],
            xy=self.xy[first:last],
            duration=self.duration[first:last],
            given=given,
            terminated=self.terminated and last == self.length,
            first=self.first + first,
        )


class ScanpathBatch(TypedDict, total=False):
    """Scenes of at most N objects, the targets of search in them, and one scanpath each of at most L fixations.

    Objects: either ``crops`` (B, N, 3, h, w) float32, normalised, or ``features`` (B, N, F) float32. ``boxes``
    (B, N, 4) float32 x1, y1, x2, y2 in pixels; ``present`` (B, N) bool, False where padded. ``position`` (B, N, 2)
    float32 row and column of the centres in object pitches, whole numbers on grids; ``start`` (B, 2) float32, where
    gaze begins, in the same unit. ``image_size`` (B, 2) float32 width, height in pixels.

    Target: ``target`` (B,) int64 the object, -1 for none; ``targets`` (B, N) bool every object that counts as found;
    ``target_features`` (B, F) or ``target_crop`` (B, 3, h, w) float32 if the target is given apart from the objects;
    ``condition`` (B,) int64, `Condition`.

    Scanpath: ``sequence`` (B, L) int64 objects, ``BACKGROUND`` or ``PADDING``; ``xy`` (B, L, 2) float32 pixels and
    ``duration`` (B, L) float32 seconds, NaN where unknown or padded; ``given`` (B,) int64 number of first fixations
    that are given and not predicted; ``terminated`` (B,) bool, False where a recording goes on behind the cut.
    ``index`` (B,) int64 index in the list of trials.
    """

    crops: Tensor
    features: Tensor
    boxes: Tensor
    present: Tensor
    position: Tensor
    start: Tensor
    image_size: Tensor
    target: Tensor
    targets: Tensor
    target_features: Tensor
    target_crop: Tensor
    condition: Tensor
    sequence: Tensor
    xy: Tensor
    duration: Tensor
    given: Tensor
    terminated: Tensor
    index: Tensor


@dataclass(frozen=True)
class ScanpathReport(Report):
    """Evaluation of scanpath prediction, as tables and pictures read it.

    Attributes:
        metrics: Scalars by name: the model's ``sequence_score`` ..., and ``<predictor>/<score>`` of the others.
        protocol: Everything needed to read the numbers, in words by subject.
        rows: Scores by name of each predictor (``model``, ``mode``, ``human``, ``random``, ``next_object``,
            ``offsets``).
        intervals: Ends of bootstrap intervals by score, of each predictor.
        pairs: Number of pairs of paths that were compared, and of those without a score, by score of each predictor.
        counts: Numbers of paths, and of short, empty and unterminated ones, of each predictor.
        hits: (3, K) share of paths that hit the target by fixation 1..K, and its interval, of ``model`` and ``human``.
        trials: Each trial with its samples and log probabilities, in plain containers.
        probabilities: (L + 1, N + 2) probability of each object, the background and the end before each decision, by
            trial; None where unknown.
        scenes: Scenes by name.
    """

    rows: dict[str, dict[str, float]]
    intervals: dict[str, dict[str, tuple[float, float]]]
    pairs: dict[str, dict[str, tuple[int, int]]]
    counts: dict[str, dict[str, int]]
    hits: dict[str, Floats]
    trials: list[TrialRecord] = field(repr=False)
    probabilities: list[Floats | None] = field(repr=False)
    scenes: dict[str, Scene] = field(repr=False)


def box_centres(boxes: npt.NDArray[np.floating[Any]]) -> Floats:
    """(N, 2) x, y of the centres of (N, 4) boxes."""
    values = np.asarray(boxes, dtype=np.float64)
    return np.asarray((values[:, :2] + values[:, 2:]) / 2)


def object_pitch(boxes: npt.NDArray[np.floating[Any]]) -> float:
    """Median over the objects of the distance to the nearest other centre, in pixels.

    A single object, or objects on one spot, have no such distance; there the mean side of the boxes is taken.
    """
    middle = box_centres(boxes)
    if len(middle) > 1:
        distances = np.linalg.norm(middle[:, None] - middle[None], axis=-1)
        np.fill_diagonal(distances, np.inf)
        pitch = float(np.median(distances.min(axis=1)))
        if pitch > 0:
            return pitch
    side = float(np.mean(np.asarray(boxes)[:, 2:] - np.asarray(boxes)[:, :2]))
    return side if side > 0 else 1.0


class ScanpathSource(Data, Protocol):
    """Facts of scanpath data, see `vision_suite.datasets.scanpath.ScanpathData`.

    Attributes:
        num_objects: Most objects of a scene.
        num_positions: Rows or columns of the largest grid, 0 where objects stand freely.
    """

    num_objects: int
    num_positions: int

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Settings that turn objects into the network's input, in plain values."""

    def trials(self, stage: Stage) -> Sequence[Trial]:
        """Trials of a stage, in the order in which batches number them; pieces where recordings are cut."""

    def recordings(self, stage: Stage) -> Sequence[Trial]:
        """Whole recordings of a stage; a piece's ``recording`` is its index here."""

    def scenes(self, stage: Stage) -> Mapping[str, Scene]:
        """Scenes of a stage by name."""
