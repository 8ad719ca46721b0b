"""A video as a line of time: thumbnails, annotated actions above predicted ones, boundary curves, attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from vision_suite.types.arrays import Floats
from vision_suite.types.tad import Annotation, Detection
from vision_suite.viz import canvas
from vision_suite.viz.tad.lanes import Item, place

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LANES = 40
DPI = 160
# Inches.
WIDTH, LEFT, RIGHT, TOP, BOTTOM, SPACE = 11.0, 1.45, 0.15, 0.42, 0.5, 0.1
ROW = WIDTH - LEFT - RIGHT
THUMBNAIL_HEIGHT, LANE_HEIGHT, CURVE_HEIGHT = 0.8, 0.22, 1.25
LABEL_SIZE = 7.5  # points
GREY = "#868e96"


@dataclass(frozen=True)
class Timeline:
    """Contents of the picture of one video.

    Attributes:
        duration: Length of the video in seconds.
        predictions: Entries with ``label``, ``score`` and ``segment`` in seconds.
        truth: Entries with ``label`` and ``segment``; None without ground truth.
        curve: (4, n) seconds, start and end probability, temporal gate (NaN for none); None for no panel.
        thumbnails: Times in seconds with pictures.
    """

    duration: float
    predictions: Sequence[Detection]
    truth: Sequence[Annotation] | None = None
    curve: Floats | None = None
    thumbnails: Sequence[tuple[float, Image.Image]] = field(default_factory=tuple)


def timeline(video: Timeline, *, title: str, classes: Sequence[str] = (), lanes: int = LANES) -> Image.Image:
    """Draw a video's actions over time.

    Annotations are drawn in order of time, predictions best first and paler with lower score; each has its label in or
    beside its bar and lies in the uppermost lane where neither meets another one. Those that find no lane are counted
    beside the row.

    Args:
        video: Contents to draw.
        title: Heading.
        classes: Names in the order of their colours; other names that occur follow.
        lanes: Largest number of lanes of annotations, and of predictions.

    Returns:
        An RGB image.
    """
    names = list(dict.fromkeys([*classes, *(str(e["label"]) for e in [*(video.truth or ()), *video.predictions])]))
    colour = {name: canvas.CURVES[n % len(canvas.CURVES)] for n, name in enumerate(names)}
    duration = max(video.duration, 1e-3)
    rows: list[tuple[float, Callable[[Axes], None]]] = []
    if video.thumbnails:
        rows.append((THUMBNAIL_HEIGHT, lambda axes: _thumbnails(axes, video.thumbnails, duration)))
    if video.truth is not None:
        notes = sorted(video.truth, key=lambda entry: entry["segment"])
        rows.append(_row("ground truth", notes, None, colour, duration, lanes))
    found = sorted(video.predictions, key=lambda entry: -entry["score"])
    rows.append(_row("predicted", found, [float(e["score"]) for e in found], colour, duration, lanes))
    if video.curve is not None:
        curve = video.curve
        rows.append((CURVE_HEIGHT, lambda axes: _curve(axes, curve)))
    from matplotlib.figure import Figure

    height = TOP + BOTTOM + sum(size + SPACE for size, _ in rows) - SPACE
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    upper = height - TOP
    for size, draw in rows:
        upper -= size
        axes = figure.add_axes((LEFT / WIDTH, upper / height, ROW / WIDTH, size / height))
        upper -= SPACE
        draw(axes)
        axes.set_xlim(0, duration)
        axes.tick_params(labelbottom=False, bottom=False)
    axes.tick_params(labelbottom=True, bottom=True, labelsize=8)
    axes.set_xlabel("seconds")
    heading = canvas.fit_text(title, canvas.font(_pixels(12), bold=True), int(DPI * (WIDTH - 0.4)))
    figure.text(0.01, 1 - 0.12 / height, heading, ha="left", va="top", fontsize=12, fontweight="bold")
    return canvas.rendered(figure)


def _row(
    name: str,
    entries: Sequence[Annotation] | Sequence[Detection],
    scores: Sequence[float] | None,
    colour: Mapping[str, str],
    duration: float,
    lanes: int,
) -> tuple[float, Callable[[Axes], None]]:
    """Height in inches of a row of bars, and the function that draws it; paler with lower score where there are any."""
    items = []
    for number, entry in enumerate(entries):
        start, end = entry["segment"]
        score = "" if scores is None else f"{scores[number]:.2f}"
        items.append(Item(start, end, canvas.printable(str(entry["label"])), score))
    placed, left = place(items, duration, ROW * DPI, canvas.font(_pixels(LABEL_SIZE)), lanes)
    used = max((bar.lane for bar in placed), default=0) + 1
    strongest = max(scores, default=1.0) or 1.0 if scores is not None else 1.0

    def draw(axes: Axes) -> None:
        second = duration / (ROW * DPI)  # of a pixel
        for bar in placed:
            share = 1.0 if scores is None else max(scores[bar.index], 0.0) / strongest
            low, high = bar.bar
            alpha = 0.2 + 0.8 * share
            axes.barh(
                -bar.lane, (high - low) * second, left=low * second, height=0.8, linewidth=0, alpha=alpha,
                color=colour[str(entries[bar.index]["label"])],
            )  # fmt: skip
            axes.text(
                sum(bar.text_span) / 2 * second, -bar.lane, bar.text, ha="center", va="center_baseline",
                fontsize=LABEL_SIZE, color="white" if bar.inside and alpha > 0.6 else "#212529",
            )  # fmt: skip
        axes.set_yticks([])
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10)
        axes.set_ylim(0.5 - used, 0.5)
        axes.spines[["top", "right", "left"]].set_visible(False)
        if left:
            more = f"{left} more of lower score\nnot drawn" if scores is not None else f"{left} more not drawn"
            axes.text(-0.008, 0.0, more, transform=axes.transAxes, ha="right", va="bottom", fontsize=7, color=GREY)

    return LANE_HEIGHT * used, draw


def _pixels(points: float) -> int:
    """Size of a typeface in pixels, rounded up so that drawn text is never wider than measured."""
    return math.ceil(points * DPI / 72)


def _thumbnails(axes: Axes, thumbnails: Sequence[tuple[float, Image.Image]], duration: float) -> None:
    """Pictures around their times, as wide as the narrowest gap between them leaves."""
    gaps = np.diff([seconds for seconds, _ in thumbnails])
    width = min([duration / len(thumbnails), *gaps[gaps > 0]])
    # A tile has the shape of its space, so that nothing is stretched.
    tile_width, tile_height = ROW * width / duration, THUMBNAIL_HEIGHT
    for seconds, picture in thumbnails:
        tile = canvas.thumbnail(picture, max(8, round(200 * tile_width)), round(200 * tile_height))
        extent = (seconds - width / 2, seconds + width / 2, 0, 1)
        axes.imshow(np.asarray(tile), extent=extent, aspect="auto", interpolation="antialiased")
    axes.set_ylim(0, 1)
    axes.axis("off")


def _curve(axes: Axes, curve: Floats) -> None:
    """Start and end probabilities, and the temporal gate as a strip below them."""
    seconds, start, end, gate = curve
    axes.plot(seconds, start, color=canvas.CURVES[2], label="start", linewidth=1.2)
    axes.plot(seconds, end, color=canvas.CURVES[1], label="end", linewidth=1.2, linestyle="--")
    if np.isfinite(gate).any():
        half = (seconds[1] - seconds[0]) / 2 if len(seconds) > 1 else 0.5
        extent = (seconds[0] - half, seconds[-1] + half, -0.28, -0.08)
        axes.imshow(
            gate[None], extent=extent, aspect="auto", cmap="viridis", vmin=np.nanmin(gate), vmax=np.nanmax(gate)
        )
        axes.text(
            -0.006, -0.18, f"attention {np.nanmin(gate):.2f} to {np.nanmax(gate):.2f}", fontsize=7, ha="right",
            va="center", transform=axes.get_yaxis_transform(),
        )  # fmt: skip
        axes.set_ylim(-0.3, 1.3)
    else:
        axes.set_ylim(-0.02, 1.3)
    axes.set_ylabel("boundaries", rotation=0, ha="right", va="center", fontsize=10)
    axes.set_yticks([0.0, 0.5, 1.0])
    # Above the curves, which reach every corner.
    axes.legend(loc="upper right", fontsize=8, ncols=2, frameon=False, borderaxespad=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
