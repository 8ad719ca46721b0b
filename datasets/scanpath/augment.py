"""Changes to training scenes that keep the path: scenes moved as a whole, and objects that hide their vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vision_suite.errors import ConfigError


@dataclass(frozen=True)
class SceneAugment:
    """Changes to training scenes; a network that saw few scenes would otherwise know each position by heart.

    Attributes:
        shift: Object pitches by which a scene is moved at most, down and right apart; whole pitches on grids would
            leave the grid, so only for objects that stand freely.
        hide: Share of the objects whose vector becomes zeros.
    """

    shift: float = 0.0
    hide: float = 0.0

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        if not 0 <= self.shift < math.inf or not 0 <= self.hide <= 1:
            raise ConfigError(f"shift={self.shift}, hide={self.hide}: use 0 or more, and a share from 0 to 1")

    @property
    def active(self) -> bool:
        """True if anything changes."""
        return self.shift > 0 or self.hide > 0

    def apply(self, batch: dict[str, Tensor], seed: Sequence[int]) -> dict[str, Tensor]:
        """A changed copy of a `vision_suite.types.ScanpathBatch`.

        Args:
            batch: Batch of B trials.
            seed: Numbers that alone decide the changes.
        """
        rng, changed = np.random.default_rng(list(seed)), dict(batch)
        rows = len(batch["index"])
        moved = torch.from_numpy(rng.uniform(-self.shift, self.shift, (rows, 2))).float()
        changed["position"] = batch["position"] + moved[:, None]
        changed["start"] = batch["start"] + moved
        if self.hide > 0:
            shown = torch.from_numpy(rng.random(batch["present"].shape) >= self.hide)
            changed["features"] = batch["features"] * shown[..., None]
        return changed
