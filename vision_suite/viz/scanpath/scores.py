"""Pictures of scanpath scores: speed of search, the five behaviours, and a film of step probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from vision_suite.types.arrays import Floats
from vision_suite.viz import canvas
from vision_suite.viz.scanpath.panels import sheet
from vision_suite.viz.scanpath.stage import HUMAN, MODEL, TARGET, Backdrop, Gaze, background, draw_path

COLOURS = {"model": MODEL, "human": HUMAN}
NAMES = {"human": "people", "mode": "greedy", "next_object": "next object"}
FILM, FILM_LIMIT = 6, (440, 360)


def hit_curves(curves: Mapping[str, Floats], *, title: str) -> Image.Image:
    """Share of paths that have hit the target, over fixations, with a band for its interval.

    Args:
        curves: (3, K) share and the ends of its interval of ``model`` and ``human``, NaN for none.
        title: Heading.
    """
    from matplotlib.ticker import MaxNLocator

    figure, (axes,) = canvas.new_figure(7.2, 4.4)
    longest = max(2, *(curve.shape[1] for curve in curves.values()))
    for name, curve in curves.items():
        # Half a fixation more, so that the last step shows.
        share, low, high = np.concatenate([curve, curve[:, -1:]], axis=1)
        fixations = np.append(np.arange(1, len(share)), len(share) - 0.5)
        axes.fill_between(fixations, 100 * low, 100 * high, step="post", color=COLOURS[name], alpha=0.16, linewidth=0)
        style = "-" if name == "model" else "--"
        label = f"{NAMES.get(name, name)}, {100 * share[-1]:.0f}% by fixation {curve.shape[1]}"
        axes.step(fixations, 100 * share, where="post", color=COLOURS[name], linestyle=style, linewidth=2, label=label)
    axes.set_ylim(0, 103)
    axes.set_xlim(1, longest + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("fixation (the first one counts)")
    axes.set_ylabel("target has been fixated, % of paths")
    axes.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2, frameon=False)
    axes.set_title("band: 95% bootstrap interval over stimuli", loc="left", fontsize=9, color="#6c757d")
    figure.suptitle(canvas.printable(title), x=0.01, ha="left", fontsize=12, fontweight="bold")
    return canvas.rendered(figure)


def behaviour_bars(behaviours: Mapping[str, Mapping[str, float]], *, title: str) -> Image.Image:
    """Bars of the five behaviours of OAT's delta: four shares in percent, and beside them the number of fixations.

    Args:
        behaviours: Behaviours by name of each predictor, observers first, ``length`` among them.
        title: Heading.
    """
    figure, (left, right) = canvas.new_figure(9.6, 4.2, 2)
    shares = [name for name in next(iter(behaviours.values())) if name != "length"]
    width = 0.8 / len(behaviours)
    greys = iter(("#868e96", "#adb5bd", "#ced4da", "#dee2e6"))
    for index, (name, values) in enumerate(behaviours.items()):
        colour = COLOURS[name] if name in COLOURS else next(greys)
        ticks = np.arange(len(shares)) + (index - (len(behaviours) - 1) / 2) * width
        heights = [100 * values[share] for share in shares]
        left.bar(ticks, heights, 0.92 * width, color=colour, label=NAMES.get(name, name))
        right.bar(index, values["length"], 0.7, color=colour)
        for axes, x, value in [
            *((left, x, v) for x, v in zip(ticks, heights, strict=True)),
            (right, index, values["length"]),
        ]:
            text = f"{value:.0f}" if axes is left else f"{value:.1f}"
            axes.annotate(text, (x, value), (0, 2), textcoords="offset points", ha="center", fontsize=7)
    left.set_xticks(range(len(shares)), shares)
    left.set_ylim(0, 108)
    left.set_ylabel("%")
    left.set_title("correct: % of paths; others: % of fixations", loc="left", fontsize=9, color="#6c757d")
    left.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3, frameon=False)
    right.set_xticks(range(len(behaviours)), [NAMES.get(name, name) for name in behaviours], rotation=20, fontsize=8)
    right.set_ylim(0, 1.15 * max(values["length"] for values in behaviours.values()))
    right.set_title("length, fixations", loc="left", fontsize=9, color="#6c757d")
    figure.suptitle(canvas.printable(title), x=0.01, ha="left", fontsize=12, fontweight="bold")
    return canvas.rendered(figure)


def film(
    backdrop: Backdrop, probabilities: Floats, xy: Floats, *, title: str, first: int = 0, truth: Sequence[int] = ()
) -> Image.Image:
    """Film of the first predicted fixations: objects tinted by probability, the observer's path, and the next object.

    Args:
        backdrop: The scene.
        probabilities: (T, N + 2) probability of each object, the background and the end before each fixation.
        xy: (T, 2) pixels of the observer's fixations.
        title: Heading.
        first: Index of the first fixation to show.
        truth: (T,) columns of the observer's fixations.

    Returns:
        An RGB image of up to six panels.
    """
    panels = []
    for step in range(first, min(len(xy), first + FILM)):
        small = replace(backdrop, targets=tuple(truth[step : step + 1]), limit=FILM_LIMIT)
        shares = probabilities[step]
        over = background(small, shares[: len(backdrop.boxes)])
        start = max(0, step - 3)
        so_far = Gaze(xy[start:step], "", HUMAN, start=start)
        draw_path(over, small, so_far, longest=step)
        chance = f": p = {shares[truth[step]]:.2g}" if len(truth) > step else ""
        panels.append((f"fixation {step + 1}{chance}", TARGET, over))
    note = "tint: model's probability of the next fixation, relative to the likeliest; green: the observer's fixation"
    return sheet(panels, title=title, note=note, columns=min(3, len(panels)))
