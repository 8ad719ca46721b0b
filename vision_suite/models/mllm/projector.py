"""Projectors: from the tokens of a vision tower to the embeddings of a language model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vision_suite.errors import ConfigError, check_literals, check_number


@dataclass(frozen=True)
class ProjectorConfig:
    """Settings of a projector.

    Attributes:
        kind: ``linear``, ``mlp2x_gelu`` (two layers, LLaVA-1.5) or ``pixel_shuffle`` (a square of neighbouring tokens
            side by side, then two layers).
        shuffle: Side of that square; the number of tokens falls by its square.
        norm: Final layer norm that starts with the standard deviation of the word embeddings, for short runs.
    """

    kind: Literal["linear", "mlp2x_gelu", "pixel_shuffle"] = "mlp2x_gelu"
    shuffle: int = 2
    norm: bool = False


class Projector(nn.Module):
    """Tower tokens (N, T, W) to embeddings (N, T', d).

    Args:
        config: Settings.
        tower_width: Width W of the tower's tokens.
        width: Width d of the embeddings.
        tokens: Tokens T of one picture.
        embedding_std: Standard deviation of the word embeddings, with which ``norm`` starts.

    Attributes:
        config: Settings.
        tower_width: Width W of the tower's tokens.
        tower_tokens: Tokens T of one picture.
        tokens: Tokens T' of one picture after the projector.

    Raises:
        ConfigError: ``pixel_shuffle`` cannot cut the grid of the tower's tokens into squares.
    """

    def __init__(
        self, config: ProjectorConfig, tower_width: int, width: int, *, tokens: int, embedding_std: float = 0.02
    ) -> None:
        super().__init__()
        self.config, self.tower_width, self.tower_tokens = config, tower_width, tokens
        check_literals(config, "projector")
        check_number("projector.shuffle", config.shuffle, low=1, whole=True)
        self.shuffle = config.shuffle if config.kind == "pixel_shuffle" else 1
        side = math.isqrt(tokens)
        if self.shuffle > 1 and (side * side != tokens or side % self.shuffle):
            raise ConfigError(
                f"projector.shuffle={self.shuffle} cannot cut the {tokens} tokens of a picture into squares: use a "
                "tower with a square grid whose side it divides, or another kind of projector"
            )
        self.tokens = tokens // self.shuffle**2
        tower_width *= self.shuffle**2
        if config.kind == "linear":
            self.layers = nn.Sequential(nn.Linear(tower_width, width))
        else:
            self.layers = nn.Sequential(nn.Linear(tower_width, width), nn.GELU(), nn.Linear(width, width))
        if config.norm:
            norm = nn.LayerNorm(width)
            nn.init.constant_(norm.weight, embedding_std)
            self.layers.append(norm)

    def forward(self, features: Tensor) -> Tensor:
        """(N, T, W) to (N, T', d)."""
        if self.shuffle > 1:
            features = pixel_shuffle(features, self.shuffle)
        projected: Tensor = self.layers(features)
        return projected


def pixel_shuffle(features: Tensor, side: int) -> Tensor:
    """Join squares of neighbouring tokens: (N, T, W) to (N, T / side², W side²), the grid read row by row.

    Args:
        features: Tokens of a square grid.
        side: Side of the squares.

    >>> pixel_shuffle(torch.arange(16.0).view(1, 16, 1), 2)[0, 0].tolist()
    [0.0, 1.0, 4.0, 5.0]
    """
    number, tokens, width = features.shape
    blocks = math.isqrt(tokens) // side
    grid = features.view(number, blocks, side, blocks, side, width).transpose(2, 3)
    return grid.reshape(number, blocks * blocks, side * side * width)


def embedding_std(embedding: nn.Embedding) -> float:
    """Standard deviation of the words' embeddings, over all ids."""
    return float(embedding.weight.detach().to(torch.float32).std())
