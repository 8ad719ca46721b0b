"""From maps of probabilities to a list of detections: proposals, suppression, voting, labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vision_suite.errors import ConfigError, check_literals, check_number
from vision_suite.layers.proposal_map import Convention, ProposalMap
from vision_suite.ops.segments import Suppression, soft_nms, vote
from vision_suite.types.arrays import Bools, Floats, Ints
from vision_suite.types.tad import Detection


@dataclass(frozen=True)
class PostProcess:
    """Settings that make detections of a network's output; comparisons of networks need the same ones.

    Attributes:
        score: ``confidence_iou`` multiplies the two map scores (OpenTAD's detection), ``all`` also both boundary
            probabilities (BMN).
        candidates: ``all`` pairs of positions, or ``peaks``: starts and ends that are local peaks or above half of the
            largest value; the first position is always a start and the last an end (BMN, section 3.5).
        nms: ``gaussian``, ``bsn`` or ``none``; see `vision_suite.ops.segments.soft_nms`.
        sigma: Width of the decay.
        low: Threshold of ``bsn`` for short proposals, from 0 to 1.
        high: Threshold of ``bsn`` for proposals as long as the video, from ``low`` to 1.
        min_score: Proposals below are dropped; from 0 to below 1.
        keep: Proposals kept a video; a stream, which has no end, keeps so many of each step from window to window.
        vote: Move kept proposals to the mean of those that overlap them so much; unset for no voting.
        nms_stage: ``video`` suppresses once, the windows of a video in order; ``window_then_video`` each window, then
            all that is left of the video, as the published THUMOS-14 numbers do.
        top_classes: Labels given to each proposal, each as a detection of its own.
        class_scope: ``video``: labels by the scores of the whole video, as all proposal networks do; ``segment``: by
            the proposal's own snippets, for videos with several classes.
        fusion: Score of a detection: ``product`` of proposal and class score, or its ``sqrt``.
        per_sequence: Best proposals of a sequence that go on to suppression.
        max_seconds: Longer proposals are dropped; unset for none.
    """

    score: Literal["confidence_iou", "all"] = "confidence_iou"
    candidates: Literal["all", "peaks"] = "all"
    nms: Suppression = "gaussian"
    sigma: float = 0.5
    low: float = 0.5
    high: float = 0.9
    min_score: float = 0.0
    keep: int = 100
    vote: float | None = None
    nms_stage: Literal["video", "window_then_video"] = "video"
    top_classes: int = 2
    class_scope: Literal["video", "segment"] = "video"
    fusion: Literal["product", "sqrt"] = "product"
    per_sequence: int = 1000
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        """Refuse what would give no detection."""
        check_literals(self, "post")
        check_number("post.sigma", self.sigma, above=0)
        check_number("post.low", self.low, low=0, high=1)
        check_number("post.high", self.high, low=0, high=1)
        check_number("post.min_score", self.min_score, low=0, below=1)
        for name in ("keep", "top_classes", "per_sequence"):
            check_number(f"post.{name}", getattr(self, name), low=1, whole=True)
        for name, high in (("vote", 1.0), ("max_seconds", None)):
            if getattr(self, name) is not None:
                check_number(f"post.{name}", getattr(self, name), above=0, high=high)
        if self.low > self.high:
            raise ConfigError(f"post.low={self.low} must be at most post.high={self.high}")


@dataclass
class Proposals:
    """Proposals of one sequence or video.

    Attributes:
        segments: Starts and ends (n, 2), seconds.
        scores: Scores (n,).
        classes: (n, k) int64 class numbers, best first; (n, 0) where labels come from the whole video.
        class_scores: Scores (n, k) of these classes.
    """

    segments: Floats
    scores: Floats
    classes: Ints
    class_scores: Floats

    def take(self, chosen: Ints | Bools) -> Proposals:
        """Some of the proposals, by index or by mask."""
        return Proposals(self.segments[chosen], self.scores[chosen], self.classes[chosen], self.class_scores[chosen])


def propose(
    start: Floats,
    end: Floats,
    iou: Floats,
    confidence: Floats,
    valid: int,
    proposals: ProposalMap,
    convention: Convention,
    post: PostProcess,
) -> tuple[Ints, Ints, Floats]:
    """The best proposals of one sequence.

    Args:
        start: (T,) probabilities.
        end: (T,) probabilities.
        iou: (D, T) probabilities, axes as the layout says.
        confidence: (D, T) probabilities.
        valid: Number of cells that are not padding.
        proposals: The proposal map.
        convention: Convention that decides which position is a proposal's end.
        post: The settings.

    Returns:
        First cells (n,), cells behind the last (n,), scores (n,), best first; at most ``per_sequence``.
    """
    first = proposals.starts().numpy()
    last = first + proposals.durations().numpy()
    # As in the public codes with such labels: the end is read one further, so none may end with the sequence.
    at = last if convention.boundary == "cell" else last + 1
    usable = proposals.valid().numpy() & (last < valid) & (at < valid)
    if post.candidates == "peaks":
        begins, ends = candidates(start[:valid]), candidates(end[:valid])
        begins[0] = ends[-1] = True
        usable &= _at(begins, first, valid) & _at(ends, at, valid)
    first, last, at = first[usable], last[usable], at[usable]
    scores = iou[usable] * confidence[usable]
    if post.score == "all":
        scores = scores * start[first] * end[at]
    order = np.argsort(-scores, kind="stable")[: post.per_sequence]
    return first[order], last[order] + 1, scores[order].astype(np.float64)


def candidates(sequence: Floats) -> Bools:
    """Positions that are local peaks, or above half of the largest value: (n,) bool."""
    padded = np.concatenate([[-np.inf], sequence, [-np.inf]])
    peak = (padded[1:-1] > padded[:-2]) & (padded[1:-1] > padded[2:])
    out: Bools = peak | (sequence > 0.5 * sequence.max(initial=0.0))
    return out


def lasting(found: Proposals, post: PostProcess) -> Proposals:
    """Without those of no length, which clipping to the video may leave, and those longer than ``max_seconds``."""
    length = found.segments[:, 1] - found.segments[:, 0]
    return found.take((length > 0) & (length <= (np.inf if post.max_seconds is None else post.max_seconds)))


def suppress(found: Proposals, duration: float, post: PostProcess) -> Proposals:
    """Soft suppression of one sequence's or video's proposals, then voting; best first."""
    found = lasting(found, post)
    scale = max(duration, 1e-9) if post.nms == "bsn" else 1.0
    kept, scores = soft_nms(
        found.segments / scale, found.scores, method=post.nms, sigma=post.sigma, low=post.low, high=post.high,
        min_score=post.min_score, keep=post.keep,
    )  # fmt: skip
    out = found.take(kept)
    out.scores = scores
    if post.vote is not None and len(kept):
        out.segments = vote(out.segments, found.segments, found.scores, post.vote)
    return out


def label(found: Proposals, video_scores: Floats | None, names: Sequence[str], post: PostProcess) -> list[Detection]:
    """Detections in ActivityNet's form: each proposal once for each of its best classes, best score first.

    Args:
        found: Proposals of a video.
        video_scores: (K,) class scores of the video, where the proposals have none of their own.
        names: The K class names.
        post: The settings.
    """
    if video_scores is not None:
        best = np.argsort(-video_scores, kind="stable")[: post.top_classes]
        classes = np.broadcast_to(best, (len(found.scores), len(best)))
        class_scores = np.broadcast_to(video_scores[best], classes.shape)
    else:
        classes, class_scores = found.classes, found.class_scores
    scores = found.scores[:, None] * class_scores
    if post.fusion == "sqrt":
        scores = np.sqrt(scores)
    rows, columns = np.unravel_index(np.argsort(-scores, axis=None, kind="stable"), scores.shape)
    return [
        {
            "label": names[int(classes[row, column])],
            "score": float(scores[row, column]),
            "segment": [float(found.segments[row, 0]), float(found.segments[row, 1])],
        }
        for row, column in zip(rows, columns, strict=True)
    ]


def _at(flags: Bools, positions: Ints, valid: int) -> Bools:
    """Flags at positions, False outside."""
    inside = (positions >= 0) & (positions < valid)
    out: Bools = inside & flags[np.clip(positions, 0, valid - 1)]
    return out
