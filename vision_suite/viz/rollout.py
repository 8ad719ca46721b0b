"""Attention rollout over a picture: the patches that the class token's weight comes from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from vision_suite.types.arrays import Floats
from vision_suite.viz import canvas

STRENGTH = 0.8
LIFT = 0.75


def normalised(weights: npt.NDArray[np.floating]) -> Floats:
    """``weights`` scaled to 0..1 between the lowest and the highest, to the power of three quarters.

    The order stays, so the brightest patch has the largest weight; the power lifts the middle, which a single large
    weight would otherwise darken. A constant map becomes zeros.

    Raises:
        ValueError: The map is not two-dimensional, is empty, or holds a value that is not finite.
    """
    values = np.asarray(weights, dtype=np.float64)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"a rollout map has two dimensions, not shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("the rollout map holds a value that is not finite")
    low, high = values.min(), values.max()
    # A uniform map differs by rounding alone; stretching that to full contrast would draw a pattern that is not there.
    if high - low <= 1e-6 * max(abs(high), abs(low)):
        return np.zeros_like(values)
    scaled: Floats = ((values - low) / (high - low)) ** LIFT
    return scaled


def overlay(picture: Image.Image, weights: npt.NDArray[np.floating]) -> Image.Image:
    """The picture, greyed, under a heat map of its patches' weights.

    Args:
        picture: Input of the network; any size.
        weights: (h, w) weight of each patch, rows from the top; the grid need not be square.

    Returns:
        An RGB image of the picture's size. Low weight leaves the grey picture, high weight covers it in yellow
        (colour map "inferno": brightness rises with the weight, so it reads in grey print too).
    """
    import matplotlib

    heat = Image.fromarray(normalised(weights).astype(np.float32)).resize(picture.size, Image.Resampling.BICUBIC)
    strength = np.clip(np.asarray(heat), 0.0, 1.0)
    colour = matplotlib.colormaps["inferno"](strength)[..., :3]
    grey = np.asarray(picture.convert("L"), dtype=np.float64)[..., None] / 255.0
    cover = STRENGTH * strength[..., None] ** 0.6
    mixed = (1.0 - cover) * grey + cover * colour
    return Image.fromarray(np.rint(255 * mixed).astype(np.uint8))


def rollout_panel(
    picture: Image.Image, weights: npt.NDArray[np.floating], *, caption: str = "", longest: int = 448
) -> Image.Image:
    """The picture and its heat map side by side, with a caption and a colour bar.

    Args:
        picture: Input of the network; drawn whole, with its longer side ``longest`` pixels.
        weights: (h, w) weight of each patch.
        caption: Line above the pictures, for instance the file name; cut in the middle where it is too long.
        longest: Longer side of each half, in pixels.

    Returns:
        An RGB image.
    """
    scale = longest / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    original = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    margin, gap, bar, text = 16, 14, 14, 13
    face = canvas.font(text)
    top = margin + (text + 10 if caption else 0)
    legend = round(max(face.getlength("more"), face.getlength("less")))
    width = 2 * margin + 2 * size[0] + 2 * gap + bar + 6 + legend
    sheet = Image.new("RGB", (width, top + size[1] + margin), canvas.PAPER)
    draw = ImageDraw.Draw(sheet)
    if caption:
        draw.text(
            (margin, margin - 2), canvas.fit_middle(caption, face, width - 2 * margin), font=face, fill=canvas.INK
        )
    sheet.paste(original, (margin, top))
    sheet.paste(overlay(original, weights), (margin + size[0] + gap, top))
    x = margin + 2 * size[0] + 2 * gap
    sheet.paste(_colour_bar(bar, size[1]), (x, top))
    draw.text((x + bar + 6, top), "more", font=face, fill=canvas.FAINT)
    draw.text((x + bar + 6, top + size[1]), "less", font=face, fill=canvas.FAINT, anchor="ls")
    return sheet


def _colour_bar(width: int, height: int) -> Image.Image:
    """The colour map from high (top) to low."""
    import matplotlib

    ramp = matplotlib.colormaps["inferno"](np.linspace(1.0, 0.0, height))[:, None, :3]
    return Image.fromarray(np.rint(255 * np.broadcast_to(ramp, (height, width, 3))).astype(np.uint8))
