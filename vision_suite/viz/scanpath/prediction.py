"""Prediction of a model for one picture: its likeliest scanpath, one drawn at random, and a heat map of all."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from vision_suite.types.arrays import Floats
from vision_suite.viz.scanpath.panels import heat_panel, sheet, usual_sigma
from vision_suite.viz.scanpath.stage import MODEL, Backdrop, Gaze, background, beyond_the_edge, draw_path


def prediction_picture(
    backdrop: Backdrop, paths: Sequence[Gaze], fixations: Floats, *, title: str, note: str = "", longest: int = 15
) -> Image.Image:
    """Numbered fixations of each path, and beside them the heat map of all predicted fixations.

    Args:
        backdrop: The scene.
        paths: Paths, one in each panel.
        fixations: (n, 2) scene pixels of all sampled paths.
        title: Heading.
        note: Line below the panels.
        longest: Largest number of fixations drawn of a path; a panel's heading tells the number of all.

    Returns:
        An RGB image.
    """
    panels = []
    for gaze in paths:
        over = background(backdrop)
        draw_path(over, backdrop, gaze, longest)
        count = _fixations(len(gaze.xy))
        if len(gaze.xy) > longest:
            count = f"first {longest} of {count}"
        count += beyond_the_edge(backdrop, gaze.xy[:longest])
        panels.append((f"{gaze.name}: {count}", gaze.colour, over))
    heat = heat_panel(backdrop, fixations, usual_sigma(backdrop))
    panels.append((f"all samples: {_fixations(len(fixations))}", MODEL, heat))
    return sheet(panels, title=title, note=note, columns=len(panels))


def _fixations(count: int) -> str:
    return f"{count} fixation" + ("" if count == 1 else "s")
