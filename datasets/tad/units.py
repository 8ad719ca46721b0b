"""Segments whose unit does not seem to be that of the durations: milliseconds, frames, shares of the video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vision_suite.datasets.tad.entries import Span
from vision_suite.errors import DataError

OUTSIDE = 0.5  # share of annotations behind their videos' ends that is no slip any more
OVERSHOOT = 0.01  # share of a video, and at least a second
BEGINNING = 0.05  # share of a video
FEWEST = 5  # annotations from which their places say something
UNITS = "segments and durations must both be in seconds, not in milliseconds, frames or shares of the video"


def unit_warnings(path: Path, spans: Sequence[Span]) -> list[str]:
    """Lines about segments that do not fit their videos, with counts.

    Args:
        path: The annotation file.
        spans: Segments as it gives them.

    Raises:
        DataError: More than half of the annotations begin behind the end of their video.
    """
    outside = [span for span in spans if span.start >= span.duration or span.end <= 0]
    behind = [span for span in spans if span.start >= span.duration]
    if len(behind) > OUTSIDE * len(spans):
        raise DataError(
            f"{path}: {len(behind)} of {len(spans)} annotations begin behind the end of their video "
            f"({_first(behind)}): {UNITS}"
        )
    over = [span for span in spans if span.start < span.duration < span.end - max(OVERSHOOT * span.duration, 1)]
    lines = []
    if outside or over:
        lines.append(
            f"{path.name}: of {len(spans)} annotations {len(over)} end more than a second behind their video's end and "
            f"were clipped, {len(outside)} lie outside their video and were left out ({_first([*outside, *over])}): "
            f"{UNITS}"
        )
    if len(spans) >= FEWEST and max(span.duration for span in spans) > 1 / BEGINNING:
        farthest, latest = max(span.end / span.duration for span in spans), max(span.end for span in spans)
        if latest <= 1 or farthest <= BEGINNING:
            lines.append(
                f"{path.name}: all {len(spans)} annotations end within the first {latest:.4g} s and the first "
                f"{100 * farthest:.2g} % of their videos ({_first(spans)}): {UNITS}"
            )
    return lines


def _first(spans: Sequence[Span]) -> str:
    span = spans[0]
    return f"first: {span.video!r}, [{span.start:.6g}, {span.end:.6g}] of {span.duration:.6g} s"
