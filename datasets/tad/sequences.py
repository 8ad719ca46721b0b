"""Batches of feature sequences: rows from disk or memory, cut or resized, with their annotations in cells."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vision_suite.datasets.loading import BatchKey
from vision_suite.datasets.tad.annotations import Video
from vision_suite.datasets.tad.features import FeatureSource, resize_rows
from vision_suite.datasets.tad.windows import Clock, Window
from vision_suite.errors import DataError
from vision_suite.types.arrays import Floats32

RECENT = 4  # videos kept without ``keep``: windows of one video follow one another in evaluation


class VideoRows:
    """Rows (L, C) of each video of a list; all are read once at the start, to find damaged files before training.

    Args:
        source: The features.
        videos: The list of videos.
        every: Step between the rows that are kept.
        keep: Keep all rows in memory.

    Attributes:
        counts: Number of rows of each video.
    """

    def __init__(self, source: FeatureSource, videos: Sequence[Video], every: int, keep: bool) -> None:
        self._source, self._names, self._every, self._keep = source, [video.name for video in videos], every, keep
        self._held: OrderedDict[int, Floats32] = OrderedDict()
        self.counts: list[int] = []
        for index in range(len(self._names)):
            self.counts.append(len(self(index)))

    def __call__(self, index: int) -> Floats32:
        """Rows of a video, (L, C) float32."""
        if index in self._held:
            return self._held[index]
        rows = np.ascontiguousarray(self._source.read(self._names[index])[:: self._every])
        self._held[index] = rows
        if not self._keep and len(self._held) > RECENT:
            self._held.popitem(last=False)
        return rows


class SequenceBatches(Dataset[dict[str, Tensor]]):
    """Data set that turns a `BatchKey` into a `vision_suite.types.TADBatch`.

    Args:
        windows: The sequences.
        videos: The videos they refer to.
        rows: Features of the videos.
        classes: Class names by number.
        cells: Length T.
        resize: Resize the window's rows to T, else pad them behind.
        keep_inside: Share of an annotation that must lie inside for it to be kept, clipped to the sequence.
        min_share: Leave out annotations shorter than this share of the sequence.
        video_scores: (V, K) class scores from outside.
    """

    def __init__(
        self,
        windows: Sequence[Window],
        videos: Sequence[Video],
        rows: VideoRows,
        *,
        classes: Sequence[str],
        cells: int,
        resize: bool,
        keep_inside: float,
        min_share: float,
        video_scores: Tensor | None,
    ) -> None:
        self._windows, self._videos, self._rows = list(windows), list(videos), rows
        self._number = {name: number for number, name in enumerate(classes)}
        self._cells, self._resize = cells, resize
        self._keep_inside, self._min_share = keep_inside, min_share
        self._video_scores = video_scores

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, key: BatchKey) -> dict[str, Tensor]:
        chosen = [self._windows[index] for index in key.indices]
        parts = [self._part(window) for window in chosen]
        found = [self.actions(index) for index in key.indices]
        most = max(len(actions) for actions in found)
        segments = torch.zeros(len(chosen), most, 2)
        label = torch.full((len(chosen), most), -1, dtype=torch.int64)
        for row, actions in enumerate(found):
            for column, (_, number, start, end) in enumerate(actions):
                segments[row, column] = torch.tensor([start, end])
                label[row, column] = number
        video = torch.tensor([window.video for window in chosen])
        batch = {
            **stacked(parts, [(window.clock, window.horizon) for window in chosen], self._cells),
            "segments": segments,
            "label": label,
            "video": video,
            "index": torch.tensor(key.indices),
        }
        if self._video_scores is not None:
            batch["video_scores"] = self._video_scores[video]
        return batch

    def actions(self, index: int) -> list[tuple[int, int, float, float]]:
        """Annotations that a sequence shows: index among the video's, class, start and end in cells."""
        window = self._windows[index]
        length = float(self._cells if self._resize else window.rows)
        out = []
        for position, action in enumerate(self._videos[window.video].actions):
            start, end = window.clock.cell(action.start), window.clock.cell(action.end)
            first, last = max(start, 0.0), min(end, length)
            if last <= first or (last - first) / (end - start) <= self._keep_inside:
                continue
            if last - first < self._min_share * length:
                continue
            out.append((position, self._number[action.label], first, last))
        return out

    def for_training(self, *, negatives: bool) -> tuple[list[Window], int, int]:
        """The sequences to train on, the number of those without an action, and of different annotations they show.

        Args:
            negatives: Keep sequences that no annotation touches; those that touch one which is not kept (too short,
                cut off, of an ignored label) would teach that it is background, and are left out always.
        """
        shown = [self.actions(index) for index in range(len(self))]
        empty = [negatives and not actions and self._is_empty(index) for index, actions in enumerate(shown)]
        kept = [one for one, own, no in zip(self._windows, shown, empty, strict=True) if own or no]
        seen = {(w.video, action[0]) for w, actions in zip(self._windows, shown, strict=True) for action in actions}
        return kept, sum(empty), len(seen)

    def _is_empty(self, index: int) -> bool:
        """Tell whether nothing at all is annotated in the time of a sequence."""
        window = self._windows[index]
        first = window.clock.seconds(0)
        last = window.clock.seconds(float(self._cells if self._resize else window.rows))
        video = self._videos[window.video]
        spans = [*((action.start, action.end) for action in video.actions), *video.unclear]
        return all(end <= first or start >= last for start, end in spans)

    def _part(self, window: Window) -> Floats32:
        rows = self._rows(window.video)
        if len(rows) < window.first + window.rows:
            raise DataError(f"features of video {self._videos[window.video].name!r} became shorter while training")
        part = rows[window.first : window.first + window.rows]
        return resize_rows(part, self._cells) if self._resize else part


def stacked(parts: Sequence[Floats32], times: Sequence[tuple[Clock, float]], cells: int) -> dict[str, Tensor]:
    """Batch entries of B sequences: ``features`` and ``valid``, padded behind to T, and the time of the cells.

    Args:
        parts: Rows (T or fewer, C) of each sequence.
        times: Clock of each sequence, and the seconds at which the next window of the regular grid begins.
        cells: Length T.
    """
    features = torch.zeros(len(parts), parts[0].shape[1], cells)
    valid = torch.zeros(len(parts), cells, dtype=torch.bool)
    for row, part in enumerate(parts):
        features[row, :, : len(part)] = torch.from_numpy(np.ascontiguousarray(part.T))
        valid[row, : len(part)] = True
    clocks = [clock for clock, _ in times]
    return {
        "features": features,
        "valid": valid,
        "origin": torch.tensor([clock.origin for clock in clocks], dtype=torch.float64),
        "cell_seconds": torch.tensor([clock.cell_seconds for clock in clocks], dtype=torch.float64),
        "duration": torch.tensor([clock.duration for clock in clocks], dtype=torch.float64),
        "horizon": torch.tensor([horizon for _, horizon in times], dtype=torch.float64),
    }
