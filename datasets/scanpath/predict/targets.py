"""Choice of the target in a picture given to predict: by the word of its label, its box, or a picture of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from vision_suite.datasets.scanpath.predict.settings import PictureSettings
from vision_suite.datasets.scanpath.scenes import cut
from vision_suite.detectors.boxes import ObjectBoxes
from vision_suite.errors import DataError
from vision_suite.types import Condition
from vision_suite.types.arrays import Floats

SIDE = 32  # pixels of crops that are compared with the target's picture


class Target(NamedTuple):
    """The target of a search in a picture.

    Attributes:
        condition: Present or absent target, or free viewing.
        objects: Objects that count as found, the best one first.
        chosen: Way of the choice in plain values.
    """

    condition: Condition
    objects: tuple[int, ...]
    chosen: dict[str, object]


def choose_target(
    settings: PictureSettings, name: str, picture: Image.Image, boxes: ObjectBoxes, wanted: Image.Image | None
) -> Target:
    """Choose the target among the boxes of a picture.

    Args:
        settings: Settings that name the target.
        name: Name of the picture, for messages.
        picture: RGB picture.
        boxes: Objects of the picture.
        wanted: Picture of the target, None where it is named otherwise.

    Raises:
        DataError: No box has the label or the number.
    """
    if settings.target is not None:
        found = boxes.labelled(settings.target)
        if not found and not settings.text_encoder:
            known = ", ".join(sorted({label for label in boxes.labels if label})) or "none"
            raise DataError(f"no box of {name!r} is labelled {settings.target!r}: its labels are {known}")
        # A word that a network reads may also be searched for in vain.
        condition = Condition.PRESENT if found else Condition.ABSENT
        return Target(condition, found, {"by": "word", "word": settings.target})
    if settings.target_box is not None:
        if not 0 <= settings.target_box < len(boxes.corners):
            raise DataError(f"target_box={settings.target_box}: {name!r} has boxes 0 to {len(boxes.corners) - 1}")
        return Target(Condition.PRESENT, (settings.target_box,), {"by": "box"})
    if wanted is not None:
        number, likeness = most_alike(picture, boxes, wanted)
        chosen: dict[str, object] = {"by": "crop", "crop": settings.target_crop, "correlation": round(likeness, 4)}
        return Target(Condition.PRESENT, (number,), chosen)
    return Target(Condition.FREE, (), {"by": "none"})


def most_alike(picture: Image.Image, boxes: ObjectBoxes, wanted: Image.Image) -> tuple[int, float]:
    """The box whose crop is most like a picture, and the correlation of the two.

    Both are resized to 32 x 32 pixels and compared by Pearson's correlation of all RGB values; a crop of one colour
    has none, which counts as 0.
    """
    own = _standardised(wanted)
    likeness = [float(_standardised(cut(picture, box)) @ own) for box in boxes.corners.astype(np.float64)]
    best = int(np.argmax(likeness))
    return best, likeness[best]


def _standardised(picture: Image.Image) -> Floats:
    small = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=np.float64).reshape(-1)
    centred = small - small.mean()
    length = float(np.linalg.norm(centred))
    return np.asarray(centred / length) if length > 0 else centred
