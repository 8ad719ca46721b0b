"""One scene before and after an object was moved, and the change in expected search time."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from vision_suite.viz.scanpath.panels import sheet
from vision_suite.viz.scanpath.stage import MODEL, Backdrop, Gaze, background, draw_path


@dataclass(frozen=True)
class Search:
    """Duration of the search for a target in a scene, over sampled paths.

    Attributes:
        backdrop: The scene, with its targets.
        gaze: Path to draw, such as that of the likeliest steps.
        steps: Mean number of fixations until the first on a target.
        error: Standard error of the mean.
        found: Share of the paths that find a target.
    """

    backdrop: Backdrop
    gaze: Gaze
    steps: float
    error: float
    found: float


def counterfactual_picture(
    before: Search, after: Search, *, title: str, error: float | None = None, note: str = "", longest: int = 15
) -> Image.Image:
    """Two scenes side by side with a path each, and the change in expected search time as the heading.

    Args:
        before: Search in the scene as it is.
        after: Search in the changed scene.
        title: Description of the change.
        error: Standard error of the change over pairs of paths, as `vision_suite.models.oat.search_change` gives it;
            None takes the two means as independent, which is too large for paths that drew the same random numbers.
        note: Line below.
        longest: Largest number of fixations drawn of a path.

    Returns:
        An RGB image.
    """
    panels = []
    for name, search in (("before", before), ("after", after)):
        over = background(search.backdrop)
        draw_path(over, search.backdrop, search.gaze, longest)
        text = f"{name}: target found after {search.steps:.2f} ± {search.error:.2f} fixations, in {search.found:.0%}"
        panels.append((text, MODEL, over))
    change = after.steps - before.steps
    error = (before.error**2 + after.error**2) ** 0.5 if error is None else error
    heading = f"{title}: expected search time {change:+.2f} ± {error:.2f} fixations"
    return sheet(panels, title=heading, note=note, columns=2)
