"""Curves of a training run: losses, scores, rates, whatever its panels hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from vision_suite.types.arrays import Floats
from vision_suite.types.curves import Series
from vision_suite.viz import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMOOTH_FROM = 40
COLUMNS = 4
BELOW = -0.2  # of the height of the axes: below the label of the steps
LEGEND_COLUMNS = 3


@dataclass(frozen=True)
class Panel:
    """One set of axes.

    Attributes:
        heading: Heading.
        unit: Unit of the values.
        curves: Steps (T,) and values (T,) by label. Values that are not finite leave a gap.
    """

    heading: str
    unit: str
    curves: Mapping[str, Series]


def training_curves(panels: Sequence[Panel], *, title: str = "") -> Image.Image:
    """Draw the curves of a run, up to four panels side by side.

    Curves of 40 and more points are drawn faint under their running mean.

    Args:
        panels: What is drawn, in reading order; panels without curves are left out.
        title: Heading.

    Returns:
        An RGB image.

    Raises:
        ValueError: No panel has a curve.
    """
    from matplotlib.ticker import MaxNLocator

    panels = [panel for panel in panels if panel.curves]
    if not panels:
        raise ValueError("the log holds no curve that could be drawn")
    rows = math.ceil(len(panels) / COLUMNS)
    columns = math.ceil(len(panels) / rows)
    figure, grid = canvas.new_figure(4.9 * columns, 3.8 * rows, columns, rows)
    for axes, panel in zip(grid, panels, strict=False):
        for number, (name, series) in enumerate(panel.curves.items()):
            _draw(axes, name, series, number)
        axes.set_title(panel.heading, loc="left", fontsize=11, fontweight="bold")
        axes.set_xlabel("step")
        axes.set_ylabel(panel.unit)
        axes.yaxis.get_major_formatter().set_useOffset(False)  # type: ignore[attr-defined]
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        _add_legend(axes, len(panel.curves))
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    return canvas.rendered(figure)


def _add_legend(axes: Axes, entries: int) -> None:
    """Name the curves below the axes, where no point lies, in up to three columns."""
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, BELOW),
        ncols=min(entries, LEGEND_COLUMNS),
        frameon=False,
        fontsize=9,
        borderaxespad=0.0,
        columnspacing=1.2,
    )


def _draw(axes: Axes, name: str, series: Series, number: int) -> None:
    """Draw one curve."""
    steps, values = series
    colour = canvas.CURVES[number % len(canvas.CURVES)]
    dashes = canvas.DASHES[number % len(canvas.DASHES)]
    if len(values) >= SMOOTH_FROM:
        axes.plot(steps, values, color=colour, alpha=0.22, linewidth=0.8)
        steps, values = steps, running_mean(values, len(values) // 20)
    mark = "o" if len(values) < SMOOTH_FROM else None
    axes.plot(steps, values, label=name, color=colour, linestyle=dashes, linewidth=1.8, marker=mark, markersize=3)


def running_mean(values: Floats, reach: int) -> Floats:
    """Mean of the finite values up to ``reach`` positions before and after each; NaN where there is none."""
    finite = np.isfinite(values)
    window = np.ones(2 * reach + 1)
    total = np.convolve(np.where(finite, values, 0.0), window, mode="same")[: len(values)]
    count = np.convolve(finite.astype(float), window, mode="same")[: len(values)]
    mean: Floats = np.full(len(values), np.nan)
    np.divide(total, count, out=mean, where=count > 0.5)
    return mean
