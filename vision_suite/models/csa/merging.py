"""From the proposals of a video's windows to those of the video: one rule for tests, predictions and streams."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vision_suite.models.csa.postprocess import PostProcess, Proposals, lasting, suppress
from vision_suite.ops.segments import soft_nms, vote


class StreamMerger:
    """Merges the proposals of overlapping windows, which arrive in order, into final ones.

    Whatever ends before the next window begins can only be touched by proposals that are known already, so it is final;
    it goes on to suppress its neighbours until none can follow. The result depends on the windows alone, not on how
    many arrive at a time, and memory on the length of a window, not of the stream.

    Args:
        post: The settings, of which `streams` must be true.
    """

    def __init__(self, post: PostProcess) -> None:
        self.post = post
        self._pending: list[Proposals] = []
        self._given: Proposals | None = None

    def add(self, found: Proposals, begin: float, horizon: float) -> Proposals:
        """Take a window's proposals and give those that are final.

        Args:
            found: Proposals in seconds, with positive scores.
            begin: Seconds at which this window begins; later ones begin behind it.
            horizon: Seconds at which the next window of the regular grid begins, infinity after the last one.

        Returns:
            Proposals that end up to the horizon, the best ``keep`` of them, in order of time.
        """
        post = self.post
        known = join([*self._pending, lasting(found, post)])
        given = self._given if self._given is not None else known.take(np.zeros(0, dtype=np.int64))
        everything = join([given, known])
        later = known.take(known.segments[:, 1] > horizon)
        kept, scores = soft_nms(
            everything.segments, everything.scores, method=post.nms, sigma=post.sigma, min_score=post.min_score,
            keep=post.keep + len(given.scores) + len(later.scores),  # enough to meet ``keep`` final ones among them
        )  # fmt: skip
        final = np.flatnonzero((kept >= len(given.scores)) & (everything.segments[kept, 1] <= horizon))[: post.keep]
        raw = everything.take(kept[final])
        out = replace(raw, scores=scores[final])
        if post.vote is not None and len(final):
            out.segments = vote(out.segments, everything.segments, everything.scores, post.vote)
        # A proposal that ends up to the horizon and was not kept now never will be.
        self._pending = [later]
        earliest = min(later.segments[:, 0].min(initial=np.inf), begin)
        given = join([given, raw])
        self._given = given.take((given.segments[:, 1] > earliest) & np.isfinite(horizon))
        return out.take(np.lexsort((out.segments[:, 1], out.segments[:, 0])))

    @property
    def held(self) -> int:
        """Number of proposals held."""
        return sum(len(part.scores) for part in self._pending) + (0 if self._given is None else len(self._given.scores))


class VideoMerger:
    """Merges the windows of one video, in order, to the proposals that tests score and predictions write.

    Settings of which `streams` is true go through `StreamMerger`, so a stream of the same windows gives the same; no
    more than ``keep`` of its proposals are held. The others need all proposals of all windows at the end.

    Args:
        post: The settings.
    """

    def __init__(self, post: PostProcess) -> None:
        self.post = post
        self._stream = StreamMerger(post) if streams(post) else None
        self._held: list[Proposals] = []

    def add(self, found: Proposals, begin: float, horizon: float, duration: float) -> None:
        """Take a window's proposals in seconds; see `StreamMerger.add`. ``duration``: seconds of the video."""
        if self._stream is not None:
            final = join([*self._held, self._stream.add(found, begin, horizon)])
            self._held = [final.take(np.argsort(-final.scores, kind="stable")[: self.post.keep])]
        else:
            twice = self.post.nms_stage == "window_then_video"
            self._held.append(suppress(found, duration, self.post) if twice else found)

    def close(self, duration: float) -> Proposals:
        """The proposals of the video, best first, at most ``keep``; after the last window that there is."""
        if self._stream is not None and self._stream.held:  # a trial run ended before the video did
            nothing = self._held[0].take(np.zeros(0, dtype=np.int64))
            self.add(nothing, math.inf, math.inf, duration)
        return self._held[0] if self._stream is not None else suppress(join(self._held), duration, self.post)

    @property
    def held(self) -> int:
        """Number of proposals held."""
        return sum(len(part.scores) for part in self._held) + (0 if self._stream is None else self._stream.held)


def streams(post: PostProcess) -> bool:
    """True if suppression can be done window after window: once, and without the length of the video."""
    return post.nms_stage == "video" and post.nms != "bsn"


def join(parts: Sequence[Proposals]) -> Proposals:
    """Several lists of proposals as one."""
    return Proposals(
        np.concatenate([part.segments for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.classes for part in parts]),
        np.concatenate([part.class_scores for part in parts]),
    )
