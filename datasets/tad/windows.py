"""From a video's rows of features to sequences of T cells, and back from cells to seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vision_suite.datasets.tad.annotations import Video
from vision_suite.datasets.tad.sampling import FeatureInfo
from vision_suite.errors import ConfigError, DataError

WRONG_SHARE = 0.1  # of a video; rows that end further from the video's end have another clock


@dataclass(frozen=True)
class Clock:
    """Times of the cells of a sequence: cell c is at ``origin + c * cell_seconds`` seconds of its video.

    Attributes:
        origin: Time of cell 0 in seconds.
        cell_seconds: Length of a cell in seconds.
        duration: Length of the video in seconds, to which results are clipped.
    """

    origin: float
    cell_seconds: float
    duration: float

    def seconds(self, cell: float) -> float:
        """Time of a cell, inside the video."""
        return min(max(self.origin + cell * self.cell_seconds, 0.0), self.duration)

    def cell(self, seconds: float) -> float:
        """Cell of a time."""
        return (seconds - self.origin) / self.cell_seconds

    def after(self, cells: int) -> Clock:
        """The clock of a window that begins ``cells`` later."""
        return Clock(self.origin + cells * self.cell_seconds, self.cell_seconds, self.duration)

    def stretched(self, rows: int, cells: int) -> Clock:
        """The clock after resizing ``rows`` to ``cells``."""
        return Clock(self.origin, self.cell_seconds * rows / cells, self.duration)


@dataclass(frozen=True)
class Window:
    """A sequence: rows ``first`` to ``first + rows`` of a video, given to the network as T cells.

    Attributes:
        video: Index in the list of videos.
        first: First row.
        rows: Number of rows.
        clock: Clock of the cells.
        horizon: Seconds at which the next window of the regular grid begins, infinity after the last.
    """

    video: int
    first: int
    rows: int
    clock: Clock
    horizon: float = math.inf


def row_clock(video: Video, rows: int, info: FeatureInfo) -> Clock:
    """The clock of a video's rows.

    Labels and results follow the same rule: the frames that rows cover, never beyond the video's end.

    Raises:
        DataError: Neither the annotation nor the metadata give the time.
    """
    if info.resized:
        if not video.duration > 0:
            raise DataError(f"video {video.name!r} has no duration, which resized features need")
        return Clock(0.0, video.duration / rows, video.duration)
    fps = info.fps
    if fps is None:
        if not (video.frames > 0 and video.duration > 0):
            raise DataError(
                f"video {video.name!r}: its own frame rate is needed (fps is unset), so the annotations must give its "
                "duration and number of frames"
            )
        fps = video.frames / video.duration
    covered = (info.offset + rows * info.stride) / fps
    duration = video.duration if video.duration > 0 else covered
    return Clock(info.offset / fps, info.stride / fps, duration)


def whole_clock(video: Video, rows: int, info: FeatureInfo, cells: int) -> Clock:
    """The clock of a video resized to ``cells``, which share the time that the rows cover, up to its duration."""
    clock = row_clock(video, rows, info)
    end = min(clock.origin + rows * clock.cell_seconds, clock.duration)
    return Clock(clock.origin, (end - clock.origin) / cells, clock.duration)


def compare_lengths(videos: Sequence[Video], counts: Sequence[int], info: FeatureInfo) -> dict[str, float]:
    """Seconds by which the rows of videos end behind (negative: before) their ends, where that is more than a clip.

    Raises:
        DataError: A difference is also more than a tenth of its video.
    """
    if info.resized:
        return {}
    found: dict[str, float] = {}
    wrong: list[str] = []
    for video, rows in zip(videos, counts, strict=True):
        clock = row_clock(video, rows, info)
        covered = clock.origin + rows * clock.cell_seconds
        lead = covered - clock.duration
        if abs(lead) <= max(info.clip / info.stride, 1) * clock.cell_seconds + 1e-6:
            continue
        found[video.name] = lead
        if abs(lead) > WRONG_SHARE * clock.duration:
            wrong.append(f"{video.name!r} ({rows} rows cover {covered:.4g} s of {clock.duration:.4g} s)")
    if wrong:
        raise DataError(
            f"features of {len(wrong)} of {len(videos)} videos don't fit the duration, the first {wrong[0]}: extract "
            "them again, correct fps and stride (features.json or --data.sampling), or list them in --data.blocked"
        )
    return found


def sequences_of(
    videos: Sequence[Video], counts: Sequence[int], info: FeatureInfo, cells: int, stride: int | None
) -> list[Window]:
    """The sequences of T cells of some videos, video after video.

    Args:
        videos: The videos.
        counts: Number of rows of each video.
        info: Times of the rows.
        cells: Length T.
        stride: Rows from one window to the next; None resizes whole videos.
    """
    out = []
    for index, (video, count) in enumerate(zip(videos, counts, strict=True)):
        if stride is None:
            out.append(Window(index, 0, count, whole_clock(video, count, info, cells)))
            continue
        clock = row_clock(video, count, info)
        for first in window_starts(count, cells, stride):
            rest, own = count - first, clock.after(first)
            horizon = own.after(stride).origin if rest > cells else math.inf
            out.append(Window(index, first, min(cells, rest), own, horizon))
    return out


def window_starts(rows: int, length: int, stride: int) -> list[int]:
    """First rows of windows that together see every row, none of them twice the same.

    0, stride, 2 * stride ... while the window fits, and one that ends with the last row if rows are left.

    Raises:
        ConfigError: The stride is not from 1 to the window's length.
    """
    if not 1 <= stride <= length:
        raise ConfigError(f"a window of {length} rows cannot move by {stride}: the overlap must be from 0 to below 1")
    if rows <= length:
        return [0]
    starts = list(range(0, rows - length + 1, stride))
    if starts[-1] + length < rows:
        starts.append(rows - length)
    return starts


def stride_of(length: int, overlap: float) -> int:
    """Rows from one window to the next for an overlap given as a share of the window."""
    if not 0 <= overlap < 1:
        raise ConfigError(f"window overlap {overlap} must be from 0 to below 1")
    return max(1, math.floor(length * (1 - overlap) + 1e-9))
