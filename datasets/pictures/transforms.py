"""Random changes of training pictures and the fixed preparation for evaluation, on whole batches.

Resizing happens once per picture when it is read (`images.resize`); everything here works on the resized uint8 batch.
Random numbers come from the generator that is passed in, never from the global one, so a batch depends only on its
position in the training run: a resumed run sees the same pixels with any number of workers.

The default `Augment` is the order and the numbers of TransReID (He et al., ICCV 2021), which DCAL follows for re-ID:
resize, horizontal flip, pad 10, random crop, normalise, random erasing (Zhong et al., AAAI 2020) with noise per pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from vision_suite.errors import ConfigError

ERASE_AREA = (0.02, 1 / 3)  # share of the picture, timm's defaults
ERASE_ASPECT = (0.3, 1 / 0.3)
ERASE_ATTEMPTS = 10


@dataclass(frozen=True)
class Augment:
    """Random changes of training pictures, drawn for each picture on its own.

    Attributes:
        hflip: Probability of a horizontal flip; set 0 where mirrored pictures are other classes (arrows, text).
        pad: Black border in pixels on every side before the random crop.
        erase: Probability of replacing one random box with Gaussian noise.
        scale: Smallest and largest zoom factor.
        rotation: Largest rotation in radians, either way.
        shift: Largest shift as a share of the side, either way.
        fill: Grey value 0..255 where a zoomed, turned or shifted picture doesn't cover the frame.
        colour: Strength of random changes of colour: standard deviation of the mixing of the channels.
    """

    hflip: float = 0.5
    pad: int = 10
    erase: float = 0.5
    scale: tuple[float, float] = (1.0, 1.0)
    rotation: float = 0.0
    shift: float = 0.0
    fill: int = 255
    colour: float = 0.0

    def __post_init__(self) -> None:
        for name in ("hflip", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"augment.{name}={getattr(self, name)} is not a probability: use 0 to 1")
        if self.pad < 0 or self.rotation < 0 or self.shift < 0:
            raise ConfigError(f"augment.pad={self.pad}, rotation={self.rotation}, shift={self.shift}: use 0 or more")
        if not 0 <= self.colour <= 1:
            raise ConfigError(f"augment.colour={self.colour} is no strength: use 0 to 1")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ConfigError(
                f"augment.scale={list(self.scale)}: give the smallest, then the largest zoom, both above 0"
            )
        if not 0 <= self.fill <= 255:
            raise ConfigError(f"augment.fill={self.fill} is not a grey value: use 0 to 255")

    @property
    def affine(self) -> bool:
        """True if zoom, rotation or shift is used."""
        return self.scale != (1.0, 1.0) or self.rotation > 0 or self.shift > 0


TRANSREID = Augment()
CROP_AND_FLIP = Augment(pad=0, erase=0.0)
LIGHT = Augment(hflip=0.0, pad=0, erase=0.0, scale=(0.85, 1.15), rotation=0.125, shift=0.125)


@dataclass(frozen=True)
class Prepare:
    """Preparation of resized uint8 pictures as network input.

    Attributes:
        size: Height and width of the network's input; larger pictures are cropped to it.
        mean: Mean per channel, of values 0..1.
        std: Standard deviation per channel.
        augment: Random changes, or None for evaluation (centre crop only).
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    augment: Augment | None

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """Prepare a batch.

        Args:
            images: (B, 3, H0, W0) uint8.
            generator: Source of randomness; not touched without `augment`.

        Returns:
            (B, 3, H, W) float32, normalised.
        """
        augment = self.augment
        if augment is None:
            return self._normalise(center_crop(images, self.size).float(), 0.0)
        images = flip(images, augment.hflip, generator)
        pixels = pad_and_crop(images, augment.pad, self.size, generator).float()
        pixels = recolour(pixels, augment.colour, generator)
        fill = 0.0
        if augment.affine:
            # Outside the picture grid_sample gives zeros: of the difference to the fill value, that is the fill value.
            fill = float(augment.fill)
            pixels = affine(pixels.sub_(fill), augment, generator)
        return erase(self._normalise(pixels, fill), augment.erase, generator)

    def _normalise(self, pixels: Tensor, offset: float) -> Tensor:
        """``((pixels + offset) / 255 - mean) / std`` in one pass."""
        std = torch.tensor(self.std).view(1, 3, 1, 1)
        mean = torch.tensor(self.mean).view(1, 3, 1, 1)
        return torch.addcmul((offset / 255 - mean) / std, pixels, 1 / (255 * std))


def center_crop(images: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle ``size`` (h, w) of (B, 3, H0, W0); the extra row or column goes to the bottom and right."""
    top, left = (images.shape[-2] - size[0]) // 2, (images.shape[-1] - size[1]) // 2
    return images[..., top : top + size[0], left : left + size[1]]


def flip(images: Tensor, probability: float, generator: Generator) -> Tensor:
    """Mirror a random part of (B, 3, H, W) left to right; each picture with the given probability."""
    if probability == 0:
        return images
    chosen = torch.rand(len(images), generator=generator) < probability
    return torch.where(chosen.view(-1, 1, 1, 1), images.flip(-1), images)


def pad_and_crop(images: Tensor, pad: int, size: tuple[int, int], generator: Generator) -> Tensor:
    """Put a black border round (B, 3, H0, W0) and cut ``size`` (h, w) out at a random position, per picture."""
    if pad:
        images = F.pad(images, (pad, pad, pad, pad))
    rows, columns = images.shape[-2] - size[0], images.shape[-1] - size[1]
    if rows == 0 and columns == 0:
        return images
    tops = torch.randint(rows + 1, (len(images),), generator=generator).tolist()
    lefts = torch.randint(columns + 1, (len(images),), generator=generator).tolist()
    return torch.stack(
        [
            image[:, top : top + size[0], left : left + size[1]]
            for image, top, left in zip(images, tops, lefts, strict=True)
        ]
    )


def recolour(pixels: Tensor, strength: float, generator: Generator) -> Tensor:
    """Change the colours of each picture of (B, 3, H, W) float, 0..255, by its own random amounts about middle grey.

    The channels are mixed by the unit matrix plus normal numbers of this standard deviation, the contrast changes by up
    to twice the strength, and the brightness by up to two thirds of it.
    """
    if strength == 0:
        return pixels
    count = len(pixels)
    mix = torch.eye(3) + strength * torch.randn(count, 3, 3, generator=generator)
    contrast, brightness = 2 * torch.rand(2, count, 1, 1, generator=generator) - 1
    mixed = torch.bmm(mix * (1 + 2 * strength * contrast), pixels.flatten(2) - 127.5)
    changed: Tensor = mixed + 255 * (0.5 + strength * 2 / 3 * brightness)
    return changed.view_as(pixels)


def affine(pixels: Tensor, augment: Augment, generator: Generator) -> Tensor:
    """Zoom, turn and shift each picture of (B, 3, H, W) float by its own random amounts (bilinear, zero outside)."""
    count, _, height, width = pixels.shape
    draws = torch.rand(4, count, generator=generator)
    low, high = augment.scale
    scale = low + (high - low) * draws[0]
    angle = (2 * draws[1] - 1) * augment.rotation
    shift_x, shift_y = (2 * draws[2:] - 1) * augment.shift
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    # Output to input, in the units of affine_grid (-1..1 per side): a turn on a non-square picture needs the aspect.
    aspect = height / width
    x_row = torch.stack([cos, sin * aspect, -2 * (cos * shift_x + sin * aspect * shift_y)], dim=1)
    y_row = torch.stack([-sin / aspect, cos, -2 * (-sin / aspect * shift_x + cos * shift_y)], dim=1)
    grid = F.affine_grid(torch.stack([x_row, y_row], dim=1), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", align_corners=False)


def erase(pixels: Tensor, probability: float, generator: Generator) -> Tensor:
    """Replace one random box with standard normal noise, in each picture of (B, 3, H, W) with the given probability.

    Area, aspect ratio, and up to ten attempts at a box smaller than the picture as in timm's `RandomErasing`.
    """
    if probability == 0:
        return pixels
    count, channels, height, width = pixels.shape
    chosen = torch.rand(count, generator=generator) < probability
    area = torch.empty(count, ERASE_ATTEMPTS).uniform_(*ERASE_AREA, generator=generator) * height * width
    aspect = torch.empty(count, ERASE_ATTEMPTS).uniform_(*map(math.log, ERASE_ASPECT), generator=generator).exp()
    box_h, box_w = (area * aspect).sqrt().round().int(), (area / aspect).sqrt().round().int()
    fits = (box_h < height) & (box_w < width)
    offset = torch.rand(count, 2, generator=generator)
    for row in torch.nonzero(chosen & fits.any(dim=1)).flatten().tolist():
        attempt = int(fits[row].int().argmax())
        h, w = int(box_h[row, attempt]), int(box_w[row, attempt])
        top = int(offset[row, 0] * (height - h + 1))
        left = int(offset[row, 1] * (width - w + 1))
        pixels[row, :, top : top + h, left : left + w] = torch.randn(channels, h, w, generator=generator)
    return pixels
