"""Scanpaths as JSON: the records of evaluated trials and of predictions."""

from __future__ import annotations

from typing import TypedDict


class PathRecord(TypedDict):
    """A path as JSON.

    ``objects`` (L) numbers of objects, -2 on none; ``duration`` (L) seconds, None where unknown;
    ``terminated`` False if the path was cut.
    """

    objects: list[int]
    duration: list[float | None] | None
    terminated: bool


class ObservedRecord(PathRecord):
    """The observer's path as JSON: ``xy`` (L, 2) pixels, None where unknown; ``step_log_probs`` nats of its steps."""

    xy: list[list[float | None]]
    step_log_probs: list[float | None] | None


class SampleRecord(PathRecord):
    """A sampled path as JSON, with its log probability in nats."""

    log_prob: float | None


class TrialRecord(TypedDict):
    """An evaluated trial as JSON: fields of a `Trial`, the model's paths, and their mean scores by name."""

    scene: str
    subject: str
    task: str
    condition: str
    target: int
    targets: list[int]
    given: int
    recording: int
    first: int
    human: ObservedRecord
    scores: dict[str, float | None]
    greedy: PathRecord | None
    samples: list[SampleRecord]


class PredictedPath(PathRecord):
    """A predicted path as JSON: ``xy`` (L, 2) pixels, and the log probability in nats."""

    xy: list[list[float]]
    log_prob: float


class TrialPrediction(TypedDict):
    """Predictions of a trial as JSON.

    ``image`` name of the picture and ``size`` its width and height in pixels; ``target`` the object, the objects that
    count as found, and facts on their choice; ``boxes`` (N, 4) x1, y1, x2, y2 in pixels; ``likeliest`` the path of the
    likeliest steps.
    """

    image: str
    size: list[float]
    subject: str
    task: str
    condition: str
    target: dict[str, object]
    given: int
    boxes: list[list[float]]
    labels: list[str]
    likeliest: PredictedPath
    samples: list[PredictedPath]
