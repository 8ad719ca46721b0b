"""Pictures of detection scores: precision over overlap, kinds of errors, and lengths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from vision_suite.types.arrays import Floats
from vision_suite.types.tad import ErrorAnalysis
from vision_suite.viz import canvas

KIND_COLOURS = ("#009E73", "#E69F00", "#CC79A7", "#0072B2", "#56B4E9", "#adb5bd")
CLASSES_DRAWN = 20


def tiou_curves(tiou: Floats, ap: Floats, classes: Sequence[str], *, title: str) -> Image.Image:
    """Draw mean average precision over the tIoU threshold above a faint line for each class, and each class's mean.

    Args:
        tiou: (t,) thresholds.
        ap: (t, K) average precision, fractions of one.
        classes: K names.
        title: Heading.

    Returns:
        An RGB image; of more than 20 classes the best and the worst ten have bars.
    """
    figure, (left, right) = canvas.new_figure(11, 4.4, 2)
    mean = 100 * ap.mean(axis=1)
    for column in range(ap.shape[1]):
        left.plot(tiou, 100 * ap[:, column], color="#ced4da", linewidth=0.9, zorder=1)
    left.plot(tiou, mean, color=canvas.CURVES[0], marker="o", markersize=4, linewidth=2.2, zorder=2)
    for position in sorted({0, len(tiou) // 2, len(tiou) - 1}):
        left.annotate(
            f"{mean[position]:.1f}", (tiou[position], mean[position]), (0, 7), textcoords="offset points", ha="center"
        )
    left.set_xlabel("tIoU threshold")
    left.set_ylabel("average precision, %")
    left.set_ylim(0, 112)
    left.set_title(f"Mean over {ap.shape[1]} classes (blue): {mean.mean():.1f}", loc="left", fontsize=11)
    each = 100 * ap.mean(axis=0)
    order = np.argsort(each, kind="stable")
    if len(order) > CLASSES_DRAWN:
        order = np.concatenate([order[: CLASSES_DRAWN // 2], order[-CLASSES_DRAWN // 2 :]])
    right.barh(range(len(order)), each[order], color=canvas.CURVES[0], height=0.7)
    right.set_yticks(range(len(order)), [canvas.printable(classes[n])[:28] for n in order], fontsize=8)
    right.set_xlim(0, 105)
    right.set_xlabel("average precision, mean over thresholds, %")
    for position, number in enumerate(order):
        right.annotate(
            f"{each[number]:.1f}", (each[number], position), (4, 0), textcoords="offset points", va="center", fontsize=8
        )
    figure.suptitle(canvas.printable(title), x=0.01, ha="left", fontsize=13, fontweight="bold")
    return canvas.rendered(figure)


def error_analysis(errors: ErrorAnalysis, *, title: str) -> Image.Image:
    """Draw kinds of predictions among the best of each class, and the missed annotations by length.

    Args:
        errors: Result of `vision_suite.metrics.tad.errors.analyse_errors`.
        title: Heading.
    """
    figure, (left, right) = canvas.new_figure(11, 4.2, 2)
    profile = 100 * np.asarray(errors["profile"])
    bottom = np.zeros(len(profile))
    multiples = np.arange(1, len(profile) + 1)
    for number, kind in enumerate(errors["kinds"]):
        left.bar(multiples, profile[:, number], bottom=bottom, color=KIND_COLOURS[number], label=kind, width=0.86)
        bottom += profile[:, number]
    left.set_xticks(multiples, [f"{n}G" for n in multiples])
    left.set_xlabel("best predictions of each class (G: number of its annotations)")
    left.set_ylabel("share, %")
    left.set_ylim(0, 100)
    left.set_title(f"What predictions are, tIoU {errors['tiou']:g}", loc="left", fontsize=11)
    left.legend(fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)
    bins = {name: entry for name, entry in errors["length"].items() if entry["annotations"]}
    ticks = np.arange(len(bins))
    missed = [100 * entry["missed"] for entry in bins.values()]
    found = [100 * entry["mAP"] for entry in bins.values()]
    right.bar(ticks - 0.2, missed, 0.38, color=canvas.CURVES[1], label="annotations missed")
    right.bar(ticks + 0.2, found, 0.38, color=canvas.CURVES[0], label="mAP on these annotations")
    for x, value in [*zip(ticks - 0.2, missed, strict=True), *zip(ticks + 0.2, found, strict=True)]:
        right.annotate(f"{value:.0f}", (x, value), (0, 3), textcoords="offset points", ha="center", fontsize=8)
    names = [f"{name}\n{_span(entry['bounds'])}\nn={entry['annotations']}" for name, entry in bins.items()]
    right.set_xticks(ticks, names, fontsize=8)
    right.set_ylim(0, 110)
    right.set_ylabel("%")
    right.set_title("By length of the action", loc="left", fontsize=11)
    right.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2, frameon=False)
    figure.suptitle(canvas.printable(title), x=0.01, ha="left", fontsize=13, fontweight="bold")
    return canvas.rendered(figure)


def _span(bounds: Sequence[float]) -> str:
    low, high = bounds
    return f"above {low:.2g}" if not np.isfinite(high) else f"{low:.2g} to {high:.2g}"
