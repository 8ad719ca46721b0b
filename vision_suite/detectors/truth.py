"""The ground truth in the place of a detector: names and boxes that a file gives for each picture."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from vision_suite.detectors.boxes import ObjectBoxes
from vision_suite.detectors.instances import Box, read_instances
from vision_suite.detectors.protocol import ABSTAIN, Scores, check_requests, picture_key, plain_name
from vision_suite.errors import DataError


@dataclass(frozen=True)
class Shown:
    """Objects of a picture.

    Attributes:
        names: Name of each object.
        boxes: x, y, width, height of each in pixels; empty where no boxes are known.
    """

    names: tuple[str, ...]
    boxes: tuple[Box, ...] = ()


def open_rgb(path: Path) -> Image.Image:
    """An upright RGB picture of a file.

    Raises:
        DataError: It cannot be read.
    """
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"picture {str(path)!r} cannot be read ({' '.join(str(error).split())[:120]})") from None


class TruthDetector:
    """An `OpenVocabDetector` that is always right: 1 for a name that is in the picture, 0 for another one.

    Pictures are recognised by their pixels, so they must be read in the same way as those that are asked about. Two
    entries for equal pictures count together.

    Args:
        pictures: Pictures with their objects.
        vocabulary: Names that the truth knows of; others are not judged. None: every name, absent if not in the
            picture.
        name: Name in tables and stored scores.

    Attributes:
        name: As given.
        vocabulary: As given.
    """

    def __init__(
        self,
        pictures: Iterable[tuple[Image.Image, Shown]],
        vocabulary: Collection[str] | None = None,
        name: str = "truth",
    ) -> None:
        self.name = name
        self.vocabulary: frozenset[str] | None = None if vocabulary is None else frozenset(vocabulary)
        self._known = None if vocabulary is None else {plain_name(each) for each in vocabulary}
        self._shown: dict[str, list[Shown]] = {}
        for image, shown in pictures:
            self._shown.setdefault(picture_key(image), []).append(shown)

    @classmethod
    def from_instances(
        cls,
        path: str | Path,
        image_root: str | Path | None = None,
        read: Callable[[Path], Image.Image] = open_rgb,
        name: str = "truth",
    ) -> TruthDetector:
        """Take names and boxes from a COCO instances file, whose categories are the vocabulary.

        Args:
            path: The JSON file.
            image_root: Folder of its file names; by default its own.
            read: Function that reads a picture.
            name: Name in tables and stored scores.

        Raises:
            DataError: The file or a picture cannot be read.
        """
        table = read_instances(Path(path).expanduser(), None if image_root is None else Path(image_root).expanduser())
        pictures = (
            (
                read(each.path),
                Shown(tuple(table.names[one.name] for one in each.objects), tuple(one.box for one in each.objects)),
            )
            for each in table.pictures
        )
        return cls(pictures, table.names, name)

    @classmethod
    def from_names(
        cls,
        names: Mapping[Path, Collection[str]],
        vocabulary: Collection[str] | None = None,
        read: Callable[[Path], Image.Image] = open_rgb,
    ) -> TruthDetector:
        """Take the names of the objects in each file.

        Args:
            names: Names by file.
            vocabulary: As of the class.
            read: Function that reads a picture.

        Raises:
            DataError: A picture cannot be read.
        """
        return cls(((read(path), Shown(tuple(own))) for path, own in names.items()), vocabulary)

    def score(self, images: Sequence[Image.Image], queries: Sequence[Sequence[str]]) -> Scores:
        """1 for each name that the picture shows, 0 for others, `ABSTAIN` outside the vocabulary.

        Args:
            images: B RGB pictures.
            queries: Names asked about each of them.

        Raises:
            DataError: The numbers differ, or there is no truth about a picture.
        """
        check_requests(images, queries)
        scores: Scores = []
        for image, names in zip(images, queries, strict=True):
            shown = {plain_name(name) for each in self._truth(image) for name in each.names}
            scores.append({name: self._judge(plain_name(name), shown) for name in names})
        return scores

    def detect(
        self, images: Sequence[Image.Image], queries: Sequence[Sequence[str]], min_score: float = 0.0
    ) -> list[ObjectBoxes]:
        """Boxes of each picture's names, all with score 1, in the order of the file.

        Args:
            images: B RGB pictures.
            queries: Names looked for in each of them.
            min_score: Score that a box must exceed; any below 1 is the same here.

        Raises:
            DataError: The numbers differ, or there is no truth, or no box, about a picture.
        """
        check_requests(images, queries)
        return [self._boxes(image, names, min_score) for image, names in zip(images, queries, strict=True)]

    def _boxes(self, image: Image.Image, names: Sequence[str], min_score: float) -> ObjectBoxes:
        wanted = {plain_name(name) for name in names}
        found: dict[tuple[str, Box], None] = {}
        for each in self._truth(image):
            if len(each.boxes) != len(each.names):
                raise DataError(f"{self.name}: no boxes are known of the picture, only names: give an instances file")
            pairs = zip(each.names, each.boxes, strict=True)
            found |= {(name, box): None for name, box in pairs if plain_name(name) in wanted and min_score < 1}
        corners = np.array([[x, y, x + w, y + h] for _, (x, y, w, h) in found], np.float32).reshape(-1, 4)
        return ObjectBoxes(corners, tuple(name for name, _ in found), np.ones(len(found), np.float32))

    def _truth(self, image: Image.Image) -> list[Shown]:
        shown = self._shown.get(picture_key(image))
        if shown is None:
            raise DataError(
                f"{self.name}: there is no truth about a picture of {image.width} x {image.height} pixels: give the "
                "file that lists it, and read pictures in one way"
            )
        return shown

    def _judge(self, name: str, shown: set[str]) -> float:
        if self._known is not None and name not in self._known:
            return ABSTAIN
        return float(name in shown)
