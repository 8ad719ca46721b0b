"""Parallel coordinates: one axis a parameter, one line a trial, coloured by what it reached."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from PIL import Image

from vision_suite.types.arrays import Floats
from vision_suite.viz import canvas

LONGEST = 14  # letters of a tick
MOST_TICKS = 12


def parallel_picture(
    names: Sequence[str],
    columns: Sequence[Sequence[Any]],
    values: Sequence[float | None],
    *,
    metric: str,
    maximise: bool,
    title: str,
    logarithmic: Collection[str] = (),
) -> Image.Image:
    """Draw the trials of a sweep.

    An axis of positive numbers is logarithmic where ``logarithmic`` names it or they span more than two decades; one of
    other values than numbers has its values in the order of their text. The metric is the last axis, its better end up.
    Trials without a value are grey.

    Args:
        names: Names of the P parameters.
        columns: P lists of the values of N trials.
        values: N values of the metric, None for a trial without one.
        metric: Name of the metric.
        maximise: More is better.
        title: Heading.
        logarithmic: Names of parameters that are drawn from a logarithmic distribution.

    Returns:
        An RGB image.
    """
    axes = [*zip(names, columns, strict=True), (metric, values)]
    figure, (panel,) = canvas.new_figure(max(6.0, 1.9 * len(axes)), 4.8)
    panel.grid(False)
    placed = [_placed(column, name in logarithmic) for name, column in axes]
    if not maximise:
        places, ticks = placed[-1]
        placed[-1] = 1 - places, [(1 - place, text) for place, text in ticks]
    told = np.array([value is not None for value in values], dtype=bool)
    heights = np.stack([places for places, _ in placed], axis=1)
    order = [*np.flatnonzero(~told), *sorted(np.flatnonzero(told), key=lambda index: heights[index, -1])]
    for index in order:
        height = heights[index]
        if not told[index]:
            panel.plot(range(len(axes) - 1), height[:-1], color="#ced4da", linewidth=1)
            continue
        panel.plot(range(len(axes)), height, color=_colour(float(height[-1])), linewidth=1.6, alpha=0.85)
    for position, (_, ticks) in enumerate(placed):
        panel.axvline(position, color="#6c757d", linewidth=0.8)
        for place, text in ticks:
            panel.text(position + 0.03, place, text, fontsize=8, va="center", color="#212529", parse_math=False)
    panel.set_xticks(range(len(axes)), [_short(name, 24) for name, _ in axes], fontsize=9, parse_math=False)
    panel.set_xlim(-0.15, len(axes) - 0.6)
    panel.set_ylim(-0.04, 1.04)
    panel.set_yticks([])
    panel.spines["left"].set_visible(False)
    panel.set_title(canvas.printable(title), loc="left", fontsize=11, parse_math=False)
    return canvas.rendered(figure)


def _placed(column: Sequence[Any], log: bool = False) -> tuple[Floats, list[tuple[float, str]]]:
    """Heights from 0 to 1 of an axis's values, and its ticks; a missing value has the height 0."""
    known = [value for value in column if value is not None]
    if known and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        low, high = min(known), max(known)
        logarithmic = low > 0 and (log or high / low > 100)
        scale = math.log if logarithmic else float
        start, width = scale(low), scale(high) - scale(low)
        ticks = sorted(set(known)) if len(set(known)) <= 4 else _between(low, high, logarithmic)

        def height(value: float) -> float:
            return (scale(value) - start) / width if width else 0.5

        found = [0.0 if value is None else height(value) for value in column]
        return np.array(found), [(height(tick), f"{tick:.3g}") for tick in ticks]
    words = sorted({str(value) for value in known})
    places = {word: index / max(1, len(words) - 1) if len(words) > 1 else 0.5 for index, word in enumerate(words)}
    found = [0.0 if value is None else places[str(value)] for value in column]
    return np.array(found), [(place, _short(word, LONGEST)) for word, place in places.items()][:MOST_TICKS]


def _between(low: float, high: float, logarithmic: bool) -> list[float]:
    """Both ends of an axis and three values between them."""
    if logarithmic:
        return [float(value) for value in np.geomspace(low, high, 5)]
    return [float(value) for value in np.linspace(low, high, 5)]


def _colour(height: float) -> tuple[float, float, float]:
    """From a light to a dark blue, better ones darker: told apart without hues."""
    light, dark = np.array([0.75, 0.85, 0.93]), np.array([0.0, 0.2, 0.45])
    red, green, blue = light + (dark - light) * height
    return float(red), float(green), float(blue)


def _short(text: str, length: int) -> str:
    text = canvas.printable(text)
    return text if len(text) <= length else f"{canvas.ELLIPSIS}{text[-length:]}"
