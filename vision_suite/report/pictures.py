"""Pictures of evaluations, as they are, within a bound for the whole page."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from vision_suite.report.runs import ReportedRun
from vision_suite.report.words import shortened

ROOM = 4 * 2**20  # bytes of all pictures, before they are written as text
LARGEST_PIXELS = 40_000_000
SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class ReportPicture:
    """A picture on the page.

    Attributes:
        run: Number of its run.
        caption: Folder and name of the file.
        source: The picture as a ``data:`` address; empty if it is not shown.
        reason: Why it is not shown.
        size: Width and height in pixels.
    """

    run: int
    caption: str
    source: str
    reason: str = ""
    size: tuple[int, int] = (0, 0)


def shown_pictures(runs: Sequence[ReportedRun], room: int = ROOM) -> list[ReportPicture]:
    """Pictures of all runs; the first of each run come before the second of any, as long as there is room.

    Args:
        runs: Runs of the page.
        room: Bytes that all pictures may take.
    """
    files = [
        (place, run.number, folder.folder, path)
        for run in runs
        for place, (folder, path) in enumerate((folder, path) for folder in run.folders for path in folder.pictures)
    ]
    found = {}
    for place, number, folder, path in sorted(files, key=lambda file: file[:2]):
        picture, used = _shown(number, folder, path, room)
        room -= used
        found[number, place] = picture
    return [found[key] for key in sorted(found)]


def _shown(number: int, folder: Path, path: Path, room: int) -> tuple[ReportPicture, int]:
    """A picture, or why it is not shown, and its bytes."""
    caption = shortened(f"{folder.name}/{path.relative_to(folder).as_posix()}")
    try:
        if not path.is_file() or not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
            raise ValueError("no regular file of the run's folder")
        size = path.stat().st_size
        if size > room:
            return ReportPicture(number, caption, "", f"left out to keep the page small ({size / 2**20:.1f} MB)"), 0
        raw = path.read_bytes()
        if not raw.startswith(SIGNATURE):
            raise ValueError("no PNG")
        with Image.open(BytesIO(raw), formats=["PNG"]) as image:
            width, height = image.size
            if width * height > LARGEST_PIXELS:
                raise ValueError(f"{width} x {height} pixels are too many")
            image.verify()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # SyntaxError: a broken chunk
        return ReportPicture(number, caption, "", f"damaged: {shortened(error)}"), 0
    source = f"data:image/png;base64,{base64.b64encode(raw).decode('ascii')}"
    return ReportPicture(number, caption, source, size=(width, height)), len(raw)
