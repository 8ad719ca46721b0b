"""Common style of the suite's pictures: colours, text that fits its space, tick and cross marks, figures.

Curve colours are those of Okabe and Ito ("Color Universal Design", 2008), told apart with every common kind of colour
blindness. Green and red frames, which the re-ID literature uses, are always doubled by a tick or a cross.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image, ImageDraw, ImageFont

from vision_suite.errors import printable as printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RGB = tuple[int, int, int]
LayoutEngine = Literal["constrained", "none"]

PAPER: RGB = (255, 255, 255)
INK: RGB = (33, 37, 41)
FAINT: RGB = (108, 117, 125)
RULE: RGB = (222, 226, 230)
CORRECT: RGB = (0, 135, 62)
WRONG: RGB = (208, 26, 32)
NEUTRAL: RGB = (134, 142, 150)
QUERY: RGB = (0, 94, 162)
CURVES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))
ELLIPSIS = "…"
FRAME, GAP, MARGIN = 5, 10, 20  # pixels: around a picture, between pictures, around a sheet


@lru_cache(maxsize=32)
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The typeface of every picture, DejaVu Sans as matplotlib carries it, so that PIL pictures and figures match."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    # Every build of Pillow has the basic layout, so that pictures are the same everywhere.
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def fit_text(text: str, face: ImageFont.FreeTypeFont, width: int) -> str:
    """``text``, or its longest beginning that is at most ``width`` pixels wide with an ellipsis behind it."""
    text = printable(text)
    if face.getlength(text) <= width:
        return text
    kept = len(text)
    while kept > 0 and face.getlength(text[:kept].rstrip() + ELLIPSIS) > width:
        kept -= 1
    return text[:kept].rstrip() + ELLIPSIS


def fit_middle(text: str, face: ImageFont.FreeTypeFont, width: int) -> str:
    """``text``, or its two ends around an ellipsis: file names differ at both ends."""
    text = printable(text)
    if face.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        shorter = text[: kept - kept // 2] + ELLIPSIS + text[len(text) - kept // 2 :]
        if face.getlength(shorter) <= width:
            return shorter
    return ELLIPSIS


def wrap_text(text: str, face: ImageFont.FreeTypeFont, width: int, lines: int) -> list[str]:
    """``text`` broken between words into at most ``lines`` lines of ``width`` pixels; the last one is cut to fit."""
    whole = list(_broken(text, face, width))
    kept = whole[:lines]
    if len(whole) > lines:
        kept[-1] = " ".join(whole[lines - 1 :])
    return [fit_text(line, face, width) for line in kept]


def last_lines(text: str, face: ImageFont.FreeTypeFont, width: int, lines: int) -> list[str]:
    """``text`` broken as by `wrap_text`; of a longer one the last ``lines`` lines, with an ellipsis before them."""
    whole = [fit_text(line, face, width) for line in _broken(text, face, width)]
    if len(whole) <= lines:
        return whole
    words = whole[-lines].split()
    while len(words) > 1 and face.getlength(f"{ELLIPSIS} {' '.join(words)}") > width:
        del words[0]
    first = fit_text(f"{ELLIPSIS} {' '.join(words)}", face, width)
    return [first, *whole[len(whole) - lines + 1 :]]


def _broken(text: str, face: ImageFont.FreeTypeFont, width: int) -> Iterator[str]:
    """Lines of at most ``width`` pixels, broken between words; a longer word is a line of its own."""
    line = ""
    for word in printable(" ".join(text.split())).split():
        longer = f"{line} {word}".strip()
        if line and face.getlength(longer) > width:
            yield line
            line = word
        else:
            line = longer
    yield line


def thumbnail(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The whole picture scaled to fit ``width`` x ``height``, centred on white: never cropped, never distorted."""
    scale = min(width / picture.width, height / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    tile = Image.new("RGB", (width, height), PAPER)
    resized = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    tile.paste(resized, ((width - size[0]) // 2, (height - size[1]) // 2))
    return tile


def tile_size(pictures: list[Image.Image], side: int) -> tuple[int, int]:
    """Width and height of a tile that suits the median shape of the pictures and covers ``side`` x ``side`` pixels."""
    aspects = sorted(picture.width / picture.height for picture in pictures)
    aspect = min(max(aspects[len(aspects) // 2], 0.5), 2.0)
    return round(side * aspect**0.5), round(side / aspect**0.5)


def framed(picture: Image.Image, width: int, height: int, colour: RGB, thickness: int) -> Image.Image:
    """A thumbnail of ``width`` x ``height`` with a frame of ``thickness`` pixels around it."""
    tile = Image.new("RGB", (width + 2 * thickness, height + 2 * thickness), colour)
    tile.paste(thumbnail(picture, width, height), (thickness, thickness))
    return tile


def heading_height(title: str, subtitle: str) -> int:
    """Pixels from the upper edge of a sheet to the end of what `draw_heading` writes."""
    return MARGIN + (30 if title else 0) + (22 if subtitle else 0)


def draw_heading(sheet: Image.Image, title: str, subtitle: str) -> None:
    """Write a title and a smaller line below it at the upper left of a sheet; either may be empty."""
    draw = ImageDraw.Draw(sheet)
    room = sheet.width - 2 * MARGIN
    if title:
        face = font(20, bold=True)
        draw.text((MARGIN, MARGIN), fit_text(title, face, room), font=face, fill=INK)
    if subtitle:
        face = font(13)
        draw.text((MARGIN, heading_height(title, "")), fit_text(subtitle, face, room), font=face, fill=FAINT)


@lru_cache(maxsize=16)
def mark(correct: bool, size: int) -> Image.Image:
    """A green disc with a white tick or a red disc with a white cross, ``size`` pixels wide, on a clear ground."""
    big = 8 * size
    disc = Image.new("RGBA", (big, big), (*(CORRECT if correct else WRONG), 0))
    draw = ImageDraw.Draw(disc)
    draw.ellipse((0, 0, big - 1, big - 1), fill=CORRECT if correct else WRONG)
    strokes = (
        [[(0.26, 0.53), (0.43, 0.70), (0.75, 0.34)]]
        if correct
        else [[(0.3, 0.3), (0.7, 0.7)], [(0.3, 0.7), (0.7, 0.3)]]
    )
    for stroke in strokes:
        draw.line([(x * big, y * big) for x, y in stroke], fill=PAPER, width=round(0.13 * big), joint="curve")
    return disc.resize((size, size), Image.Resampling.LANCZOS)


def new_figure(
    width: float, height: float, columns: int = 1, rows: int = 1, layout: LayoutEngine = "constrained"
) -> tuple[Figure, list[Axes]]:
    """A figure of ``width`` x ``height`` inches at 160 dots per inch with plain axes in rows, apart from pyplot."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=160, layout=layout)  # type: ignore[arg-type]  # its types leave "none" out
    panels = [figure.add_subplot(rows, columns, number + 1) for number in range(rows * columns)]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(True, color="#dee2e6", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=9, color="#6c757d")
    return figure, panels


def rendered(figure: Figure) -> Image.Image:
    """The figure drawn as an RGB image."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    buffer.seek(0)
    return Image.open(buffer).convert("RGB")
