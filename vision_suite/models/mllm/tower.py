"""Vision towers: networks of timm, open_clip or this suite that turn a picture into tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vision_suite.errors import ConfigError, check_literals

Pool = Literal["all", "grid2", "grid4"]
CELLS: dict[Pool, int] = {"grid2": 2, "grid4": 4}


@dataclass(frozen=True)
class TowerConfig:
    """Settings of a vision tower.

    Attributes:
        kind: ``conv`` (the suite's own small tower, 64 pixels), ``presence`` (features of a small detector), ``timm``,
            ``open_clip``, ``dcal`` (backbone of a DCAL checkpoint) or ``centernet``.
        name: Name of the timm or open_clip network; of centernet, ``trunk`` or ``neck``.
        checkpoint: File of weights: of a run of this suite (conv, presence, dcal), in timm's names (timm); of open_clip
            a file or a tag of its weights; of centernet the prepared set's name or folder. Empty for random weights,
            or centernet's own.
        pretrained: Load timm's own weights.
        layer: -1 for the last layer with its norm, -2 for the one before it without (LLaVA, Wings).
        pool: ``all`` tokens of the grid; ``grid2``: their mean and those of its 2 x 2 cells, 5 tokens, which conv
            always has unless it is ``grid4``: the same with 4 x 4 cells, 17 tokens.
        image_size: Height and width in pixels; None for the network's own.
        structure: Network in plain containers, as a checkpoint records it: nothing is read from files then, and the
            weights are those of the checkpoint. Not for configurations.
    """

    kind: Literal["conv", "presence", "timm", "open_clip", "dcal", "centernet"] = "conv"
    name: str = ""
    checkpoint: str = ""
    pretrained: bool = False
    layer: Literal[-1, -2] = -1
    pool: Pool = "all"
    image_size: tuple[int, int] | None = None
    structure: dict[str, Any] | None = None


class Tower(nn.Module):
    """Picture (N, 3, H, W) to tokens (N, T, W).

    Args:
        network: Network whose result for a picture is (N, T, W) without prefix tokens, or a map (N, W, h, w).
        image_size: Height and width in pixels.
        mean: Mean of each colour channel that pictures are normalised with.
        std: Standard deviation of each colour channel.
        pool: Pooling, as in `TowerConfig`.
        config: Settings that `build_tower` made it of; None for a tower made by hand.

    Attributes:
        width: Width W of a token.
        tokens: Tokens T of one picture.
        image_size: Height and width in pixels.
        mean: Mean of each colour channel that pictures are normalised with.
        std: Standard deviation of each colour channel.
        structure: Plain containers of which `build_tower` makes the network again without its files.
    """

    def __init__(
        self,
        network: nn.Module,
        image_size: tuple[int, int],
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        pool: Pool = "all",
        config: TowerConfig | None = None,
    ) -> None:
        super().__init__()
        self.network, self.config = network, config
        self.structure: dict[str, Any] = {}
        self.image_size, self.mean, self.std, self.pool = image_size, mean, std, pool
        was_training = network.training
        network.eval()
        with torch.no_grad():
            self.tokens, self.width = self(torch.zeros(1, 3, *image_size)).shape[1:]
        network.train(was_training)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W), normalised, to (N, T, W)."""
        features: Tensor = self.network(image)
        if features.ndim == 4:
            features = features.flatten(2).transpose(1, 2)
        return features if self.pool == "all" else mean_and_cells(features, CELLS[self.pool])


def mean_and_cells(features: Tensor, cells: int) -> Tensor:
    """Mean of all tokens and of the cells of their square grid: (N, T, W) to (N, 1 + cells * cells, W)."""
    side = math.isqrt(features.shape[1])
    if side * side != features.shape[1] or side < cells:
        raise ConfigError(
            f"tower.pool='grid{cells}' needs a square grid of {cells} or more a side, not {features.shape[1]} tokens: "
            "use pool='all'"
        )
    grid = features.transpose(1, 2).reshape(len(features), -1, side, side)
    means = nn.functional.adaptive_avg_pool2d(grid, cells).flatten(2).transpose(1, 2)
    return torch.cat([features.mean(1, keepdim=True), means], 1)


def build_tower(config: TowerConfig) -> Tower:
    """Build the tower of a configuration.

    Args:
        config: Settings.

    Raises:
        ConfigError: The network is unknown, or has no such layer.
        CheckpointError: The checkpoint does not fit.
        MissingDependencyError: open_clip is not installed.
    """
    from vision_suite.models.mllm.trunks import BUILDERS

    check_literals(config, "tower")
    trunk = BUILDERS[config.kind](config)
    # Some libraries tell the colours only with the weights.
    mean, std = (tuple((config.structure or {}).get(name, getattr(trunk, name))) for name in ("mean", "std"))
    pool: Pool = "all" if config.kind == "conv" else config.pool  # it pools by itself
    tower = Tower(trunk.network, trunk.image_size, mean, std, pool, config)
    tower.structure = {**trunk.structure, "mean": list(mean), "std": list(std)}
    return tower


def has_random_weights(tower: Tower) -> bool:
    """Tell whether the settings of a tower name no weights, so that it starts at random ones."""
    config = tower.config
    return config is not None and config.kind != "centernet" and not (config.checkpoint or config.pretrained)
