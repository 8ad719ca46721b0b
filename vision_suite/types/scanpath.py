"""Scanpaths: batches, marks in them, and reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypedDict

from vision_suite.types import Report

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Condition(IntEnum):
    """What a person was asked to do with a scene."""

    PRESENT = 0  # find a target that is there
    ABSENT = 1  # find a target that is not there
    FREE = 2  # just look


PADDING, BACKGROUND = -1, -2  # in ``sequence`` of a `ScanpathBatch`, where no object's number stands


class ScanpathBatch(TypedDict, total=False):
    """Scenes of at most N objects, what is searched for, and where one person looked, at most L fixations.

    Objects: either ``crops`` (B, N, 3, h, w) float32, normalised, or ``features`` (B, N, F) float32. ``boxes``
    (B, N, 4) float32 x1, y1, x2, y2 in pixels; ``present`` (B, N) bool, False where padded. ``position`` (B, N, 2)
    float32 row and column of the centres in object pitches, whole numbers on grids; ``start`` (B, 2) float32, where
    gaze begins, in the same unit. ``image_size`` (B, 2) float32 width, height in pixels.

    Target: ``target`` (B,) int64 the object, -1 for none; ``targets`` (B, N) bool every object that counts as found;
    ``target_features`` (B, F) or ``target_crop`` (B, 3, h, w) float32 if the target is given apart from the objects;
    ``condition`` (B,) int64, `Condition`.

    Scanpath: ``sequence`` (B, L) int64 objects, ``BACKGROUND`` or ``PADDING``; ``xy`` (B, L, 2) float32 pixels and
    ``duration`` (B, L) float32 seconds, NaN where unknown or padded; ``given`` (B,) int64 how many first fixations are
    given and not predicted; ``terminated`` (B,) bool, False where a recording goes on behind the cut.
    ``index`` (B,) int64 place in the list of trials.
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
    """What an evaluation of scanpath prediction leaves behind for tables and pictures.

    Attributes:
        metrics: Scalars by name: the model's ``sequence_score`` ..., and ``<predictor>/<score>`` of the others.
        protocol: Everything needed to read the numbers, in words by subject.
        rows: By predictor (``model``, ``mode``, ``human``, ``random``, ``next_object``, ``offsets``) scores by name.
        intervals: Likewise the ends of bootstrap intervals.
        pairs: Likewise how many pairs of paths were compared, and how many of these have no score.
        counts: By predictor paths, and how many are short, empty or unterminated.
        hits: Of ``model`` and ``human`` (3, K) share of paths that hit the target by fixation 1..K, and its interval.
        trials: Each trial with its samples and log probabilities, in plain containers.
        probabilities: By trial (L + 1, N + 2) probability of each object, the background and the end before each
            decision; None where unknown.
        scenes: By name what can be drawn of a scene: ``size``, ``boxes``, ``labels``, ``image``, ``placement``.
    """

    rows: dict[str, dict[str, float]]
    intervals: dict[str, dict[str, tuple[float, float]]]
    pairs: dict[str, dict[str, tuple[int, int]]]
    counts: dict[str, dict[str, int]]
    hits: dict[str, np.ndarray]
    trials: list[dict[str, Any]] = field(repr=False)
    probabilities: list[np.ndarray | None] = field(repr=False)
    scenes: dict[str, Any] = field(repr=False)
