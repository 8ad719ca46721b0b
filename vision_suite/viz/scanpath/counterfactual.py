"""One scene before and after an object was moved, and what that does to the expected search time."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from vision_suite.viz.scanpath.panels import sheet
from vision_suite.viz.scanpath.stage import MODEL, Gaze, Stage, background, draw_path


@dataclass(frozen=True)
class Search:
    """How long a target is searched for in a scene, over sampled paths.

    Attributes:
        stage: The scene, with its targets. gaze: A path to draw, such as that of the likeliest steps.
        steps: Mean fixations until the first on a target. error: Its standard error.
        found: Share of the paths that find a target.
    """

    stage: Stage
    gaze: Gaze
    steps: float
    error: float
    found: float


def counterfactual_picture(
    before: Search, after: Search, *, title: str, note: str = "", longest: int = 15
) -> Image.Image:
    """The two scenes side by side with a path each, and the change in expected search time as the heading.

    The error of the change takes the two means as independent; drawn from one seed they are not, and it is smaller.

    Args:
        before: As it is.
        after: As it would be.
        title: What was moved.
        note: Line below.
        longest: Fixations drawn of each path.

    Returns:
        An RGB image.
    """
    panels = []
    for name, search in (("before", before), ("after", after)):
        over = background(search.stage)
        draw_path(over, search.stage, search.gaze, longest)
        said = f"{name}: target found after {search.steps:.2f} ± {search.error:.2f} fixations, in {search.found:.0%}"
        panels.append((said, MODEL, over))
    change, error = after.steps - before.steps, (before.error**2 + after.error**2) ** 0.5
    heading = f"{title}: expected search time {change:+.2f} ± {error:.2f} fixations"
    return sheet(panels, title=heading, note=note, columns=2)
