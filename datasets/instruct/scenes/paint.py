"""Pictures of Emoji-Scenes: drawings pasted on a plain background, and their boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from vision_suite.datasets.emoji.draw import drawings, rasterise
from vision_suite.datasets.instruct.scenes.layout import Placed, Scene

Box = tuple[int, int, int, int]  # x, y, width, height in pixels
FAINTEST = 16  # opacity of 255 from which a pixel belongs to a thing


class Painted(NamedTuple):
    """A painted scene.

    Attributes:
        boxes: Box of the visible pixels of each thing.
        areas: Number of its visible pixels.
    """

    boxes: tuple[Box, ...]
    areas: tuple[int, ...]


def paint_all(
    scenes: Sequence[Scene],
    folder: Path,
    icons: Mapping[str, Any],
    progress: Callable[[int, int], None],
) -> list[Painted]:
    """Write the pictures of scenes.

    Args:
        scenes: Scenes.
        folder: Folder of the set.
        icons: The table ``icons.json`` of each design, by its key.
        progress: Listener, called with (done, total) now and then.

    Raises:
        DataError: A drawing cannot be rendered.
    """
    for parent in {(folder / scene.file).parent for scene in scenes}:
        parent.mkdir(parents=True, exist_ok=True)
    painted = []
    for done, scene in enumerate(scenes):
        picture, outcome = paint(scene.size, scene.background, scene.placed, partial(_drawing, icons, scene.design))
        picture.save(folder / scene.file)
        painted.append(outcome)
        if done % 50 == 0:
            progress(done, len(scenes))
    progress(len(scenes), len(scenes))
    return painted


def paint(
    size: int,
    background: tuple[int, int, int],
    placed: Sequence[Placed],
    draw: Callable[[str, int], Image.Image],
) -> tuple[Image.Image, Painted]:
    """A picture and the boxes of its things.

    Args:
        size: Side in pixels.
        background: Colour.
        placed: Things.
        draw: Function that returns a thing's RGBA drawing by its name and side.
    """
    picture = Image.new("RGB", (size, size), background)
    boxes: list[Box] = []
    areas = []
    for each in placed:
        drawn = draw(each.thing.name, each.side)
        picture.paste(drawn, (each.x, each.y), drawn)
        visible = np.asarray(drawn)[:, :, 3] >= FAINTEST
        rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
        left, top = (int(columns[0]), int(rows[0])) if rows.size else (0, 0)
        width = int(columns[-1]) - left + 1 if rows.size else each.side
        height = int(rows[-1]) - top + 1 if rows.size else each.side
        boxes.append((each.x + left, each.y + top, width, height))
        areas.append(int(visible.sum()))
    return picture, Painted(tuple(boxes), tuple(areas))


def _drawing(icons: Mapping[str, Any], design: str, name: str, side: int) -> Image.Image:
    return rasterise(drawings(design, icons[design], [name])[0], side, transparent=True)
