"""Bars over time in lanes, with labels that lie neither over one another nor over other bars, nor beyond the border."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import ImageFont

from vision_suite.viz import canvas

GAP = 5.0  # pixels between a bar and its label
APART = 16.0  # pixels between neighbours of a lane, so that a label is not taken for the other's
WIDEST = 0.3  # of the row: of a bar that is narrower, one side always has room for a label
THINNEST = 2.0  # pixels of a bar


@dataclass(frozen=True)
class Item:
    """Contents of a bar.

    Attributes:
        start: Seconds.
        end: Seconds.
        name: Label, which may be shortened.
        suffix: Text behind it, which is not.
    """

    start: float
    end: float
    name: str
    suffix: str = ""


@dataclass(frozen=True)
class Placed:
    """Place of an item, in pixels from the left border of the row.

    Attributes:
        index: Number of the item.
        lane: Lane, 0 the uppermost.
        bar: Left and right border of the bar.
        text: The label, shortened where it must be.
        text_span: Left and right border of the label.
        inside: True if the label lies in the bar.
    """

    index: int
    lane: int
    bar: tuple[float, float]
    text: str
    text_span: tuple[float, float]
    inside: bool

    @property
    def extent(self) -> tuple[float, float]:
        """Left and right border of bar and label together."""
        return min(self.bar[0], self.text_span[0]), max(self.bar[1], self.text_span[1])


def place(
    items: Sequence[Item], duration: float, width: float, face: ImageFont.FreeTypeFont, lanes: int
) -> tuple[list[Placed], int]:
    """Give each item, in the given order, the uppermost lane in which it meets nothing.

    Args:
        items: Items; what lies beyond 0 or ``duration`` is not drawn.
        duration: Seconds of the row.
        width: Pixels of the row.
        face: Typeface of the labels.
        lanes: Most lanes.

    Returns:
        The placed items, and the number of those that found no lane.
    """
    taken: list[list[tuple[float, float]]] = [[] for _ in range(lanes)]
    placed: list[Placed] = []
    for index, item in enumerate(items):
        first, last = (min(max(second / duration, 0.0), 1.0) * width for second in (item.start, item.end))
        bar = (min(first, width - THINNEST), max(last, min(first, width - THINNEST) + THINNEST))
        text, span, inside = _labelled(item, bar, width, face)
        whole = Placed(index, 0, bar, text, span, inside)
        low, high = whole.extent
        for lane, spans in enumerate(taken):
            if all(high + APART <= a or low - APART >= b for a, b in spans):
                spans.append((low, high))
                placed.append(Placed(index, lane, bar, text, span, inside))
                break
    return placed, len(items) - len(placed)


def _labelled(
    item: Item, bar: tuple[float, float], width: float, face: ImageFont.FreeTypeFont
) -> tuple[str, tuple[float, float], bool]:
    """Label of a bar: in it where it fits, else to the right of it, else to the left."""
    suffix = f" {item.suffix}" if item.suffix else ""
    left, right = bar
    room = max(WIDEST * width, right - left - 2 * GAP) - 2 * GAP
    text = canvas.fit_text(item.name, face, int(room - face.getlength(suffix))) + suffix
    long = face.getlength(text)
    if long + 2 * GAP <= right - left:
        middle = (left + right) / 2
        return text, (middle - long / 2, middle + long / 2), True
    if right + GAP + long <= width:
        return text, (right + GAP, right + GAP + long), False
    return text, (left - GAP - long, left - GAP), False
