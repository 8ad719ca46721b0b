"""Presence of named objects by local evidence: a small convolutional network whose cells see parts of the picture."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vision_suite.errors import ConfigError, check_number

STRIDE = 8
PRIOR = 0.02  # probability of a name in a cell before training


class PresenceFeatures(nn.Module):
    """Features of cells of 8 x 8 pixels; a cell sees 55 x 55 pixels, mostly their middle.

    Attributes:
        feature_dim: Channels of a cell's feature.
    """

    def __init__(self, width: int = 96) -> None:
        """Build the layers.

        Args:
            width: Channels of a cell's feature, a multiple of 4.

        Raises:
            ConfigError: The width is out of range.
        """
        super().__init__()
        check_number("width", width, low=4, whole=True)
        if width % 4:
            raise ConfigError(f"width={width} must be a multiple of 4")
        self.feature_dim = width
        self.stem = nn.Sequential(
            _convolution(3, width // 4, stride=2),
            _convolution(width // 4, width // 2, stride=2),
            _convolution(width // 2, width // 2),
            _convolution(width // 2, width, stride=2),
        )
        self.blocks = nn.ModuleList(_convolution(width, width) for _ in range(2))

    def features(self, image: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) to features of cells (B, width, ceil(H / 8), ceil(W / 8))."""
        cells: Tensor = self.stem(image.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            cells = cells + block(cells)
        return cells

    def forward(self, image: Tensor) -> Tensor:
        """As `features`."""
        return self.features(image)


class PresenceNet(PresenceFeatures):
    """Scores of names in every cell; a name is present as far as it is in its best cell.

    The picture's score is that of one cell (multiple-instance learning, Oquab et al., CVPR 2015). A detector must not
    learn which objects occur together: it would see the one where the other is, as the captions that it checks do.
    """

    def __init__(self, num_classes: int, width: int = 96) -> None:
        """Build the layers.

        Args:
            num_classes: Number of names K.
            width: Channels of a cell's feature, a multiple of 4.

        Raises:
            ConfigError: A size is out of range.
        """
        check_number("num_classes", num_classes, low=1, whole=True)
        super().__init__(width)
        self.head = nn.Conv2d(width, num_classes, 1)
        with torch.no_grad():
            self.head.get_parameter("bias").fill_(-math.log((1 - PRIOR) / PRIOR))

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K) of the names' presence in pictures (B, 3, H, W)."""
        return self.pooled(self.features(image))

    def pooled(self, features: Tensor) -> Tensor:
        """Logits (B, K) of features of cells (B, width, h, w): each name's score in its best cell."""
        scores: Tensor = self.head(features)
        return scores.flatten(2).amax(dim=2)


def _convolution(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    """A convolution of 3 x 3 with batch normalisation."""
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())
