"""Captions beside their pictures: boxes of the objects that are there, and words of those that are not."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from vision_suite.viz import canvas

SIDE = 220  # pixels of a picture
LINE = 24
LINES = 6  # of a caption
Box = tuple[str, tuple[float, float, float, float]]


@dataclass(frozen=True)
class Told:
    """A picture and its caption.

    Attributes:
        picture: Picture.
        text: Caption or answer.
        made_up: Words of the text, of one or several tokens, that name what is not there.
        named: Words that name what is there.
        missed: Names of what is there and was not named.
        boxes: Name and (x, y, width, height) in pixels of each object that is there.
        heading: Line above the caption.
        invented: Names of what is made up, for the line below the caption; by default `made_up`.
    """

    picture: Image.Image
    text: str
    made_up: Collection[str] = ()
    named: Collection[str] = ()
    missed: Sequence[str] = ()
    boxes: Sequence[Box] = ()
    heading: str = ""
    invented: Sequence[str] = ()


def caption_sheet(told: Sequence[Told], *, title: str, subtitle: str = "") -> Image.Image:
    """Draw captions below each other, made-up words red, crossed out and in bold, the others that name things green.

    Boxes of objects that the caption names are green, the others grey.

    Args:
        told: Pictures and captions.
        title: Heading.
        subtitle: Line below it.
    """
    top, step = canvas.heading_height(title, subtitle) + canvas.GAP, SIDE + 2 * canvas.GAP
    sheet = Image.new("RGB", (1100, top + step * len(told) + canvas.MARGIN), canvas.PAPER)
    canvas.draw_heading(sheet, title, subtitle)
    draw = ImageDraw.Draw(sheet)
    left = canvas.MARGIN + SIDE + canvas.GAP
    room = sheet.width - left - canvas.MARGIN
    small = canvas.font(13)
    for number, each in enumerate(told):
        y = top + number * step
        if number:
            draw.line([(canvas.MARGIN, y - canvas.GAP), (sheet.width - canvas.MARGIN, y - canvas.GAP)], canvas.RULE)
        sheet.paste(boxed(each.picture, each.boxes, each.named), (canvas.MARGIN, y))
        draw.text((left, y), canvas.fit_text(each.heading, small, room), font=small, fill=canvas.FAINT)
        y = _write(draw, each, left, y + LINE, room)
        for label, names, colour in (
            ("made up", each.invented or sorted(set(each.made_up)), canvas.WRONG), ("missed", each.missed, canvas.FAINT)
        ):  # fmt: skip
            if names:
                line = canvas.fit_text(f"{label}: {', '.join(names)}", small, room)
                draw.text((left, y + 6), line, font=small, fill=colour)
                y += LINE - 4
    return sheet


def boxed(picture: Image.Image, boxes: Sequence[Box], named: Collection[str]) -> Image.Image:
    """The picture in a square with boxes around its objects: green for named ones, grey for the others."""
    tile = canvas.thumbnail(picture, SIDE, SIDE)
    scale = min(SIDE / picture.width, SIDE / picture.height)
    across, down = (SIDE - scale * picture.width) / 2, (SIDE - scale * picture.height) / 2
    draw, face = ImageDraw.Draw(tile), canvas.font(11)
    for name, (x, y, width, height) in boxes:
        colour = canvas.CORRECT if name in named else canvas.NEUTRAL
        corner = (across + scale * x, down + scale * y)
        draw.rectangle((*corner, corner[0] + scale * width, corner[1] + scale * height), outline=colour, width=2)
        text = canvas.fit_text(name, face, SIDE)
        place = (min(corner[0] + 3, SIDE - face.getlength(text) - 2), max(corner[1] - 13, 0))
        draw.rectangle((place[0] - 1, place[1], place[0] + face.getlength(text) + 1, place[1] + 13), fill=canvas.PAPER)
        draw.text(place, text, font=face, fill=colour)
    draw.rectangle((0, 0, SIDE - 1, SIDE - 1), outline=canvas.RULE)
    return tile


def marked(text: str, made_up: Collection[str], named: Collection[str]) -> Iterator[tuple[str, bool | None]]:
    """The words of a text, each with False where it is of something made up, True where of something there, else None.

    Case and a plural's ending do not count; words of several tokens come before their parts.

    Example:
        >>> list(marked("Two dogs and a wine glass.", ["dog"], ["wine glass"]))[1:]
        [('dogs', False), ('and', None), ('a', None), ('wine glass.', True)]
    """
    known = {word.casefold(): False for word in made_up} | {word.casefold(): True for word in named}
    known |= {word.casefold(): False for word in made_up}
    longest = max([1, *(len(word.split()) for word in known)])
    tokens = canvas.printable(" ".join(text.split())).split()
    while tokens:
        for count in range(min(longest, len(tokens)), 0, -1):
            words = " ".join(tokens[:count])
            verdict = next((known[form] for form in _forms(words) if form in known), None)
            if verdict is not None or count == 1:
                yield words, verdict
                tokens = tokens[count:]
                break


def _forms(words: str) -> Iterator[str]:
    """A word as it is, and without the endings of plurals."""
    plain = re.sub(r"^\W+|\W+$", "", words).casefold()
    yield plain
    for ending, singular in (("ies", "y"), ("ves", "f"), ("es", ""), ("s", "")):
        if plain.endswith(ending):
            yield plain.removesuffix(ending) + singular


def _write(draw: ImageDraw.ImageDraw, told: Told, left: int, y: int, room: int) -> int:
    """Write a caption word by word; the height of the line behind it."""
    plain, bold = canvas.font(16), canvas.font(16, bold=True)
    x, lines = float(left), 1
    for words, verdict in marked(told.text or "(nothing)", told.made_up, told.named):
        face = plain if verdict is None else bold
        width = face.getlength(words)
        if x > left and x + width > left + room:
            if lines == LINES:
                draw.text((x, y), canvas.ELLIPSIS, font=plain, fill=canvas.INK)
                break
            x, y, lines = float(left), y + LINE, lines + 1
        colour = canvas.INK if verdict is None else canvas.CORRECT if verdict else canvas.WRONG
        draw.text((x, y), words, font=face, fill=colour)
        if verdict is False:
            draw.line([(x, y + 11), (x + width, y + 11)], fill=canvas.WRONG, width=2)
        x += width + plain.getlength(" ")
    return y + LINE
