"""Detectors that are asked by name: the protocol, and what all of them share."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Protocol

from PIL import Image

from vision_suite.detectors.boxes import ObjectBoxes
from vision_suite.errors import DataError

ABSTAIN = math.nan
"""Score of a name that a detector cannot judge: outside its vocabulary, or too long for its text encoder."""

Scores = list[dict[str, float]]
Ask = Callable[[Sequence[Image.Image], Sequence[Sequence[str]]], Scores]


class OpenVocabDetector(Protocol):
    """A detector that scores the presence of named objects in pictures.

    Scores are those of the best box, and mean something within one detector only. Thresholds are not its business:
    scores are kept, and decided on later.

    Attributes:
        name: Name of the detector in tables and stored scores.
        vocabulary: Names that it knows; None for any name.
    """

    name: str
    vocabulary: frozenset[str] | None

    def score(self, images: Sequence[Image.Image], queries: Sequence[Sequence[str]]) -> Scores:
        """Scores from 0 to 1 of each picture's names; `ABSTAIN` (nan) where the detector cannot judge.

        Args:
            images: B RGB pictures.
            queries: Names asked about each picture.
        """
        ...


class BoxDetector(OpenVocabDetector, Protocol):
    """A detector that can also say where the named objects are."""

    def detect(
        self, images: Sequence[Image.Image], queries: Sequence[Sequence[str]], min_score: float
    ) -> list[ObjectBoxes]:
        """Boxes of each picture's names with a score above ``min_score``, best first."""
        ...


def picture_key(image: Image.Image) -> str:
    """SHA-256 of a picture's size and RGB pixels, by which equal pictures are recognised."""
    pixels = image if image.mode == "RGB" else image.convert("RGB")
    digest = hashlib.sha256(f"{pixels.width}x{pixels.height}\n".encode())
    digest.update(pixels.tobytes())
    return digest.hexdigest()


def score_once(images: Sequence[Image.Image], queries: Sequence[Sequence[str]], ask: Ask) -> Scores:
    """Scores of requests in which every picture is shown once, and every name of a picture asked once.

    Args:
        images: Pictures, some of which may be equal.
        queries: Names asked about each of them.
        ask: Function that scores different pictures, each with different names.

    Raises:
        DataError: The numbers of pictures and lists of names differ.
    """
    check_requests(images, queries)
    row_of: dict[str, int] = {}
    shown: list[Image.Image] = []
    names: list[dict[str, None]] = []
    rows: list[int] = []
    for image, asked in zip(images, queries, strict=True):
        row = row_of.setdefault(picture_key(image), len(row_of))
        if row == len(shown):
            shown.append(image)
            names.append({})
        names[row].update(dict.fromkeys(asked))
        rows.append(row)
    found = ask(shown, [list(asked) for asked in names])
    return [{name: found[row][name] for name in asked} for row, asked in zip(rows, queries, strict=True)]


def check_requests(images: Sequence[Image.Image], queries: Sequence[Sequence[str]]) -> None:
    """Refuse lists of names that do not belong to the pictures one by one.

    Raises:
        DataError: The numbers differ, or the names of a picture are one text.
    """
    if len(images) != len(queries):
        raise DataError(f"{len(images)} pictures and {len(queries)} lists of names: give one list for each picture")
    if any(isinstance(asked, str) for asked in queries):
        raise DataError("the names of a picture are one text: give a list of names for each picture")


def plain_name(name: str) -> str:
    """A name in lower case with single blanks, as names are compared."""
    return " ".join(name.split()).casefold()
