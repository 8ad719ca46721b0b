"""A small convolutional tower, trained in minutes on a CPU: a picture becomes 5 tokens, or 17."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_suite.errors import ConfigError, check_number

STRIDE = 8


class ConvTower(nn.Module):
    """Three convolutions of stride 2 and two residual ones; tokens are the means of the map and of its cells.

    Attributes:
        width: Channels of a token.
        feature_dim: The same, under the name that networks of pictures have it.
        tokens: Tokens of one picture.
        image_size: (height, width) of its pictures in pixels.
        mean: Mean per channel that its pictures are shifted by, of values 0..1.
        std: Standard deviation per channel that they are divided by.
    """

    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)

    def __init__(self, width: int = 128, image_size: tuple[int, int] = (64, 64), cells: int = 2) -> None:
        """Build the layers.

        Args:
            width: Channels of a token, a multiple of 4.
            image_size: Height and width of its pictures in pixels, multiples of 8 times the cells.
            cells: Cells of the pooled grid along each side.

        Raises:
            ConfigError: A size does not fit.
        """
        super().__init__()
        check_number("width", width, low=4, whole=True)
        check_number("cells", cells, low=1, whole=True)
        self.image_size = (int(image_size[0]), int(image_size[1]))
        if width % 4 or any(side < 1 or side % (STRIDE * cells) for side in self.image_size):
            raise ConfigError(
                f"width={width} must be a multiple of 4, and image_size={list(image_size)} of {STRIDE * cells}"
            )
        self.cells, self.tokens = cells, 1 + cells * cells
        self.width = self.feature_dim = width
        self.stem = nn.Sequential(
            _convolution(3, width // 4, stride=2),
            _convolution(width // 4, width // 2, stride=2),
            _convolution(width // 2, width, stride=2),
        )
        self.blocks = nn.ModuleList(_convolution(width, width) for _ in range(2))

    def forward(self, image: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) to tokens (N, T, width): the whole picture, then its cells row by row."""
        grid = self.stem(image)
        for block in self.blocks:
            grid = grid + block(grid)
        cells = F.adaptive_avg_pool2d(grid, self.cells).flatten(2).transpose(1, 2)
        # The cells have one size, so the mean of their means is that of the map.
        return torch.cat([cells.mean(dim=1, keepdim=True), cells], dim=1)


class ComparedTower(nn.Module):
    """The tower behind which a norm without a shift makes features by which pictures are compared.

    Args:
        width: Channels of a token, a multiple of 4.
        image_size: Height and width of its pictures in pixels.
    """

    def __init__(self, width: int = 128, image_size: tuple[int, int] = (64, 64)) -> None:
        super().__init__()
        self.tower = ConvTower(width, image_size)
        self.neck = nn.BatchNorm1d(width)
        self.neck.bias.requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        """Features (B, width) of pictures (B, 3, H, W)."""
        feature: Tensor = self.neck(self.tower(image)[:, 0])
        return feature


def _convolution(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    """A convolution of 3 x 3 with batch normalisation."""
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())
