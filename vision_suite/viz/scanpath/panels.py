"""Pictures of scanpaths: an observer beside the model, and heat maps of fixations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from vision_suite.errors import ConfigError
from vision_suite.types.arrays import Floats
from vision_suite.viz import canvas
from vision_suite.viz.scanpath.stage import Backdrop, Gaze, background, beyond_the_edge, draw_path

GAP, HEADING = 16, 34


def scanpath_picture(
    backdrop: Backdrop,
    paths: Sequence[Gaze],
    *,
    title: str,
    probabilities: Floats | None = None,
    longest: int = 15,
    note: str = "",
) -> Image.Image:
    """Paths side by side over one scene, such as an observer's and the model's.

    Args:
        backdrop: The scene.
        paths: Paths, one in each panel.
        title: Heading.
        probabilities: (N,) by which objects are tinted, such as the model's for the next fixation; None for no tint.
        longest: Largest number of fixations drawn of a path; a panel's heading tells if some are left out.
        note: Line below the panels.

    Returns:
        An RGB image.
    """
    panels = []
    for gaze in paths:
        over = background(backdrop, probabilities)
        draw_path(over, backdrop, gaze, longest)
        shown = min(len(gaze.xy), longest)
        cut = f": first {shown} of {len(gaze.xy)} fixations" if shown < len(gaze.xy) else f": {shown} fixations"
        panels.append((gaze.name + cut + beyond_the_edge(backdrop, gaze.xy[:shown]), gaze.colour, over))
    return sheet(panels, title=title, note=note, columns=len(panels))


def heat_maps(
    backdrop: Backdrop, fixations: Sequence[tuple[str, str, Floats]], *, title: str, sigma: float | None = None
) -> Image.Image:
    """Heat maps of fixations, a Gaussian on each, side by side over one scene.

    Args:
        backdrop: The scene.
        fixations: Name, colour of the name, and (n, 2) pixels of each panel.
        title: Heading.
        sigma: Standard deviation of the Gaussian in scene pixels; by default a thirtieth of the scene's width, about 1
            degree on a screen that spans 30.

    Returns:
        An RGB image; each map is scaled to its own maximum.

    Raises:
        ConfigError: ``sigma`` is out of range.
    """
    width = usual_sigma(backdrop) if sigma is None else sigma
    if not 0 < width < math.inf:
        raise ConfigError(f"sigma={sigma} must be a number of pixels above 0")
    panels = []
    for name, colour, xy in fixations:
        count = f"{len(xy)} fixations" + beyond_the_edge(backdrop, xy)
        panels.append((f"{name}: {count}", colour, heat_panel(backdrop, xy, width)))
    return sheet(panels, title=title, note=f"Gaussian of {width:.0f} pixels; each map scaled to its own maximum",
                 columns=len(panels))  # fmt: skip


def gaussian_map(xy: Floats, shape: tuple[int, int], sigma: float) -> Floats:
    """(height, width) sum of Gaussians at points, at most 1; zero without points.

    Args:
        xy: (n, 2) pixels of the map.
        shape: Width, height.
        sigma: Standard deviation in pixels.
    """
    width, height = shape
    # A Gaussian is a product over the axes, so that no map per point is made.
    across = np.exp(-((np.arange(width) + 0.5 - xy[:, :1]) ** 2) / (2 * sigma**2))
    down = np.exp(-((np.arange(height) + 0.5 - xy[:, 1:2]) ** 2) / (2 * sigma**2))
    density: Floats = down.T @ across
    peak = density.max(initial=0.0)
    return density / peak if peak > 0 else density


def sheet(
    panels: Sequence[tuple[str, str, Image.Image]], *, title: str, note: str = "", columns: int = 2
) -> Image.Image:
    """Panels of one size in rows below a heading, each with its name above it.

    Args:
        panels: Name, colour of a mark before it, and picture of each panel.
        title: Heading.
        note: Line below.
        columns: Number of panels in a row.
    """
    width, height = panels[0][2].size
    rows = -(-len(panels) // columns)
    heading = canvas.wrap_text(title, canvas.font(18, bold=True), columns * (width + GAP) - GAP, 2)
    top = GAP + 26 * len(heading)
    below = GAP + 20 if note else GAP
    size = (GAP + columns * (width + GAP), top + rows * (height + HEADING) + below)
    out = Image.new("RGB", size, canvas.PAPER)
    draw = ImageDraw.Draw(out)
    for row, line in enumerate(heading):
        draw.text((GAP, GAP // 2 + 26 * row), line, fill=canvas.INK, font=canvas.font(18, bold=True))
    for index, (name, colour, picture) in enumerate(panels):
        x, y = GAP + index % columns * (width + GAP), top + index // columns * (height + HEADING)
        draw.ellipse((x, y + 10, x + 11, y + 21), fill=colour)
        draw.text((x + 18, y + 6), canvas.fit_text(name, canvas.font(15), width - 18), canvas.INK, canvas.font(15))
        out.paste(picture, (x, y + HEADING - 4))
        draw.rectangle((x - 1, y + HEADING - 5, x + width, y + HEADING - 4 + height), outline=canvas.RULE)
    if note:
        text = canvas.fit_text(note, canvas.font(13), size[0] - 2 * GAP)
        draw.text((GAP, size[1] - GAP - 16), text, fill=canvas.FAINT, font=canvas.font(13))
    return out


def heat_panel(backdrop: Backdrop, xy: Floats, sigma: float) -> Image.Image:
    """The scene with a Gaussian of ``sigma`` scene pixels on each of (n, 2) points, clear where there are none."""
    from matplotlib import colormaps

    density = gaussian_map(backdrop.to_panel(xy), backdrop.shape, sigma * backdrop.scale)
    colours = (255 * np.asarray(colormaps["inferno"](density))[..., :3]).astype(np.uint8)
    opacity = Image.fromarray((255 * np.clip(density * 1.6, 0, 0.8)).astype(np.uint8))
    return Image.composite(Image.fromarray(colours), background(backdrop), opacity)


def usual_sigma(backdrop: Backdrop) -> float:
    """A thirtieth of the scene's width in pixels, about 1 degree on a screen that spans 30."""
    return backdrop.size[0] / 30
