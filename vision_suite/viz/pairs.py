"""Preference pairs beside their pictures: question, beginning of the answer, and both ways in which it may go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from vision_suite.viz import canvas

SIDE = 150  # pixels of a picture
COLUMNS = 3  # pictures of a pair
LINE = 21
LINES = 4  # of a text
LABEL = 86  # pixels of the words before the texts


@dataclass(frozen=True)
class DrawnPair:
    """A pair to be drawn.

    Attributes:
        question: Question.
        chosen: Preferred continuation.
        rejected: The other one.
        context: Beginning of the answer, empty where the continuations begin it.
        pictures: Pictures of the question; of more than three the first three are drawn.
        heading: Small line above the texts.
    """

    question: str
    chosen: str
    rejected: str
    context: str = ""
    pictures: Sequence[Image.Image] = ()
    heading: str = ""


def pair_sheet(pairs: Sequence[DrawnPair], *, title: str, subtitle: str = "") -> Image.Image:
    """Draw pairs below each other, the preferred sentence green with a tick, the rejected one red with a cross.

    Args:
        pairs: The pairs.
        title: Heading.
        subtitle: Line below it.
    """
    columns = max([0, *(min(len(each.pictures), COLUMNS) for each in pairs)])
    left = canvas.MARGIN + columns * (SIDE + canvas.GAP)
    room = 760 - LABEL
    texts = [_texts(each, room) for each in pairs]
    picture = SIDE if columns else 0
    heights = [max(picture, LINE * (1 + sum(len(lines) for _, lines, _ in each))) + 2 * canvas.GAP for each in texts]
    top = canvas.heading_height(title, subtitle) + canvas.GAP
    sheet = Image.new("RGB", (left + LABEL + room + canvas.MARGIN, top + sum(heights) + canvas.MARGIN), canvas.PAPER)
    canvas.draw_heading(sheet, title, subtitle)
    draw = ImageDraw.Draw(sheet)
    y = top
    for each, parts, height in zip(pairs, texts, heights, strict=True):
        if y > top:
            draw.line([(canvas.MARGIN, y - canvas.GAP), (sheet.width - canvas.MARGIN, y - canvas.GAP)], canvas.RULE)
        for column, shown in enumerate(each.pictures[:COLUMNS]):
            x = canvas.MARGIN + column * (SIDE + canvas.GAP)
            sheet.paste(canvas.thumbnail(shown, SIDE, SIDE), (x, y))
            draw.rectangle((x - 1, y - 1, x + SIDE, y + SIDE), outline=canvas.RULE)
        _write(sheet, each.heading, parts, left, y)
        y += height
    return sheet


def _texts(pair: DrawnPair, room: int) -> list[tuple[str, list[str], canvas.RGB]]:
    """Label, lines and colour of each text of a pair; a sentence follows the end of its context, so that is kept."""
    face = canvas.font(15)
    context = canvas.last_lines(pair.context, face, room, LINES) if pair.context else ["(none: the answer begins here)"]
    return [
        ("question", canvas.last_lines(pair.question, face, room, LINES), canvas.INK),
        ("context", context, canvas.INK if pair.context else canvas.FAINT),
        ("preferred", canvas.wrap_text(pair.chosen, face, room, LINES), canvas.CORRECT),
        ("rejected", canvas.wrap_text(pair.rejected, face, room, LINES), canvas.WRONG),
    ]


def _write(
    sheet: Image.Image, heading: str, parts: Sequence[tuple[str, list[str], canvas.RGB]], left: int, y: int
) -> None:
    """Write the texts of a pair from a place on."""
    draw, face, small = ImageDraw.Draw(sheet), canvas.font(15), canvas.font(12)
    draw.text(
        (left, y), canvas.fit_text(heading, small, sheet.width - left - canvas.MARGIN), font=small, fill=canvas.FAINT
    )
    y += LINE
    for label, lines, colour in parts:
        if colour in (canvas.CORRECT, canvas.WRONG):
            disc = canvas.mark(colour == canvas.CORRECT, 15)
            sheet.paste(disc, (left, y + 1), disc)
            draw.text((left + 19, y + 2), label, font=small, fill=colour)
        else:
            draw.text((left, y + 2), label, font=small, fill=canvas.FAINT)
        for line in lines:
            draw.text((left + LABEL, y), line, font=face, fill=colour)
            y += LINE
