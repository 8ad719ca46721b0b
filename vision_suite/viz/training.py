"""Curves of a training run: losses, learnt branch weights, validation scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from vision_suite.types.arrays import Floats
from vision_suite.viz import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Series = tuple[Floats, Floats]

SCORES = ("mAP", "rank1", "top1", "top5", "average_mAP", "AUC")
SMOOTH_FROM = 40
ORDER = ("", "sa", "glca", "pwca")


@dataclass(frozen=True)
class _Panel:
    """One set of axes: its heading, the unit, and the curves by the name in its key."""

    heading: str
    unit: str
    curves: dict[str, Series]


def training_curves(log: Mapping[str, Series], *, title: str = "") -> Image.Image:
    """Draw the log of a run, side by side: losses, branch weights (uncertainty weighting), validation scores.

    Curves of 40 and more points are drawn faint under their running mean.

    Args:
        log: Steps (T,) and values (T,) by metric key (``train/loss_sa``, ``train/weight_sa``, ``val/mAP``,
            ``val/sa/mAP`` ...); other keys are left out. Values that are not finite leave a gap.
        title: Heading.

    Returns:
        An RGB image with one panel per kind of curve that the log holds.

    Raises:
        ValueError: The log holds none of these curves.
    """
    from matplotlib.ticker import MaxNLocator

    panels = [panel for panel in _panels(log) if panel.curves]
    if not panels:
        raise ValueError("the log holds no loss, no branch weight and no validation score")
    figure, row = canvas.new_figure(4.9 * len(panels), 3.8, len(panels))
    for axes, panel in zip(row, panels, strict=True):
        for number, (name, series) in enumerate(panel.curves.items()):
            _draw(axes, name, series, number)
        axes.set_title(panel.heading, loc="left", fontsize=11, fontweight="bold")
        axes.set_xlabel("step")
        axes.set_ylabel(panel.unit)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.legend(frameon=True, framealpha=0.9, edgecolor="#dee2e6", fontsize=9)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    return canvas.rendered(figure)


def _panels(log: Mapping[str, Series]) -> list[_Panel]:
    """Sort the keys of a log into panels."""
    losses, weights, scores = {}, {}, {}
    for key in sorted(log, key=_position):
        series = log[key]
        stage, _, name = key.partition("/")
        branch, _, score = name.rpartition("/")
        if stage == "train" and (name == "loss" or name.startswith("loss_")):
            losses["total" if name == "loss" else name.removeprefix("loss_").upper()] = series
        elif stage == "train" and name.startswith("weight_"):
            weights[name.removeprefix("weight_").upper()] = series
        elif stage == "val" and score in SCORES:
            scores[f"{branch.upper() or 'fused'} {score}"] = (series[0], 100 * series[1])
    return [
        _Panel("Training loss", "loss", losses),
        _Panel("Branch weights", "factor on the branch's loss", weights),
        _Panel("Validation", "%", scores),
    ]


def _position(key: str) -> tuple[int, str]:
    """Sorts fused values before branches, and branches in the order in which the network has them."""
    name = key.partition("/")[2]
    branch = name.rpartition("_")[2] if key.startswith("train/") else name.rpartition("/")[0]
    branch = "" if name == "loss" else branch
    return (ORDER.index(branch) if branch in ORDER else len(ORDER), key)


def _draw(axes: Axes, name: str, series: Series, number: int) -> None:
    """Draw one curve."""
    steps, values = series
    colour = canvas.CURVES[number % len(canvas.CURVES)]
    dashes = canvas.DASHES[number % len(canvas.DASHES)]
    if len(values) >= SMOOTH_FROM:
        axes.plot(steps, values, color=colour, alpha=0.22, linewidth=0.8)
        steps, values = steps, _running_mean(values, len(values) // 20)
    mark = "o" if len(values) < SMOOTH_FROM else None
    axes.plot(steps, values, label=name, color=colour, linestyle=dashes, linewidth=1.8, marker=mark, markersize=3)


def _running_mean(values: Floats, reach: int) -> Floats:
    """Mean of the finite values up to ``reach`` positions before and after each; NaN where there is none."""
    finite = np.isfinite(values)
    window = np.ones(2 * reach + 1)
    total = np.convolve(np.where(finite, values, 0.0), window, mode="same")[: len(values)]
    count = np.convolve(finite.astype(float), window, mode="same")[: len(values)]
    mean: Floats = np.full(len(values), np.nan)
    np.divide(total, count, out=mean, where=count > 0.5)
    return mean
