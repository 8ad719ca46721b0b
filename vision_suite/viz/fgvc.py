"""Pictures of a classification result: the classes most often confused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from vision_suite.types.arrays import Ints
from vision_suite.viz import canvas
from vision_suite.viz.canvas import FRAME, GAP, MARGIN


@dataclass(frozen=True)
class Confusion:
    """Number of pictures of one class that were predicted as another.

    Attributes:
        label: The true class.
        prediction: The predicted class.
        count: Pictures of ``label`` predicted as ``prediction``.
        total: Pictures of ``label`` altogether.
    """

    label: int
    prediction: int
    count: int
    total: int


@dataclass(frozen=True)
class ConfusionRow:
    """One row of the picture: a confusion, the names, the mistaken pictures, and pictures of the predicted class."""

    confusion: Confusion
    label_name: str
    prediction_name: str
    mistaken: Sequence[Image.Image]
    predicted_class: Sequence[Image.Image]


def most_confused(label: Ints, prediction: Ints, limit: int) -> list[Confusion]:
    """The (true, predicted) pairs with most mistakes; of equal counts the rarer true class first, then lower numbers.

    Args:
        label: (M,) true classes.
        prediction: (M,) predicted classes.
        limit: Largest number of pairs.
    """
    wrong = label != prediction
    pairs, counts = np.unique(np.stack([label[wrong], prediction[wrong]], axis=1), axis=0, return_counts=True)
    classes, totals = np.unique(label, return_counts=True)
    size = dict(zip(classes.tolist(), totals.tolist(), strict=True))
    found = [Confusion(a, b, n, size[a]) for (a, b), n in zip(pairs.tolist(), counts.tolist(), strict=True)]
    return sorted(found, key=lambda c: (-c.count, c.total, c.label, c.prediction))[:limit]


def readable(name: str) -> str:
    """A class name for readers: no leading number and dot, no underscores (``001.Black_footed_Albatross``)."""
    return re.sub(r"^\d+\.", "", name).replace("_", " ").strip() or name


def confusion_sheet(
    rows: Sequence[ConfusionRow], *, title: str = "", subtitle: str = "", side: int = 124
) -> Image.Image:
    """Draw one confusion a row: the mistaken pictures at the left, pictures of the predicted class at the right.

    Args:
        rows: Confusions, in the order to draw.
        title: Heading.
        subtitle: Smaller line below the heading.
        side: A tile covers side x side pixels; its shape follows the pictures.

    Returns:
        An RGB image.

    Raises:
        ValueError: There are no rows.
    """
    if not rows:
        raise ValueError("a confusion sheet needs at least one row")
    width, height = canvas.tile_size([p for row in rows for p in (*row.mistaken, *row.predicted_class)], side)
    box = width + 2 * FRAME
    left, right = (max(1, *(len(half) for half in halves)) for halves in zip(*map(_halves, rows), strict=True))
    half = (max(left * (box + GAP) - GAP, 300), max(right * (box + GAP) - GAP, 300))
    middle = 60
    total = 2 * MARGIN + half[0] + middle + half[1]
    bold = canvas.font(16, bold=True)
    wrapped = [
        [
            canvas.wrap_text(readable(name), bold, room, 2)
            for name, room in zip((r.label_name, r.prediction_name), half, strict=True)
        ]
        for r in rows
    ]
    names = 21 * max(len(lines) for pair in wrapped for lines in pair)
    row_height = GAP + names + 22 + height + 2 * FRAME + 2 * GAP
    top = canvas.heading_height(title, subtitle) + (8 if title else 0)
    sheet = Image.new("RGB", (total, top + len(rows) * row_height + MARGIN - GAP), canvas.PAPER)
    canvas.draw_heading(sheet, title, subtitle)
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        y = top + number * row_height
        draw.line((MARGIN, y, total - MARGIN, y), fill=canvas.RULE)
        y += GAP
        c = row.confusion
        share = f"{c.count} of {c.total} pictures ({100 * c.count / c.total:.0f} %) taken for"
        second = MARGIN + half[0] + middle
        glyph = canvas.mark(False, 15)
        sheet.paste(glyph, (MARGIN, y + names), glyph)
        _names(draw, wrapped[number][0], share, (MARGIN, 20), y + names, half[0])
        _names(draw, wrapped[number][1], "examples of that class", (second, 0), y + names, half[1])
        y += names + 22
        arrow = (MARGIN + half[0] + middle // 2, y + height // 2 + FRAME)
        draw.text(arrow, "→", font=canvas.font(28, bold=True), fill=canvas.FAINT, anchor="mm")
        for x, pictures, colour in (
            (MARGIN, row.mistaken, canvas.WRONG),
            (second, row.predicted_class, canvas.NEUTRAL),
        ):
            for position, picture in enumerate(pictures):
                sheet.paste(canvas.framed(picture, width, height, colour, FRAME), (x + position * (box + GAP), y))
    return sheet


def _halves(row: ConfusionRow) -> tuple[Sequence[Image.Image], Sequence[Image.Image]]:
    """The two groups of pictures of a row."""
    return row.mistaken, row.predicted_class


def _names(draw: ImageDraw.ImageDraw, name: list[str], note: str, x: tuple[int, int], y: int, width: int) -> None:
    """Write the lines of a name to end at height ``y`` and a note below it, indented by the second number of ``x``."""
    for above, line in enumerate(reversed(name), start=1):
        draw.text((x[0], y - 21 * above), line, font=canvas.font(16, bold=True), fill=canvas.INK)
    face = canvas.font(13)
    draw.text((sum(x), y), canvas.fit_text(note, face, width - x[1]), font=face, fill=canvas.FAINT)
