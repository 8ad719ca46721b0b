"""Reward margins of pairs: how many are in the right order, and whether length explains it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from vision_suite.types.arrays import Floats
from vision_suite.viz import canvas


def bin_edges(margins: Floats, count: int = 40) -> Floats:
    """Edges of about `count` bins of one width, with 0 among them, so that no bin holds both orders of a pair.

    Example:
        >>> bin_edges(np.array([-1.0, 2.0]), 3).tolist()
        [-1.0, 0.0, 1.0, 2.0]
    """
    low, high = min(float(margins.min()), 0.0), max(float(margins.max()), 0.0)
    width = (high - low) / count or 1.0
    edges: Floats = width * np.arange(np.floor(low / width), max(np.ceil(high / width), 1) + 1)
    return edges


def margin_picture(margins: Floats, gaps: Floats, *, title: str) -> Image.Image:
    """Draw the distribution of reward margins, and each margin beside the difference of the pair's lengths.

    Args:
        margins: (N,) reward of the preferred continuation less that of the rejected one.
        gaps: (N,) ids of the preferred continuation less those of the rejected one.
        title: Heading.

    Returns:
        An RGB image. A line is fitted where both numbers vary.
    """
    figure, (left, right) = canvas.new_figure(11, 4.2, 2)
    right_order = margins > 0
    left.hist(
        [margins[right_order], margins[~right_order]],
        bins=list(bin_edges(margins)),
        stacked=True,
        color=[canvas.CURVES[2], canvas.CURVES[1]],
        label=[
            f"{words} ({100 * share.mean():.1f} %)"
            for words, share in (("right order", right_order), ("wrong, or no margin", ~right_order))
        ],
    )
    left.axvline(0, color="#212529", linewidth=1)
    left.set_xlabel("reward margin, nats")
    left.set_ylabel("pairs")
    left.set_title(f"{len(margins):,} pairs, mean {margins.mean():.2f}", loc="left", fontsize=11)
    left.legend(fontsize=9, frameon=False)
    right.scatter(gaps, margins, s=7, alpha=0.35, color=canvas.CURVES[0], linewidths=0)
    right.axhline(0, color="#212529", linewidth=1)
    words = "not defined"
    if np.ptp(gaps) > 0 and np.ptp(margins) > 0:
        slope, start = np.polyfit(gaps, margins, 1)
        ends = np.array([gaps.min(), gaps.max()])
        right.plot(ends, start + slope * ends, color=canvas.CURVES[1], linewidth=2)
        words = f"{np.corrcoef(gaps, margins)[0, 1]:.2f}"
    right.set_xlabel("difference of lengths, ids (preferred less rejected)")
    right.set_ylabel("reward margin, nats")
    right.set_title(f"Correlation with length {words}", loc="left", fontsize=11)
    figure.suptitle(canvas.printable(title), x=0.01, ha="left", fontsize=13, fontweight="bold")
    return canvas.rendered(figure)
