"""Pictures of the presence of names: ROC curve, reliability, and the average precision of each name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from vision_suite.types.arrays import Floats
from vision_suite.viz import canvas

NAMES_DRAWN = 20


def presence_curves(
    fpr: Floats, tpr: Floats, point: tuple[float, float], reliability: Floats, *, label: str, title: str
) -> Image.Image:
    """Draw the ROC curve with the threshold marked, and beside it how often names of a score are present.

    Args:
        fpr: (T,) false positive rates, ascending.
        tpr: (T,) true positive rates.
        point: False and true positive rate at the threshold.
        reliability: (N, 3) mean score, share present and number of each bin.
        label: Words about the threshold.
        title: Heading.

    Returns:
        An RGB image, 1760 x 736.
    """
    figure, (left, right) = canvas.new_figure(11, 4.6, 2)
    left.plot(100 * fpr, 100 * tpr, color=canvas.CURVES[0], linewidth=2.2)
    left.plot([0, 100], [0, 100], color="#adb5bd", linestyle=":", linewidth=1)
    left.plot(
        100 * point[0], 100 * point[1], "o", color=canvas.CURVES[1], markersize=9, clip_on=False, zorder=4, label=label
    )
    left.legend(loc="lower right", frameon=True, framealpha=0.95, edgecolor="#dee2e6", fontsize=9)
    left.set_xlabel("absent names called present, FPR (%)")
    left.set_ylabel("present names found, TPR (%)")
    right.plot([0, 100], [0, 100], color="#adb5bd", linestyle=":", linewidth=1)
    right.plot(
        100 * reliability[:, 0], 100 * reliability[:, 1], color=canvas.CURVES[0], marker="o", markersize=5, linewidth=2
    )
    for score, share, number in reliability:
        right.annotate(
            f"{int(number):,}", (100 * score, 100 * share), (5, -11), textcoords="offset points", fontsize=7.5,
            color="#6c757d",
        )  # fmt: skip
    right.set_xlabel("score (%)")
    right.set_ylabel("names of this score that are present (%)")
    right.set_title("Reliability; numbers of pairs", loc="left", fontsize=11)
    for axes in (left, right):
        axes.set_xlim(-1, 101)
        axes.set_ylim(-1, 101)
    figure.suptitle(canvas.printable(title), x=0.01, ha="left", fontsize=13, fontweight="bold")
    return canvas.rendered(figure)


def name_bars(average_precision: Floats, names: Sequence[str], *, title: str) -> Image.Image:
    """Draw the average precision of each name, of many the worst and the best ones.

    Args:
        average_precision: (K,) fractions of one; names without any (NaN) are left out.
        names: K names.
        title: Heading.

    Returns:
        An RGB image; its height depends on the number of names.
    """
    shown = np.flatnonzero(np.isfinite(average_precision))
    order = shown[np.argsort(average_precision[shown], kind="stable")]
    if len(order) > NAMES_DRAWN:
        order = np.concatenate([order[: NAMES_DRAWN // 2], order[-NAMES_DRAWN // 2 :]])
    figure, (axes,) = canvas.new_figure(7, 1.2 + 0.26 * len(order))
    values = 100 * average_precision[order]
    axes.barh(range(len(order)), values, color=canvas.CURVES[0], height=0.7)
    axes.set_yticks(range(len(order)), [canvas.printable(names[number])[:28] for number in order], fontsize=8)
    for position, value in enumerate(values):
        axes.annotate(f"{value:.1f}", (value, position), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_xlim(0, 108)
    axes.set_xlabel(f"average precision, %; {len(order)} of {len(names)} names")
    axes.set_title(canvas.printable(title), loc="left", fontsize=12, fontweight="bold")
    return canvas.rendered(figure)
