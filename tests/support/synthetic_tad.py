"""Generated videos and feature sets with known actions, for tests only."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from vision_suite.datasets.tad.annotations import Action, Video, write_annotations
from vision_suite.datasets.tad.sampling import FeatureInfo, write_info

LABELS = ("circle", "square")
SIDE = 48
COLOURS = {"circle": (230, 60, 40), "square": (40, 90, 230)}


def write_feature_set(
    root: Path, videos: int = 6, rows: int = 60, channels: int = 8, seed: int = 0, features: str = "features"
) -> Path:
    """A data set whose rows tell exactly what happens: one channel rises in each class; a row lasts half a second."""
    rng = np.random.default_rng(seed)
    folder = root / features
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(videos):
        actions = []
        values = 0.1 * rng.standard_normal((rows, channels)).astype(np.float32)
        for start in (rows // 10, rows // 2):
            length = int(rng.integers(rows // 6, rows // 3))
            kind = int(rng.integers(len(LABELS)))
            values[start : start + length, kind] += 1.0
            actions.append(Action(LABELS[kind], start * 0.5, (start + length) * 0.5))
        subset = ("training", "training", "validation", "testing")[number % 4]
        made.append(Video(f"clip{number:02d}", subset, rows * 0.5, rows, tuple(actions)))
        np.save(folder / f"clip{number:02d}.npy", values, allow_pickle=False)
    write_annotations(root / "annotations.json", made)
    write_info(folder, FeatureInfo(fps=2, stride=1, clip=1, offset=0, channels=channels))
    return root


def write_video(
    path: Path, actions: list[Action], seconds: float, fps: int = 10, uneven: bool = False, damaged: bool = False
) -> Path:
    """A video file: grey noise, in which a coloured shape stands while an action lasts.

    Args:
        path: Where, with an ending that names the container.
        actions: What happens.
        seconds: Length.
        fps: Frames a second.
        uneven: Leave out every third frame, with the others' time stamps as they were.
        damaged: Cut the file off in the middle.
    """
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, fps)
        for number in range(round(seconds * fps)):
            if uneven and number % 3 == 2:
                continue
            now = number / fps
            pixels = rng.integers(90, 130, (SIDE, SIDE, 3)).astype(np.uint8)
            for action in actions:
                if action.start <= now < action.end:
                    pixels[12:36, 12:36] = COLOURS[action.label]
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if damaged:
        contents = path.read_bytes()
        path.write_bytes(contents[: len(contents) // 2])
    return path


def write_video_set(root: Path, videos: int = 6, seconds: float = 24.0, seed: int = 0) -> Path:
    """Videos in ``videos/`` and their annotations, two actions each."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(videos):
        actions = []
        for start in (2.0, seconds / 2 + 1):
            length = float(rng.integers(4, 8))
            actions.append(Action(LABELS[int(rng.integers(2))], start, start + length))
        subset = ("training", "training", "validation", "testing")[number % 4]
        write_video(root / "videos" / f"clip{number:02d}.mp4", actions, seconds)
        made.append(Video(f"clip{number:02d}", subset, seconds, 0, tuple(actions)))
    write_annotations(root / "annotations.json", made)
    return root
