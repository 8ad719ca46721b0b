"""What a model predicts for one picture: its likeliest scanpath, one drawn at random, and where all of them gather."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from vision_suite.viz.scanpath.panels import heat_panel, sheet, usual_sigma
from vision_suite.viz.scanpath.stage import MODEL, Floats, Gaze, Stage, background, draw_path


def prediction_picture(
    stage: Stage, paths: Sequence[Gaze], fixations: Floats, *, title: str, note: str = "", longest: int = 15
) -> Image.Image:
    """Numbered fixations of each path, and beside them the heat map of all predicted fixations.

    Args:
        stage: The scene.
        paths: One panel each.
        fixations: (n, 2) scene pixels of all sampled paths.
        title: Heading.
        note: Line below the panels.
        longest: Fixations drawn of each path; a panel's heading says how many there are.

    Returns:
        An RGB image.
    """
    panels = []
    for gaze in paths:
        over = background(stage)
        draw_path(over, stage, gaze, longest)
        said = _fixations(len(gaze.xy))
        if len(gaze.xy) > longest:
            said = f"first {longest} of {said}"
        panels.append((f"{gaze.name}: {said}", gaze.colour, over))
    heat = heat_panel(stage, fixations, usual_sigma(stage))
    panels.append((f"all samples: {_fixations(len(fixations))}", MODEL, heat))
    return sheet(panels, title=title, note=note, columns=len(panels))


def _fixations(count: int) -> str:
    return f"{count} fixation" + ("" if count == 1 else "s")
