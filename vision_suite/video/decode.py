"""Video files as frames at a fixed rate, by their time stamps, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from vision_suite.errors import DataError
from vision_suite.video.orientation import display_matrix, upright

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.container import InputContainer

Frame = npt.NDArray[np.uint8]
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


def timed_frames(path: Path, short_side: int | None = None) -> Iterator[tuple[float, Frame]]:
    """Every frame with its time in seconds after the first one: (H, W, 3) uint8 RGB, turned and mirrored as shown.

    A file that ends before the time it announces was cut off, which shows when all its frames were given. MPEG streams
    (.ts, .mpg) announce nothing: what was cut off those cannot be known.

    Args:
        path: The file.
        short_side: Scale frames so that their shorter side has this length.

    Raises:
        DataError: The file is missing, no video, damaged, cut off, or a frame has no time.
    """
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        first: float | None = None
        last = shown = 0.0  # and the longest that a frame was shown
        try:
            for frame in container.decode(stream):
                time = _time(frame)
                if time is None:
                    raise DataError(f"video {str(path)!r}: the frame after {last:.2f} s has no time stamp")
                first = time if first is None else first
                shown = max(shown, time - first - last, float((frame.duration or 0) * (frame.time_base or 0)))
                last = time - first
                yield last, _picture(frame, short_side)
        except DataError:
            raise
        except Exception as error:  # FFmpeg's errors have no common class but this; damaged bytes cause any of them
            raise DataError(
                f"video {str(path)!r} is damaged behind {last:.2f} s ({_words(error)}): copy it again"
            ) from None
        if first is None:
            raise DataError(f"video {str(path)!r} holds no frame: copy it again")
        announced = (_end(container, stream) or first) - first
        if last + shown < announced * (1 - MISSING) - shown:
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
    """Seconds from a video's first frame to the end that its container announces; NaN where it announces none.

    Raises:
        DataError: The file cannot be opened, or its first frame cannot be decoded.
    """
    with _opened(path) as (container, stream):
        first = _first(path, container, stream)
        end = _end(container, stream) or _container_end(container)
    return end - first if end is not None and end > first else float("nan")


def thumbnails(path: Path, count: int, height: int = 120) -> list[tuple[float, Image.Image]]:
    """Pictures in the middles of equal parts of a video, with their seconds after the first frame, found by seeking.

    A file that cannot be sought gives fewer, down to none.
    """
    found: list[tuple[float, Image.Image]] = []
    try:
        seconds = duration_of(path)
        if not np.isfinite(seconds):
            return found
        with _opened(path) as (container, stream):
            first, base = _first(path, container, stream), float(stream.time_base or 1)
            for number in range(count):
                wanted = (number + 0.5) * seconds / count
                with suppress(Exception):  # FFmpeg's errors have no common class but this; the others may be found
                    container.seek(int((first + wanted) / base), stream=stream)
                    for frame in container.decode(stream):
                        time = _time(frame)
                        time = wanted if time is None else time - first
                        if time + 0.5 / float(stream.average_rate or 25) >= wanted:
                            found.append((time, Image.fromarray(_picture(frame, height))))
                            break
    except DataError:
        return []
    return found


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """An open file and its video stream; cover pictures are none.

    Raises:
        DataError: The file is missing, empty or no video.
    """
    import av
    from av.stream import Disposition

    if not path.is_file():
        raise DataError(f"video {str(path)!r} does not exist")
    try:
        if not path.stat().st_size:
            raise DataError(f"video {str(path)!r} is empty (0 bytes): copy it again")
        container = av.open(str(path), metadata_errors="replace")
    except DataError:
        raise
    except Exception as error:  # as above
        raise DataError(f"video {str(path)!r} cannot be opened ({_words(error)}): is it a video?") from None
    with container:
        streams = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
        if not streams:
            kinds = ", ".join(sorted({one.type for one in container.streams})) or "nothing"
            raise DataError(f"{str(path)!r} holds no video stream (it holds {kinds}): give a video")
        yield container, streams[0]


def _words(error: Exception) -> str:
    """Class and text of an error, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def _time(frame: VideoFrame) -> float | None:
    """Time of a frame in the container's seconds."""
    return None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)


def _first(path: Path, container: InputContainer, stream: VideoStream) -> float:
    """Time of the first frame that can be decoded, in the container's seconds.

    Raises:
        DataError: There is none.
    """
    try:
        time = next((_time(frame) for frame in container.decode(stream)), None)
    except Exception as error:  # as above
        raise DataError(f"video {str(path)!r} is damaged ({_words(error)}): copy it again") from None
    if time is None:
        raise DataError(f"video {str(path)!r} holds no frame with a time: copy it again")
    return time


def _end(container: InputContainer, stream: VideoStream) -> float | None:
    """End of a video stream in the container's seconds, as the headers announce it; None where they don't.

    Most formats announce the length from the stream's start. Matroska and ASF as FFmpeg writes them announce the time
    of the end, which differs where the first time stamp isn't 0; mkvmerge's tag is a length again.
    """
    base = stream.time_base
    start = float(stream.start_time * base) if stream.start_time is not None and base is not None else 0.0
    if container.format.name == "avi" and stream.frames and stream.average_rate:
        return float(stream.frames / stream.average_rate)  # FFmpeg shortens the duration of a cut file, but not this
    if stream.duration is not None and base is not None:
        seconds = float(stream.duration * base)
        return seconds if container.format.name == "asf" else start + seconds
    # Matroska has a stream's own in a tag; the container's is that of its longest stream, which may be sound.
    hours, _, rest = str(stream.metadata.get("DURATION", "")).partition(":")
    minutes, _, tail = rest.partition(":")
    try:
        seconds = int(hours) * 3600 + int(minutes) * 60 + float(tail)
    except ValueError:
        return _container_end(container) if len(container.streams) == 1 else None
    is_length = stream.metadata.get("_STATISTICS_WRITING_APP", "").startswith("mkvmerge")
    return start + seconds if is_length else seconds


def _container_end(container: InputContainer) -> float | None:
    """End of a container's longest stream in its own seconds, None where the headers don't announce it."""
    import av

    if not container.duration:
        return None
    absolute = container.format.name in ("matroska,webm", "asf")
    return (container.duration + (0 if absolute else container.start_time or 0)) / av.time_base


def _picture(frame: VideoFrame, short_side: int | None) -> Frame:
    """A decoded frame as RGB, scaled, and turned and mirrored as its container says."""
    width, height = frame.width, frame.height
    if frame.is_corrupt:  # FFmpeg fills up what it could not decode
        raise ValueError("a frame cannot be decoded whole")
    if short_side is not None:
        scale = short_side / min(width, height)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
    pixels: Frame = np.asarray(frame.to_ndarray(format="rgb24", width=width, height=height), dtype=np.uint8)
    return upright(pixels, display_matrix(frame))
