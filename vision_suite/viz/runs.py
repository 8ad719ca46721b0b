"""Curves of metrics over several runs, as SVG that follows the light or dark scheme of the page that shows it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from io import StringIO
from typing import TYPE_CHECKING

import numpy as np

from vision_suite.types.arrays import Floats
from vision_suite.types.curves import Series
from vision_suite.viz import canvas
from vision_suite.viz.training import SMOOTH_FROM, running_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours by the scheme: those of the curves in the order of `canvas.CURVES`, brighter on a dark ground.
DARK = ("#4BA3E3", "#FF8A3D", "#2BC795", "#E59BC4", "#F0B429", "#9BDCFF", "#F1F3F5")
INK, RULE = "#6c757d", "#dee2e6"  # readable on both; the rule is faint on a dark ground
DARK_INK, DARK_RULE = "#adb5bd", "#343a40"
DASHES: tuple[tuple[float, ...], ...] = ((), (6, 3), (2, 2), (8, 2, 2, 2), (12, 4), (1, 3))
WIDTH, HEIGHT = 4.6, 2.9  # inches
MARGINS = {"left": 0.12, "right": 0.975, "bottom": 0.1, "top": 0.93}
BANDS = 6  # runs up to which the range of the values is shown behind the mean


def run_style(number: int) -> tuple[int, tuple[float, ...]]:
    """Index of the colour and dashes of a run, the same on the whole page; the first seven runs have plain lines.

    Args:
        number: Number of the run, from 1.
    """
    colours = len(canvas.CURVES)
    return (number - 1) % colours, DASHES[(number - 1) // colours % len(DASHES)]


def scheme_css(selector: str) -> str:
    """Style rules that define the colours ``--c0`` ... of the curves, ``--ink`` and ``--rule``, in both schemes.

    Args:
        selector: Element that the rules are for.
    """

    def rules(colours: tuple[str, ...], ink: str, rule: str) -> str:
        names = "".join(f"--c{index}:{colour};" for index, colour in enumerate(colours))
        return f"{selector}{{{names}--ink:{ink};--rule:{rule}}}"

    dark = rules(DARK, DARK_INK, DARK_RULE)
    return f"{rules(canvas.CURVES, INK, RULE)}@media (prefers-color-scheme:dark){{{dark}}}"


def run_curves(metrics: Iterable[Mapping[int, Series]], most: int = 200) -> list[str]:
    """Draw metrics of several runs, each in a picture of its own.

    Where a run has 40 and more points, running means over a tenth of the run are drawn; with up to six runs, a band
    behind each shows the smallest and the largest values of that tenth. Values that are not finite leave a gap.

    Args:
        metrics: Curves of each metric: steps (T,) and values (T,) by the number of the run, from 1.
        most: Largest number of points of a curve; longer ones are averaged in bins.

    Returns:
        SVG of each metric without title and legend; the same metrics give the same texts.
    """
    import matplotlib

    found = []
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "vision-suite", "lines.scale_dashes": False}):
        figure, axes = _new_figure()
        for curves in metrics:
            for artist in (*axes.lines, *axes.collections):
                artist.remove()
            axes.relim()
            smooth = max(len(steps) for steps, _ in curves.values()) >= SMOOTH_FROM
            for number, series in curves.items():
                _draw(axes, number, series, most, smooth=smooth, band=smooth and len(curves) <= BANDS)
            axes.autoscale()
            text = StringIO()
            figure.savefig(text, format="svg", metadata={"Date": None})
            found.append(_themed(text.getvalue()))
    return found


def _new_figure() -> tuple[Figure, Axes]:
    """The figure of all pictures and its axes: ticks cost more time than curves, so they are made once."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    # Fixed margins take half the time of fitted ones, and all pictures of a page look alike.
    figure, (axes,) = canvas.new_figure(WIDTH, HEIGHT, layout="none")
    figure.subplots_adjust(**MARGINS)
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.spines[["bottom", "left"]].set_color(INK)
    axes.tick_params(color=INK, labelcolor=INK)
    axes.ticklabel_format(axis="y", scilimits=(-3, 4), useOffset=False)
    axes.yaxis.get_offset_text().set(color=INK, fontsize=9)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    return figure, axes


def _draw(axes: Axes, number: int, series: Series, most: int, *, smooth: bool, band: bool) -> None:
    """Draw the curve of one run."""
    index, dashes = run_style(number)
    colour = canvas.CURVES[index]
    steps, mean, low, high = binned(series, most)
    reach = len(mean) // 20
    if band:
        lowest, highest = running_extreme(np.fmin, low, reach), running_extreme(np.fmax, high, reach)
        axes.fill_between(steps, lowest, highest, color=colour, alpha=0.14, linewidth=0)
    if smooth:
        mean = running_mean(mean, reach)
    style, mark = (0, dashes) if dashes else "-", None if smooth and len(mean) > 1 else "o"
    axes.plot(steps, mean, color=colour, linestyle=style, linewidth=1.7, marker=mark, markersize=3.2)


def binned(series: Series, most: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Steps, means, smallest and largest values of a curve in at most ``most`` bins of equally many points.

    Values that are not finite count for nothing; a bin without any other is NaN.

    Args:
        series: Steps (T,) and values (T,).
        most: Largest number of bins.
    """
    steps, values = (np.asarray(part, dtype=np.float64) for part in series)
    starts = np.unique(np.linspace(0, len(values), min(most, len(values)), endpoint=False).astype(np.int64))
    finite = np.isfinite(values)
    count = np.add.reduceat(finite.astype(np.float64), starts)
    sizes = np.diff([*starts, len(values)])

    def reduced(ufunc: np.ufunc, filling: float) -> Floats:
        found: Floats = ufunc.reduceat(np.where(finite, values, filling), starts)
        return np.where(count > 0, found, np.nan)

    with np.errstate(over="ignore", invalid="ignore"):
        mean = reduced(np.add, 0.0) / np.maximum(count, 1.0)
    centre = np.add.reduceat(steps, starts) / sizes
    return centre, mean, reduced(np.minimum, np.inf), reduced(np.maximum, -np.inf)


def running_extreme(ufunc: np.ufunc, values: Floats, reach: int) -> Floats:
    """Smallest (``np.fmin``) or largest (``np.fmax``) value up to ``reach`` positions before and after each.

    Args:
        ufunc: ``np.fmin`` or ``np.fmax``, which pass over NaN.
        values: Values (T,).
        reach: Number of positions.
    """
    padded = np.pad(values, reach, constant_values=np.nan)
    found: Floats = ufunc.reduce(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1), axis=-1)
    return found


def _themed(svg: str) -> str:
    """SVG of matplotlib without its declarations, with short numbers, and with colours that follow the scheme."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'"[^"]*"', lambda attribute: re.sub(r"(\d\.\d\d)\d+", r"\1", attribute[0]), svg)
    names = {colour.lower(): f"c{index}" for index, colour in enumerate(canvas.CURVES)} | {INK: "ink", RULE: "rule"}
    for colour, name in names.items():
        svg = re.sub(rf"(stroke|fill): {colour}\b", rf"\1: var(--{name})", svg)
    return svg.replace("</defs>", f"<style>{scheme_css('svg')}text{{font-family:sans-serif}}</style></defs>", 1)
