"""Pictures of a recording: their size, their place on the screen, and their objects."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vision_suite.datasets.pictures.images import open_picture
from vision_suite.datasets.pictures.records import PICTURE_SUFFIXES
from vision_suite.datasets.scanpath.geometry import grid_boxes
from vision_suite.datasets.scanpath.importers.recording import Area, Place, View
from vision_suite.detectors.boxes import ObjectBoxes
from vision_suite.errors import ConfigError, DataError
from vision_suite.listing import folder_files

Origin = Literal["upper-left", "lower-left", "centre"]
Size = tuple[float, float]

ON_SCREEN = ("fill", "centre")


@dataclass(frozen=True)
class ShownPicture:
    """A picture as it was shown: its size in its own pixels, and how these lie on the screen.

    Attributes:
        size: Width and height of the picture's file.
        left: Left edge on the screen.
        top: Upper edge on the screen.
        scale: Pixels of the screen for a pixel of the picture, across and down.
    """

    size: Size
    left: float
    top: float
    scale: Size

    def xy(self, x: float, y: float) -> Size:
        """Pixels of the picture for pixels of the screen."""
        return (x - self.left) / self.scale[0], (y - self.top) / self.scale[1]


def find_pictures(folder: Path, counts: Counter[str]) -> dict[str, Path]:
    """Pictures below a folder by file name.

    Args:
        folder: The folder.
        counts: Counter of what is left out; files of the folder that are passed over are counted.

    Raises:
        DataError: The folder is missing, or two pictures have one name.
    """
    found: dict[str, Path] = {}
    listed = folder_files(folder, PICTURE_SUFFIXES)
    counts["files_of_images_passed_over"] += listed.number_passed_over
    for path in listed.files:
        if path.name in found:
            raise DataError(f"pictures {str(found[path.name])!r} and {str(path)!r} have one name: give one folder")
        found[path.name] = path
    return found


def file_of(pictures: Mapping[str, Path], name: str) -> Path | None:
    """File of a picture that a recording names, also without its ending; None if there is none.

    Raises:
        DataError: The name could be that of several pictures.
    """
    if name in pictures:
        return pictures[name]
    found = [path for known, path in pictures.items() if Path(known).stem == name]
    if len(found) > 1:
        raise DataError(f"{name!r} could be {str(found[0])!r} or {str(found[1])!r}: keep one of them")
    return found[0] if found else None


def read_place(text: str) -> str | Place:
    """The place of all pictures that a user gives: ``fill``, ``centre``, or left, top, width and height.

    Raises:
        ConfigError: It is something else.
    """
    if text in ON_SCREEN:
        return text
    try:
        left, top, width, height = (float(side) for side in text.split(","))
    except ValueError:
        left = top = width = height = math.nan
    if not (all(math.isfinite(side) for side in (left, top)) and width > 0 and height > 0):
        raise ConfigError(
            f"place={text!r}: give fill (the whole screen), centre (unscaled in the middle), or LEFT,TOP,WIDTH,HEIGHT "
            "in pixels of the screen"
        )
    return Place(left, top, width, height)


def show(view: View, picture: Path | None, place: str | Place | None, screen: Size | None) -> ShownPicture:
    """Size and place of the picture of a viewing.

    Args:
        view: The viewing.
        picture: File of the picture, None where it is not there.
        place: Place that the user gives, in place of the one that the recording tells.
        screen: Width and height of the screen.

    Raises:
        DataError: The size or the place cannot be known.
    """
    where = f"trial {view.trial!r} of subject {view.subject!r} on {view.picture!r}"
    own: Size | None = view.size
    if picture is not None:
        opened = open_picture(str(picture))
        own = (float(opened.width), float(opened.height))
    if isinstance(place, str):
        if screen is None:
            raise DataError(f"{where}: --place {place} needs the size of the screen: give --screen WIDTHxHEIGHT")
        full = Place(0.0, 0.0, *screen)
        rectangle = full if place == "fill" else Place(screen[0] / 2, screen[1] / 2, by_middle=True)
    elif place is not None:
        rectangle = place
    elif view.place is not None:
        rectangle = view.place
    else:
        raise DataError(
            f"{where}: the recording does not tell where the picture lay on the screen: give --place fill, centre, or "
            "LEFT,TOP,WIDTH,HEIGHT"
        )
    size = own
    if size is None:
        size = (rectangle.width, rectangle.height)
    if not all(side > 0 for side in size):  # NaN included
        raise DataError(f"{where}: the size of the picture is unknown: give the folder of the pictures, --images")
    width, height = (
        shown if math.isfinite(shown) else side
        for shown, side in zip((rectangle.width, rectangle.height), size, strict=True)
    )
    left, top = rectangle.left, rectangle.top
    if rectangle.by_middle:
        left, top = left - width / 2, top - height / 2
    return ShownPicture(size, left, top, (width / size[0], height / size[1]))


def objects_of(
    name: str,
    shown: ShownPicture,
    areas: Sequence[Area],
    boxes: Mapping[str, ObjectBoxes] | None,
    grid: tuple[int, int] | None,
    counts: Counter[str],
) -> list[tuple[float, float, float, float, str]]:
    """Boxes of a picture in its own pixels: those of a file, else cells of a grid, else the recording's areas.

    Args:
        name: Name of the picture.
        shown: The picture as it was shown.
        areas: Interest areas of the recording, in pixels of the screen.
        boxes: Boxes of a file by picture.
        grid: Rows and columns.
        counts: Counter of what is left out; areas that lie nowhere on the picture are counted.

    Raises:
        DataError: The file has no boxes of the picture.
    """
    if boxes is not None:
        if name not in boxes:
            raise DataError(f"picture {name!r} has no boxes in the file of --boxes: add them under its name")
        own = boxes[name].inside((round(shown.size[0]), round(shown.size[1])), name)
        return [(*map(float, box), label) for box, label in zip(own.corners, own.labels, strict=True)]  # type: ignore[misc]
    if grid is not None:
        cells = grid_boxes(*grid, cell=(shown.size[0] / grid[1], shown.size[1] / grid[0]))
        return [(*map(float, box), "") for box in cells]  # type: ignore[misc]
    found = [(*shown.xy(area.x1, area.y1), *shown.xy(area.x2, area.y2), area.label) for area in areas]
    width, height = shown.size
    inside = [area for area in found if area[2] > 0 and area[3] > 0 and area[0] < width and area[1] < height]
    counts["interest_areas_outside_the_picture"] += len(found) - len(inside)
    return inside
