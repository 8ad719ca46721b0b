"""Object distributions as densities over pixels, comparable with models that predict pixels.

``p(x, y | t) = sum_o p(o | t) N(centre_o + offset * size_o, (scale * size_o)^2)`` with the background spread evenly
over the picture. Every component is cut at the picture's edge and brought to mass 1: a proper density.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vision_suite.errors import ConfigError, DataError


@dataclass(frozen=True)
class Spread:
    """Positions of fixations in a box, in shares of the box's width and height.

    Attributes:
        offset: Mean distance of a fixation from the centre, x and y.
        scale: Standard deviation, x and y.
    """

    offset: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (0.25, 0.25)

    def __post_init__(self) -> None:
        """Refuse numbers that make no distribution."""
        if len(self.scale) != 2 or not all(0 < value < float("inf") for value in self.scale):
            raise ConfigError(f"spread.scale={self.scale} must be two finite numbers above 0")
        if len(self.offset) != 2 or not all(abs(value) < float("inf") for value in self.offset):
            raise ConfigError(f"spread.offset={self.offset} must be two finite numbers")


def fit_spread(xy: Tensor, boxes: Tensor, sequence: Tensor) -> Spread:
    """The likeliest spread of recorded fixations in their boxes, edges of the picture left out of account.

    Args:
        xy: (B, L, 2) pixels; NaN counts as unknown.
        boxes: (B, N, 4) pixels.
        sequence: (B, L) int64 objects; negative ones do not count.

    Raises:
        DataError: Fewer than two fixations are known.
    """
    chosen = boxes.gather(1, sequence.clamp(min=0)[..., None].expand(-1, -1, 4))
    centre, size = _centres(chosen)
    share = (xy - centre) / size
    share = share[(sequence >= 0) & share.isfinite().all(dim=-1)].double()
    if len(share) < 2:
        raise DataError(f"{len(share)} fixations with known pixels on objects are too few for a spread: 2 or more")
    mean, scale = share.mean(dim=0).tolist(), share.std(dim=0, unbiased=False).clamp(min=1e-3).tolist()
    return Spread((mean[0], mean[1]), (scale[0], scale[1]))


def pixel_map(
    probability: Tensor, boxes: Tensor, image_size: Tensor, shape: tuple[int, int], *,
    spread: Spread | None = None, background: bool = False,
) -> Tensor:  # fmt: skip
    """Probability of each cell of a grid over the picture.

    Args:
        probability: (B, T, C) over objects, background where there is one, and the end, which is left out and the rest
            brought to sum 1: a map of where the next fixation falls, if there is one.
        boxes: (B, N, 4) pixels; boxes of padding may be anything finite.
        image_size: (B, 2) width, height in pixels.
        shape: Rows and columns of the grid; the picture's height and width for its own pixels.
        spread: Positions of fixations in a box.
        background: True if there is a background column.

    Returns:
        (B, T, rows, columns), sums of 1; NaN where the end has probability 1.

    Raises:
        ConfigError: The grid has no cell.
        DataError: A picture has no size, or the columns do not fit the boxes.
    """
    if min(shape) < 1:
        raise ConfigError(f"shape={tuple(shape)}: a grid has 1 row and 1 column or more")
    _check_size(image_size)
    weight, back = _shares(probability, boxes.shape[1], background)
    centre, scale = _components(boxes, spread or Spread())
    mass = []
    for axis, count in ((1, shape[0]), (0, shape[1])):
        edge = torch.linspace(0, 1, count + 1, device=boxes.device, dtype=weight.dtype) * image_size[:, axis, None]
        below = _below(edge[:, None], centre[..., axis, None], scale[..., axis, None])
        mass.append(below.diff(dim=-1) / (below[..., -1:] - below[..., :1]).clamp(min=1e-12))
    rows, columns = mass
    mixed = torch.einsum("btn,bnh,bnw->bthw", weight, rows, columns)
    return mixed + (back / (shape[0] * shape[1]))[..., None, None]


def pixel_log_density(
    probability: Tensor, xy: Tensor, boxes: Tensor, image_size: Tensor, *,
    spread: Spread | None = None, background: bool = False,
) -> Tensor:  # fmt: skip
    """Logarithm of the density at given points, in nats per square pixel.

    Args:
        probability: (B, T, C), as for `pixel_map`.
        xy: (B, T, 2) pixels; NaN gives NaN.
        boxes: (B, N, 4) pixels.
        image_size: (B, 2) width, height in pixels.
        spread: Positions of fixations in a box.
        background: True if there is a background column.

    Returns:
        (B, T); -inf outside the picture.

    Raises:
        DataError: A picture has no size, or the columns do not fit the boxes.
    """
    _check_size(image_size)
    weight, back = _shares(probability, boxes.shape[1], background)
    centre, scale = _components(boxes, spread or Spread())
    size = image_size.to(weight.dtype)
    inside = _below(size[:, None], centre, scale) - _below(torch.zeros_like(size)[:, None], centre, scale)
    z = (xy[:, :, None].to(weight.dtype) - centre[:, None]) / scale[:, None]
    normal = torch.exp(-0.5 * z.square()) / (scale * (2 * torch.pi) ** 0.5 * inside.clamp(min=1e-12))[:, None]
    density = (weight * normal.prod(dim=-1)).sum(dim=-1) + back / size.prod(dim=-1)[:, None]
    outside = ((xy < 0) | (xy > image_size[:, None])).any(dim=-1)
    return torch.where(outside, -torch.inf, density.log())


def _shares(probability: Tensor, count: int, background: bool) -> tuple[Tensor, Tensor]:
    """(B, T, N) of objects and (B, T) of the background, summing to 1."""
    if probability.shape[-1] != count + int(background) + 1:
        raise DataError(
            f"{probability.shape[-1]} columns do not fit {count} objects, {'a' if background else 'no'} background and "
            "the end"
        )
    wide = probability.double()
    wide = wide[..., :-1] / wide[..., :-1].sum(dim=-1, keepdim=True)
    return wide[..., :count], wide[..., count] if background else torch.zeros_like(wide[..., 0])


def _check_size(image_size: Tensor) -> None:
    if not bool(((image_size > 0) & image_size.isfinite()).all()):
        raise DataError(f"image_size={image_size.tolist()}: widths and heights in pixels are above 0")


def _centres(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Centres and sizes (..., 2); a side is at least a pixel."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]).clamp(min=1.0)


def _components(boxes: Tensor, spread: Spread) -> tuple[Tensor, Tensor]:
    centre, size = (values.double() for values in _centres(boxes))
    return centre + size * size.new_tensor(spread.offset), size * size.new_tensor(spread.scale)


def _below(value: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Normal distribution function."""
    out: Tensor = torch.special.ndtr((value - mean) / scale)
    return out
