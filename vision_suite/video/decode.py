"""Video files as frames at a fixed rate, by their time stamps, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from vision_suite.errors import DataError

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.container import InputContainer

Frame = npt.NDArray[np.uint8]
SUFFIXES = (".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts")
# Rounding of time stamps: a frame this little behind its target still counts as there.
SLACK = 1e-6
# A file may lack this share of what it announces (rounded or estimated headers); what lacks more was cut off.
MISSING = 0.02


@dataclass(frozen=True)
class Clip:
    """Frames that go through a network together.

    Attributes:
        index: Number of the clip, from 0.
        frames: (n, H, W, 3) uint8.
        partial: True if the video ended in it; the last frame then fills it up.
    """

    index: int
    frames: Frame
    partial: bool


def list_videos(inputs: str) -> list[Path]:
    """The video files that a path names: a file, or a folder searched to the bottom.

    Raises:
        DataError: There is none.
    """
    path = Path(inputs).expanduser()
    if path.is_file():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in SUFFIXES)
    if not found:
        raise DataError(f"no video found at {inputs!r}: give a file, or a folder with {', '.join(SUFFIXES)}")
    return found


def timed_frames(path: Path, short_side: int | None = None) -> Iterator[tuple[float, Frame]]:
    """Every frame with its time in seconds after the first one: (H, W, 3) uint8 RGB, turned upright.

    A file that ends before the time it announces was cut off, which shows when all its frames were given. MPEG streams
    (.ts, .mpg) announce nothing: what was cut off those cannot be known.

    Args:
        path: The file.
        short_side: Scale frames so that their shorter side has this length.

    Raises:
        DataError: The file is missing, no video, damaged, cut off, or a frame has no time.
    """
    import av

    if not path.is_file():
        raise DataError(f"video {str(path)!r} does not exist")
    try:
        container = av.open(str(path))
    except (OSError, ValueError) as error:  # FFmpeg's errors are both
        raise DataError(f"video {str(path)!r} cannot be opened ({error}): is it a video?") from None
    with container:
        if not container.streams.video:
            raise DataError(f"{str(path)!r} holds no video stream")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        first: float | None = None
        last = shown = 0.0  # and the longest that a frame was shown
        try:
            for frame in container.decode(stream):
                if frame.pts is None or frame.time_base is None:
                    raise DataError(f"video {str(path)!r}: the frame after {last:.2f} s has no time stamp")
                time = float(frame.pts * frame.time_base)
                first = time if first is None else first
                shown = max(shown, time - first - last, float((frame.duration or 0) * frame.time_base))
                last = time - first
                yield last, _picture(frame, short_side)
        except (OSError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"video {str(path)!r} is damaged behind {last:.2f} s ({error}): copy it again") from None
        if first is None:
            raise DataError(f"video {str(path)!r} holds no frame")
        announced = _announced(container, stream)
        if max(last, last + first) + shown < announced * (1 - MISSING) - shown:
            raise DataError(
                f"video {str(path)!r} was cut off: it announces {announced:.2f} s and ends at {last:.2f} s; copy it "
                "again, or give it true headers, such as with `ffmpeg -i`"
            )


def frames_at(path: Path, fps: float, short_side: int | None = None) -> Iterator[Frame]:
    """Frames at k / fps seconds: each the last one shown by then, whatever the file's own rate, constant or not."""
    number, shown = 0, None
    for time, frame in timed_frames(path, short_side):
        while shown is not None and number / fps < time - SLACK:
            yield shown
            number += 1
        shown, last = frame, time
    while shown is not None and number / fps <= last + SLACK:
        yield shown
        number += 1


def clips(path: Path, fps: float, length: int, stride: int, short_side: int | None = None) -> Iterator[Clip]:
    """Runs of ``length`` frames, a new one every ``stride``; the end of the video fills up the last one.

    Frame k of the video is at k / fps. Holds ``length`` frames at a time.
    """
    held: deque[Frame] = deque(maxlen=length)
    index = count = 0
    for frame in frames_at(path, fps, short_side):
        held.append(frame)
        count += 1
        if count == index * stride + length:
            yield Clip(index, np.stack(held), False)
            index += 1
    # Whatever no clip has begun with or reached yet.
    seen = (index - 1) * stride + length if index else 0
    if count > seen and count > index * stride:
        rest = list(held)[-(count - index * stride) :]
        yield Clip(index, np.stack(rest + [rest[-1]] * (length - len(rest))), True)


def duration_of(path: Path) -> float:
    """Seconds of a video as its container says; NaN where it doesn't.

    Raises:
        DataError: The file cannot be opened.
    """
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0] if container.streams.video else None
            announced = 0.0 if stream is None else _announced(container, stream)
            return announced or (float(container.duration) / av.time_base if container.duration else float("nan"))
    except (OSError, ValueError) as error:
        raise DataError(f"video {str(path)!r} cannot be opened ({error}): is it a video?") from None


def thumbnails(path: Path, count: int, height: int = 120) -> list[tuple[float, Image.Image]]:
    """Pictures in the middles of equal parts of a video, with their seconds, found by seeking.

    A file that cannot be sought gives fewer, down to none.
    """
    import av

    seconds = duration_of(path)
    found: list[tuple[float, Image.Image]] = []
    if not np.isfinite(seconds):
        return found
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        base = stream.time_base
        if base is None:
            return found
        offset = stream.start_time or 0
        for number in range(count):
            wanted = (number + 0.5) * seconds / count
            try:
                container.seek(offset + int(wanted / float(base)), stream=stream)
                for frame in container.decode(stream):
                    time = float((frame.pts - offset) * base) if frame.pts is not None else wanted
                    if time + 0.5 / float(stream.average_rate or 25) >= wanted:
                        found.append((time, Image.fromarray(_picture(frame, height))))
                        break
            except (OSError, ValueError):
                continue
    return found


def _announced(container: InputContainer, stream: VideoStream) -> float:
    """Seconds that the headers announce for a video stream, 0 where they don't."""
    import av

    if container.format.name == "avi" and stream.frames and stream.average_rate:
        return float(stream.frames / stream.average_rate)  # FFmpeg shortens the duration of a cut file, but not this
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # Matroska has a stream's own in a tag; the container's is that of its longest stream, which may be sound.
    hours, _, rest = str(stream.metadata.get("DURATION", "")).partition(":")
    minutes, _, seconds = rest.partition(":")
    try:
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        alone = len(container.streams) == 1
        return float(container.duration or 0) / av.time_base if alone else 0.0


def _picture(frame: VideoFrame, short_side: int | None) -> Frame:
    """A decoded frame as RGB, scaled and turned as its container says."""
    width, height = frame.width, frame.height
    if frame.is_corrupt:  # FFmpeg fills up what it could not decode
        raise ValueError("a frame cannot be decoded whole")
    if short_side is not None:
        scale = short_side / min(width, height)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
    pixels: Frame = np.asarray(frame.to_ndarray(format="rgb24", width=width, height=height), dtype=np.uint8)
    turns = round(float(getattr(frame, "rotation", 0) or 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels
