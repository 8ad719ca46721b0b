"""Picture of two detectors' agreement on the objects that sentences name."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from vision_suite.viz import canvas

OUTCOMES = ("present", "abstains", "absent")
# Both present, both absent, and what is uncertain.
COLOURS = {(0, 0): "#009E73", (2, 2): "#D55E00"}
UNCERTAIN = "#adb5bd"
NAME = 34  # characters of a detector's name


def agreement_picture(
    counts: Sequence[Sequence[int]], names: tuple[str, str], kappa: float, *, title: str
) -> Image.Image:
    """Draw how often two detectors agree, each cell as dark as its share.

    Args:
        counts: (3, 3) objects by the first detector's outcome (rows) and the second one's: present, abstains, absent.
        names: Names of the detectors.
        kappa: Cohen's kappa of those objects on which neither abstains; NaN where it is undefined.
        title: Heading.

    Returns:
        An RGB image.
    """
    from matplotlib.patches import Rectangle

    table = np.asarray(counts, dtype=np.int64)
    total = max(int(table.sum()), 1)
    figure, (axes,) = canvas.new_figure(6.4, 5.2)
    axes.grid(False)
    for row, column in np.ndindex(3, 3):
        share = table[row, column] / total
        colour = COLOURS.get((row, column), UNCERTAIN)
        place, alpha = (column - 0.5, row - 0.5), 0.12 + 0.88 * share
        axes.add_patch(Rectangle(place, 1, 1, facecolor=colour, alpha=alpha, edgecolor="white", linewidth=2))
        text = f"{table[row, column]:,}\n{share:.1%}"
        axes.text(column, row, text, ha="center", va="center", fontsize=13, color="#212529")
    axes.set_xlim(-0.5, 2.5)
    axes.set_ylim(2.5, -0.5)
    axes.set_xticks(range(3), OUTCOMES)
    axes.set_yticks(range(3), OUTCOMES)
    axes.set_xlabel(_shortened(names[1]), fontsize=11)
    axes.set_ylabel(_shortened(names[0]), fontsize=11)
    agreed = f"kappa {kappa:.3f}" if math.isfinite(kappa) else "kappa undefined"
    uncertain = 1 - (table[0, 0] + table[2, 2]) / total
    facts = f"{int(table.sum()):,} objects, {agreed}, {uncertain:.1%} uncertain"
    axes.set_title(f"{_shortened(title)}\n{facts}", fontsize=11)
    return canvas.rendered(figure)


def _shortened(name: str) -> str:
    name = canvas.printable(name)
    return name if len(name) <= NAME else name[: NAME - 1] + canvas.ELLIPSIS
