"""Detections of a stream: windows in order, bounded memory, and nothing that was said is taken back.

Whatever ends before the next window begins can only be touched by proposals that are known already, so it is emitted.
What was emitted goes on to suppress its neighbours until none can follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from vision_suite.errors import ConfigError
from vision_suite.models.csa.detections import (
    class_probabilities,
    proposal_rows,
    to_proposals,
    video_rows,
)
from vision_suite.models.csa.network import CSADetector
from vision_suite.models.csa.postprocess import PostProcess, Proposals, label, suppress
from vision_suite.ops.segments import soft_nms, vote
from vision_suite.ops.windows import Rows, WindowCutter


class StreamMerger:
    """Merges the proposals of overlapping windows, which arrive in order, into final ones.

    The result depends on the windows alone, not on how many arrive at a time. Memory depends on the length of a window,
    not on that of the stream. One difference to `vision_suite.models.csa.postprocess.merge` over a whole video: a
    proposal can't be decayed by one that was decayed itself by what comes after the next window's start; and ``keep``
    holds for what is pending at a time, not for the whole stream.

    Args:
        post: The settings; ``bsn`` suppression needs the whole video and is refused.
    """

    def __init__(self, post: PostProcess) -> None:
        if post.nms == "bsn":
            raise ConfigError("post.nms=bsn compares lengths with the whole video's: a stream needs gaussian or none")
        self.post = post
        self._pending: list[Proposals] = []
        self._said: Proposals | None = None

    def add(self, found: Proposals, begin: float, horizon: float) -> Proposals:
        """Take a window's proposals and give those that are final.

        Args:
            found: Proposals in seconds, with positive scores.
            begin: Seconds at which this window begins; later ones begin behind it.
            horizon: Seconds at which the next window of the regular grid begins, infinity after the last one.

        Returns:
            What ends up to the horizon, in order of time.
        """
        found = found.take(found.segments[:, 1] > found.segments[:, 0])
        if self.post.nms_stage == "window_then_video" or self.post.max_seconds is not None:
            once = replace(self.post, vote=None, nms="none") if self.post.nms_stage == "video" else self.post
            found = suppress(found, float("nan"), once)
        self._pending.append(found)
        known = join(self._pending)
        said = self._said if self._said is not None else known.take(np.zeros(0, dtype=np.int64))
        everything = join([said, known])
        kept, scores = soft_nms(
            everything.segments,
            everything.scores,
            method=self.post.nms,
            sigma=self.post.sigma,
            min_score=self.post.min_score,
            keep=self.post.keep + len(said.scores),
        )
        new = kept >= len(said.scores)
        kept, scores = kept[new], scores[new]
        final = everything.segments[kept, 1] <= horizon
        out = everything.take(kept[final])
        raw = everything.take(kept[final])
        out.scores = scores[final]
        if self.post.vote is not None and len(out.scores):
            out.segments = vote(out.segments, everything.segments, everything.scores, self.post.vote)
        # What ends up to the horizon and was not kept now never will be.
        later = known.take(known.segments[:, 1] > horizon)
        self._pending = [later]
        earliest = float(later.segments[:, 0].min()) if len(later.scores) else begin
        said = join([said, raw])
        needed = said.segments[:, 1] > min(earliest, begin)
        self._said = said.take(needed & np.isfinite(horizon))
        return out.take(np.lexsort((out.segments[:, 1], out.segments[:, 0])))

    @property
    def held(self) -> int:
        """Number of proposals held."""
        return sum(len(part.scores) for part in self._pending) + (0 if self._said is None else len(self._said.scores))


class StreamingDetector:
    """Detections of rows that arrive in pieces of any size: feed rows, take what is final.

    Args:
        network: A trained detector, in evaluation mode.
        classes: Its class names.
        post: The settings; with ``class_scope: video`` labels follow the class scores of what was seen so far.
        cell_seconds: Seconds from one row to the next.
        origin: Seconds at which row 0 begins.
        overlap: Share of a window that the next one sees again; at 0.5 every action of up to half a window is whole in
            some window.
    """

    def __init__(
        self,
        network: CSADetector,
        classes: Sequence[str],
        post: PostProcess,
        *,
        cell_seconds: float,
        origin: float = 0.0,
        overlap: float = 0.5,
    ) -> None:
        length = network.proposals.length
        self.network, self.classes, self.post = network, list(classes), post
        self.cell_seconds, self.origin = cell_seconds, origin
        self.cutter = WindowCutter(length, max(1, int(length * (1 - overlap) + 1e-9)))
        self.merger = StreamMerger(post)
        self._scores = np.zeros((1, 1 + len(self.classes)))

    def feed(self, rows: Rows) -> list[dict[str, Any]]:
        """Take rows (n, C); give the detections that became final, in order of time."""
        found: list[dict[str, Any]] = []
        for start, window in self.cutter.feed(rows):
            found += self._detect(start, window, last=False)
        return found

    def close(self) -> list[dict[str, Any]]:
        """End the stream; give the rest."""
        return self._detect(*self.cutter.close(), last=True)

    @torch.inference_mode()
    def _detect(self, start: int, window: Rows, *, last: bool) -> list[dict[str, Any]]:
        length = self.network.proposals.length
        begin = self.origin + start * self.cell_seconds
        features = torch.zeros(1, window.shape[1], length)
        features[0, :, : len(window)] = torch.from_numpy(np.ascontiguousarray(window.T))
        batch = {
            "valid": (torch.arange(length) < len(window))[None],
            "origin": torch.tensor([begin], dtype=torch.float64),
            "cell_seconds": torch.tensor([self.cell_seconds], dtype=torch.float64),
            "duration": torch.tensor([begin + len(window) * self.cell_seconds], dtype=torch.float64),
            "video": torch.zeros(1, dtype=torch.int64),
            "index": torch.zeros(1, dtype=torch.int64),
        }
        device = next(self.network.parameters()).device
        output = self.network(features.to(device), batch["valid"].to(device))
        _, values = proposal_rows(self.network, output, batch, self.post)
        _, scores = video_rows(output, {name: value.to(device) for name, value in batch.items()})
        self._scores += scores.numpy()[:, 1:]
        horizon = float("inf") if last else begin + self.cutter.stride * self.cell_seconds
        final = self.merger.add(to_proposals(values.numpy()), begin, horizon)
        video = class_probabilities(self._scores)[0] if self.post.class_scope == "video" else None
        found = label(final, video, self.classes, self.post)
        return sorted(found, key=lambda entry: (entry["segment"], -entry["score"]))


def join(parts: list[Proposals]) -> Proposals:
    """Several lists of proposals as one."""
    return Proposals(
        np.concatenate([part.segments for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.classes for part in parts]),
        np.concatenate([part.class_scores for part in parts]),
    )
