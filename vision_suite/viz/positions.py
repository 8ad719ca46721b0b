"""Curves of what captions make up, by the position of the sentence, of one or several models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from vision_suite.viz import canvas

Counts = Sequence[tuple[int, int]]


def position_curves(models: Mapping[str, Counts], *, title: str) -> Image.Image:
    """Draw the share of made-up mentions by sentence, and the numbers of mentions behind it (SENTINEL, Fig. 2).

    Args:
        models: Numbers of factual and of made-up mentions of the first, second, ... sentence of all captions, for each
            model by its name, such as ``before`` and ``after``.
        title: Heading.

    Returns:
        An RGB image; a position without mentions has no point.
    """
    figure, (left, right) = canvas.new_figure(11, 4.2, 2)
    longest = max([1, *(len(counts) for counts in models.values())])
    for number, (name, counts) in enumerate(models.items()):
        factual, made_up = np.array(counts, dtype=np.float64).reshape(-1, 2).T
        total = factual + made_up
        share = np.divide(100 * made_up, total, out=np.full(len(total), np.nan), where=total > 0)
        places = np.arange(1, len(counts) + 1)
        colour, dash = canvas.CURVES[number % len(canvas.CURVES)], canvas.DASHES[number % len(canvas.DASHES)]
        style: dict[str, Any] = {"color": colour, "linestyle": dash, "linewidth": 2, "marker": "o", "markersize": 4}
        label = canvas.printable(name) or "captions"
        left.plot(places, share, label=f"{label} ({_percent(made_up.sum(), total.sum())} of all)", **style)
        right.plot(places, factual, label=f"{label}, there", **{**style, "alpha": 0.45})
        right.plot(places, made_up, label=f"{label}, made up", **style)
    left.set_ylim(bottom=0)
    left.set_ylabel("made-up mentions, % of mentions")
    left.set_title("Share that is made up", loc="left", fontsize=11)
    right.set_ylim(bottom=0)
    right.set_ylabel("mentions")
    right.set_title("Mentions", loc="left", fontsize=11)
    for axes in (left, right):
        axes.set_xlabel("sentence of the caption")
        axes.set_xlim(0.5, longest + 0.5)
        step = max(1, -(-longest // 10))
        axes.set_xticks(range(1, longest + 1, step))
        axes.legend(fontsize=9, frameon=False)
    figure.suptitle(canvas.printable(title), x=0.01, ha="left", fontsize=13, fontweight="bold")
    return canvas.rendered(figure)


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "none"
