"""Videos as a stream of windows, for prediction: rows are made on demand and dropped after use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vision_suite.datasets.tad.annotations import Video
from vision_suite.datasets.tad.features import resize_rows
from vision_suite.datasets.tad.sampling import FeatureInfo
from vision_suite.datasets.tad.sequences import stacked
from vision_suite.datasets.tad.windows import Clock, row_clock, whole_clock
from vision_suite.errors import DataError
from vision_suite.ops.windows import WindowCutter
from vision_suite.types.arrays import Floats32


@dataclass(frozen=True)
class StreamWindow:
    """A window ready for the network.

    Attributes:
        rows: (T or fewer, C).
        clock: Clock of the cells.
        horizon: Seconds at which the next window of the regular grid begins, infinity after the last.
    """

    rows: Floats32
    clock: Clock
    horizon: float


def windows_of(
    chunks: Iterable[Floats32], clock: Callable[[int], Clock], length: int, stride: int
) -> Iterator[StreamWindow]:
    """Cut rows that arrive in chunks of any size into windows.

    The windows are those of `vision_suite.datasets.tad.windows.window_starts` for the whole video.

    Args:
        chunks: Rows (n, C) in order.
        clock: Function from the number of rows known so far to the clock of the video's rows.
        length: Rows of a window.
        stride: Rows from one window to the next.
    """
    cutter = WindowCutter(length, stride)
    for chunk in chunks:
        for start, rows in cutter.feed(chunk):
            own = clock(cutter.count).after(start)
            yield StreamWindow(rows, own, own.after(stride).origin)
    start, rows = cutter.close()
    yield StreamWindow(rows, clock(cutter.count).after(start), float("inf"))


class StreamBatches:
    """Batches of windows, video after video; each batch is of one video.

    Args:
        videos: Videos to predict on.
        rows: Function from the index of a video to its rows in chunks.
        info: Times of the rows.
        cells: Length T.
        resize: Resize whole videos to T, which holds all rows of a video, instead of cutting windows.
        stride: Rows from one window to the next.
        batch_size: Largest number of windows at a time.
        rank: Number of this process, from 0; each takes whole videos.
        world_size: Number of processes.
        video_scores: Class scores (V, K) from outside.
        skip: Function called with the index and the error of a video that cannot be read; None stops the run.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        rows: Callable[[int], Iterable[Floats32]],
        info: FeatureInfo,
        *,
        cells: int,
        resize: bool,
        stride: int,
        batch_size: int,
        rank: int,
        world_size: int,
        video_scores: Tensor | None,
        skip: Callable[[int, DataError], None] | None,
    ) -> None:
        self.videos, self.rows, self.info = videos, rows, info
        self.cells, self.resize, self.stride, self.batch_size = cells, resize, stride, batch_size
        self.indices = range(rank, len(videos), world_size)
        self.video_scores, self.skip = video_scores, skip

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for index in self.indices:
            try:
                yield from self._video(index)
            except DataError as error:
                if self.skip is None:
                    raise
                self.skip(index, error)

    def _video(self, index: int) -> Iterator[dict[str, Tensor]]:
        held: list[StreamWindow] = []
        for sequence in self._sequences(index):
            held.append(sequence)
            if len(held) == self.batch_size or not np.isfinite(sequence.horizon):
                yield self._batch(index, held)
                held = []
        if held:
            yield self._batch(index, held)

    def _sequences(self, index: int) -> Iterator[StreamWindow]:
        video = self.videos[index]
        if self.resize:
            rows = np.concatenate(list(self.rows(index)))
            clock = whole_clock(video, len(rows), self.info, self.cells)
            return iter([StreamWindow(resize_rows(rows, self.cells), clock, float("inf"))])
        return windows_of(self.rows(index), lambda count: row_clock(video, count, self.info), self.cells, self.stride)

    def _batch(self, index: int, sequences: list[StreamWindow]) -> dict[str, Tensor]:
        video = torch.full((len(sequences),), index)
        batch = {
            **stacked([one.rows for one in sequences], [(one.clock, one.horizon) for one in sequences], self.cells),
            "video": video,
            "index": torch.arange(len(sequences)),
        }
        if self.video_scores is not None:
            batch["video_scores"] = self.video_scores[video]
        return batch
