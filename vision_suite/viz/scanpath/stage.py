"""Drawing of scanpaths: backdrops of dimmed or outlined scenes, tinted objects, circles, arrows.

Fixations are circles whose area, not radius, follows their duration, joined by thin arrows, over the dimmed picture or,
where there is none, over the objects' boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from vision_suite.types.arrays import Floats
from vision_suite.viz import canvas

WIDTH, HEIGHT = 760, 620  # of a panel's scene at most
MARGIN = 21  # around it
SMOOTH = 2  # drawn so many times larger, then reduced
DIMMED = 0.45  # of the picture; the rest is white
RADIUS = (9.0, 20.0)  # of circles, pixels
USUAL = 13.0  # without durations
FRAMED = 3  # targets with a frame
LETTERS = (14, 13, 12, 11, 10, 9, 8)  # sizes of labels, pixels
PAD = 4  # pixels from the box to its label
HUMAN, MODEL = canvas.CURVES[0], canvas.CURVES[1]
TARGET = canvas.CURVES[2]
TINT = (213, 94, 0)


@dataclass(frozen=True)
class Backdrop:
    """Scene on which scanpaths are drawn.

    Attributes:
        size: Width, height of the scene in pixels.
        boxes: (N, 4) float64 x1, y1, x2, y2 in pixels.
        targets: Objects that count as found.
        labels: N names, or none; written into the boxes where there is no picture.
        picture: The picture, None for none.
        placement: x, y of the picture's corner in the scene, and its scale.
        limit: Largest width, height of a panel.
    """

    size: tuple[float, float]
    boxes: Floats
    targets: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()
    picture: Image.Image | None = None
    placement: tuple[float, float, float] = (0.0, 0.0, 1.0)
    limit: tuple[int, int] = (WIDTH, HEIGHT)

    @property
    def scale(self) -> float:
        """Factor from scene pixels to pixels of a panel."""
        return min(self.limit[0] / self.size[0], self.limit[1] / self.size[1])

    @property
    def shape(self) -> tuple[int, int]:
        """Width, height of a panel's picture, with a margin for fixations on or beyond the border."""
        width, height = (max(1, round(side * self.scale)) + 2 * MARGIN for side in self.size)
        return width, height

    def to_panel(self, xy: Floats) -> Floats:
        """(n, 2) pixels of a panel's picture, from points in pixels of the scene."""
        points: Floats = np.asarray(xy, dtype=np.float64) * self.scale + MARGIN
        return points


@dataclass(frozen=True)
class Gaze:
    """A path to draw.

    Attributes:
        xy: (n, 2) pixels of the scene.
        name: Heading of its panel.
        colour: Colour of its circles.
        duration: (n,) seconds, NaN where unknown, or None.
        given: Number of first fixations that were given, which are drawn hollow.
        start: Number of fixations before the first one drawn.
    """

    xy: Floats
    name: str
    colour: str
    duration: Floats | None = None
    given: int = 0
    start: int = 0


def circle_radii(duration: Floats | None, count: int) -> Floats:
    """(n,) radii in pixels whose area follows the duration from the shortest to the longest.

    Unknown durations, and all if they are equal, get the usual radius: there is nothing to divide by.

    Args:
        duration: (n,) seconds, NaN where unknown, or None.
        count: Number of fixations n.
    """
    radii = np.full(count, USUAL)
    if duration is None:
        return radii
    known = np.isfinite(duration)
    if known.any() and np.ptp(duration[known]) > 0:
        share = (duration[known] - duration[known].min()) / np.ptp(duration[known])
        low, high = RADIUS[0] ** 2, RADIUS[1] ** 2
        radii[known] = np.sqrt(low + share * (high - low))
    return radii


def background(backdrop: Backdrop, probabilities: Floats | None = None) -> Image.Image:
    """Dimmed picture, or outlines of the objects with their labels, with targets framed or filled, and objects tinted.

    Args:
        backdrop: The scene.
        probabilities: (N,) probabilities of objects; the likeliest has the full tint.
    """
    over = Image.new("RGB", backdrop.shape, canvas.PAPER)
    if backdrop.picture is not None:
        left, top, factor = backdrop.placement
        size = [max(1, round(side * factor * backdrop.scale)) for side in backdrop.picture.size]
        resized = backdrop.picture.convert("RGB").resize((size[0], size[1]), Image.Resampling.LANCZOS)
        over.paste(resized, (round(left * backdrop.scale) + MARGIN, round(top * backdrop.scale) + MARGIN))
        over = Image.blend(Image.new("RGB", backdrop.shape, canvas.PAPER), over, DIMMED)
    draw = ImageDraw.Draw(over, "RGBA")
    corners = backdrop.boxes * backdrop.scale + MARGIN
    screen = (MARGIN - 1, MARGIN - 1, backdrop.shape[0] - MARGIN, backdrop.shape[1] - MARGIN)
    draw.rectangle(screen, outline=canvas.RULE)
    if probabilities is not None:
        strength = np.sqrt(probabilities / max(float(probabilities.max()), 1e-12))
        for box, share in zip(corners, strength, strict=True):
            draw.rectangle(_inside(box), fill=(*TINT, round(170 * float(share))))
    for number, box in enumerate(corners):
        if number in backdrop.targets:
            # Frames of many neighbours, such as the words of an answer, would hide what is inside.
            framed = len(backdrop.targets) <= FRAMED
            draw.rectangle(_inside(box), None if framed else (0, 158, 115, 50), TARGET if framed else None, 2)
        elif backdrop.picture is None:
            draw.rectangle(_inside(box), outline=canvas.RULE)
    if backdrop.picture is None:
        _write_labels(draw, corners, backdrop.labels)
    return over


def beyond_the_edge(backdrop: Backdrop, xy: Floats) -> str:
    """Words about fixations outside of the scene, which are drawn at its edge; empty if there are none.

    Args:
        backdrop: The scene.
        xy: (n, 2) pixels of the scene.
    """
    points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    number = int(((points < 0) | (points > np.array(backdrop.size))).any(axis=1).sum())
    return f", {number} beyond the edge" if number else ""


def draw_path(over: Image.Image, backdrop: Backdrop, gaze: Gaze, longest: int) -> None:
    """Draw arrows, then circles, later ones above earlier ones, onto a background.

    Args:
        over: Image of `background`; changed in place.
        backdrop: The scene.
        gaze: The path.
        longest: Largest number of fixations drawn.
    """
    points = backdrop.to_panel(gaze.xy[:longest])
    duration = None if gaze.duration is None else np.asarray(gaze.duration, dtype=np.float64)[:longest]
    size = max(0.65, min(1.0, backdrop.limit[0] / WIDTH))
    radii = size * circle_radii(duration, len(points))
    # A fixation beyond the border stands at the margin's edge rather than nowhere.
    points = np.clip(points, radii[:, None] + 1, np.array(backdrop.shape) - radii[:, None] - 2)
    big = over.resize((over.width * SMOOTH, over.height * SMOOTH), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(big, "RGBA")
    rgb = tuple(int(gaze.colour[n : n + 2], 16) for n in (1, 3, 5))
    # A path of many fixations on one object would show its last circle only.
    points = _spread(points, radii)
    for number in range(len(points) - 1):
        _arrow(draw, points[number], points[number + 1], radii[number], radii[number + 1], rgb)
    for number, ((x, y), radius) in enumerate(zip(points, radii, strict=True)):
        box = [SMOOTH * value for value in (x - radius, y - radius, x + radius, y + radius)]
        hollow = number < gaze.given
        draw.ellipse(box, fill=(255, 255, 255, 235) if hollow else (*rgb, 215), outline=(*rgb, 255), width=2 * SMOOTH)
        face = canvas.font(round(size * SMOOTH * (12 if gaze.start + number < 99 else 10)), bold=True)
        ink = (*rgb, 255) if hollow else (255, 255, 255, 255)
        draw.text((SMOOTH * x, SMOOTH * y), str(gaze.start + number + 1), fill=ink, font=face, anchor="mm")
    over.paste(big.resize(over.size, Image.Resampling.LANCZOS))


def _spread(points: Floats, radii: Floats) -> Floats:
    """Points moved to the lower right until none hides the number of an earlier one; at most eight times."""
    spread = points.copy()
    for number in range(1, len(spread)):
        for _ in range(8):
            apart = np.hypot(*(spread[:number] - spread[number]).T)
            if (apart > 1.2 * np.maximum(radii[:number], radii[number])).all():
                break
            spread[number] += (0.75 * radii[number], 1.0 * radii[number])
    return spread


def _arrow(
    draw: ImageDraw.ImageDraw, start: Floats, end: Floats, first: float, last: float, rgb: tuple[int, ...]
) -> None:
    """A thin line from circle to circle with a head at its end; none where the circles touch."""
    way = end - start
    length = float(np.hypot(*way))
    if length <= first + last + 2:
        return
    unit = way / length
    begin, tip = (start + unit * first) * SMOOTH, (end - unit * (last + 1)) * SMOOTH
    draw.line([*begin.tolist(), *tip.tolist()], fill=(*rgb, 170), width=round(1.5 * SMOOTH))
    side, back = np.array([-unit[1], unit[0]]) * 4 * SMOOTH, tip - unit * 9 * SMOOTH
    head = [tuple(tip.tolist()), tuple((back + side).tolist()), tuple((back - side).tolist())]
    draw.polygon(head, fill=(*rgb, 220))


def _write_labels(draw: ImageDraw.ImageDraw, corners: Floats, labels: tuple[str, ...]) -> None:
    """Write each object's label into the upper left of its box, where no circle stands; nothing else shows its class.

    All have one size, the largest at which every label fits; what does not fit at the smallest is cut.
    """
    named = [(box, label) for box, label in zip(corners, labels, strict=False) if label]
    if not named:
        return
    rooms = [(box[2] - box[0] - 2 * PAD, box[3] - box[1] - 2 * PAD) for box, _ in named]
    for size in LETTERS:
        face = canvas.font(size)
        if all(
            face.getlength(canvas.printable(label)) <= width and size <= height
            for (_, label), (width, height) in zip(named, rooms, strict=True)
        ):
            break
    for (box, label), (width, height) in zip(named, rooms, strict=True):
        if size <= height:
            text = canvas.fit_text(label, face, int(width))
            draw.text((float(box[0]) + PAD, float(box[1]) + PAD), text, fill=canvas.INK, font=face)


def _inside(box: Floats) -> tuple[float, float, float, float]:
    """A box in the order that Pillow accepts, at least one pixel wide."""
    left, top, right, bottom = (float(value) for value in box)
    return left, top, max(right, left + 1), max(bottom, top + 1)
