"""Recordings as every importer returns them: who looked at which picture, where it was on the screen, and fixations."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from vision_suite.errors import DataError

Eye = Literal["left", "right"]


class Fixation(NamedTuple):
    """A fixation.

    Attributes:
        x: Horizontal place in pixels of the screen, from its left edge.
        y: Vertical place in pixels of the screen, from its upper edge.
        duration: Milliseconds.
        start: Time of its beginning in the recording, in any unit; its rank where the file has no time.
    """

    x: float
    y: float
    duration: float
    start: float


class Place(NamedTuple):
    """Rectangle of the screen in which a picture was shown, in pixels from the upper left corner of the screen.

    Attributes:
        left: Left edge, or the middle.
        top: Upper edge, or the middle.
        width: Width as shown, NaN for that of the picture's file.
        height: Height as shown, NaN for that of the picture's file.
        by_middle: True if the picture's middle is given, not its corner.
    """

    left: float
    top: float
    width: float = math.nan
    height: float = math.nan
    by_middle: bool = False


class Area(NamedTuple):
    """An object in pixels of the screen: its corners and its label."""

    x1: float
    y1: float
    x2: float
    y2: float
    label: str


@dataclass
class View:
    """One viewing of a picture.

    Attributes:
        subject: Name of the observer.
        trial: Name of the viewing.
        picture: Name of the picture's file.
        fixations: Fixations in their order.
        place: Place of the picture on the screen, None where the recording does not tell it.
        size: Width and height of the picture's file, None where the recording does not tell it.
        areas: Objects of the picture, where the recording names them.
        variables: Values that the experiment recorded for the trial, by name.
    """

    subject: str
    trial: str
    picture: str
    fixations: list[Fixation] = field(default_factory=list)
    place: Place | None = None
    size: tuple[float, float] | None = None
    areas: list[Area] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)


@dataclass
class Recording:
    """Content of some files as an importer found it.

    Attributes:
        views: Viewings in order.
        screen: Width and height of the screen in pixels, None where unknown.
        counts: Numbers of what was found and left out, by kind.
        facts: Coordinate system, time unit, eye and the like, in words by subject.
    """

    views: list[View] = field(default_factory=list)
    screen: tuple[float, float] | None = None
    counts: Counter[str] = field(default_factory=Counter)
    facts: dict[str, str] = field(default_factory=dict)

    def add(self, other: Recording) -> None:
        """Take over what was found in another file.

        Raises:
            DataError: It was recorded on another screen, or names a viewing of the same subject and name.
        """
        if self.screen is not None and other.screen is not None and self.screen != other.screen:
            raise DataError(
                f"recordings have screens of {self.screen[0]:g} x {self.screen[1]:g} and {other.screen[0]:g} x "
                f"{other.screen[1]:g} pixels: import them one by one"
            )
        known = {(view.subject, view.trial) for view in self.views}
        if double := next((view for view in other.views if (view.subject, view.trial) in known), None):
            raise DataError(
                f"two recordings have a trial {double.trial!r} of subject {double.subject!r}: rename one of the files"
            )
        self.screen = self.screen or other.screen
        self.views += other.views
        self.counts += other.counts
        for subject, words in other.facts.items():
            former = self.facts.setdefault(subject, words)
            if words not in former:
                self.facts[subject] = f"{former}; {words}"


def fixation_or_none(x: float, y: float, duration: float, start: float, counts: Counter[str]) -> Fixation | None:
    """A fixation, or None, which is counted, where its place or duration is missing."""
    if not (math.isfinite(x) and math.isfinite(y)):
        counts["fixations_without_place"] += 1
        return None
    if not (math.isfinite(duration) and duration > 0):
        counts["fixations_without_duration"] += 1
        return None
    return Fixation(x, y, duration, start)
