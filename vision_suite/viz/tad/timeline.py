"""A video as a line of time: thumbnails, true actions above predicted ones, boundary curves, attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from vision_suite.types.arrays import Floats
from vision_suite.types.tad import Annotation, Detection
from vision_suite.viz import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LANES = 6
WIDTH, THUMBNAIL_HEIGHT = 11.0, 0.8
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

    Predictions are drawn best first, each in the uppermost free lane, paler with lower score. Predictions that find no
    lane are counted below the picture.

    Args:
        video: Contents to draw.
        title: Heading.
        classes: Names in the order of their colours; other names that occur follow.
        lanes: Largest number of lanes of predictions.

    Returns:
        An RGB image.
    """
    names = list(dict.fromkeys([*classes, *(str(e["label"]) for e in [*(video.truth or ()), *video.predictions])]))
    colour = {name: canvas.CURVES[n % len(canvas.CURVES)] for n, name in enumerate(names)}
    placed, left = _lanes(video.predictions, lanes)
    used = max((lane for lane, _ in placed), default=0) + 1
    heights = []
    if video.thumbnails:
        heights.append(THUMBNAIL_HEIGHT)
    if video.truth is not None:
        heights.append(0.62)
    heights.append(0.25 + 0.34 * used)
    if video.curve is not None:
        heights.append(1.1)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, sum(heights) + 1.0), dpi=160, layout="constrained")
    panels = list(np.atleast_1d(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)))
    if video.thumbnails:
        _thumbnails(panels.pop(0), video.thumbnails, video.duration)
    if video.truth is not None:
        axes = panels.pop(0)
        _bars(axes, [(0, {**entry, "score": 1.0}) for entry in video.truth], colour, "truth", scores=False)
    _bars(panels[0], placed, colour, "predicted", scores=True)
    if left:
        panels[0].annotate(
            f"{left} more of lower score not drawn", (1, 1), xycoords="axes fraction", ha="right", va="bottom",
            fontsize=8, color=GREY,
        )  # fmt: skip
    if video.curve is not None:
        _curve(panels[1], video.curve)
    last = panels[-1]
    last.set_xlim(0, max(video.duration, 1e-3))
    last.set_xlabel("seconds")
    figure.suptitle(canvas.printable(title), x=0.01, ha="left", fontsize=12, fontweight="bold")
    return canvas.rendered(figure)


def _lanes(predictions: Sequence[Detection], lanes: int) -> tuple[list[tuple[int, Detection]], int]:
    """Predictions, best first, with the first lane in which nothing overlaps them; and the number that found none."""
    ends: list[list[tuple[float, float]]] = [[] for _ in range(lanes)]
    placed, left = [], 0
    for entry in sorted(predictions, key=lambda e: -float(e["score"])):
        start, end = entry["segment"]
        for lane, taken in enumerate(ends):
            if all(end <= a or start >= b for a, b in taken):
                taken.append((start, end))
                placed.append((lane, entry))
                break
        else:
            left += 1
    return placed, left


def _bars(
    axes: Axes, entries: Sequence[tuple[int, Detection]], colour: Mapping[str, str], name: str, *, scores: bool
) -> None:
    """Bars of entries in their lanes, labelled inside where the bar is wide enough."""
    strongest = max((float(entry["score"]) for _, entry in entries), default=1.0) or 1.0
    for lane, entry in entries:
        start, end = entry["segment"]
        share = float(entry["score"]) / strongest
        axes.barh(
            -lane, end - start, left=start, height=0.8, color=colour[str(entry["label"])],
            alpha=0.2 + 0.8 * share if scores else 1.0, linewidth=0,
        )  # fmt: skip
        text = f"{entry['label']} {float(entry['score']):.2f}" if scores else str(entry["label"])
        axes.text(
            (start + end) / 2, -lane, canvas.printable(text), ha="center", va="center", fontsize=7.5, clip_on=True,
            color="white" if share > 0.55 or not scores else "#212529",
        )  # fmt: skip
    axes.set_yticks([])
    axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10)
    axes.set_ylim(-max((lane for lane, _ in entries), default=0) - 0.6, 0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _thumbnails(axes: Axes, thumbnails: Sequence[tuple[float, Image.Image]], duration: float) -> None:
    """Pictures around their times, as wide as the narrowest gap between them leaves."""
    gaps = np.diff([seconds for seconds, _ in thumbnails])
    width = min([duration / len(thumbnails), *gaps[gaps > 0]])
    # A tile has the shape of its space, so that nothing is stretched.
    tile_width, tile_height = WIDTH * 0.9 * width / max(duration, 1e-3), THUMBNAIL_HEIGHT * 0.95
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
        axes.set_ylim(-0.3, 1.05)
    else:
        axes.set_ylim(-0.02, 1.05)
    axes.set_ylabel("boundaries", rotation=0, ha="right", va="center", fontsize=10)
    # Above the curves, which reach every corner.
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.98), fontsize=8, ncols=2, frameon=False, borderaxespad=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
