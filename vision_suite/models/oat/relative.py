"""Where an object stands from the last fixation, as a learned addition to the pointer's logits.

Not in OAT (Fang et al., ECCV 2024), whose position codes enter by way of the tokens: similarity there is additive over
rows and columns, and how far the eyes move must be learned anew for every place. Here a small network sees the two
displacements together, so few paths suffice.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vision_suite.models.oat.positions import PositionCode
from vision_suite.models.oat.scene import SceneEmbedding, SceneTokens
from vision_suite.types import ScanpathBatch

FAR = 4.0  # pitches, about the largest usual movement: brings displacements to order 1
NEAR = 0.5  # pitches, standard deviation of the bump that tells an object from its neighbour


class Places(NamedTuple):
    """Where the rows of scenes stand.

    Attributes:
        rows: (B, S + 1, 4) row and column in pitches, log height and width over the scene's median; the last entry is
            the start of gaze, where background and end stand too.
        objects: (B, S) bool, rows with a place of their own.
    """

    rows: Tensor
    objects: Tensor

    @classmethod
    def of(cls, batch: ScanpathBatch, tokens: SceneTokens) -> Places:
        """Places of encoded scenes."""
        place, start, size = SceneEmbedding.coordinates(batch, PositionCode.reach)
        count = place.shape[1]
        own = torch.cat([place, size], dim=-1)
        at_start = torch.cat([start, torch.zeros_like(start)], dim=-1)[:, None]
        extra = tokens.rows.shape[1] - count
        rows = torch.cat([own, at_start.expand(-1, extra + 1, -1)], dim=1)
        number = torch.arange(tokens.rows.shape[1], device=rows.device)
        return cls(rows, tokens.usable & (number < count))

    def select(self, scenes: Tensor) -> Places:
        """Some scenes, (B',) int64."""
        return Places(self.rows[scenes], self.objects[scenes])


class RelativeBias(nn.Module):
    """Logits of objects by their displacement from the last fixation: an MLP that starts at 0, like OAT.

    It reads the displacement in rows and columns on three scales (proportional, logarithmic with its sign, and a bump
    at the last fixation) and the sizes of both objects. Background and end get 0.

    Args:
        hidden: Width of its two hidden layers.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(10, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, 1)
        )

    def forward(self, places: Places, last: Tensor) -> Tensor:
        """What to add to logits.

        Args:
            places: Of B scenes.
            last: (B, T) int64 row of the last fixation, S at the start of a path.

        Returns:
            (B, T, S).
        """
        count = places.objects.shape[1]
        origin = places.rows.gather(1, last[..., None].expand(-1, -1, 4))[:, :, None]
        rows = places.rows[:, None, :count]
        by = rows[..., :2] - origin[..., :2]
        near = torch.exp(-(by**2) / (2 * NEAR**2))
        sizes = [part[..., 2:].expand_as(by) for part in (rows, origin)]
        seen = torch.cat([by / FAR, by.sign() * by.abs().log1p(), near, *sizes], dim=-1)
        found: Tensor = self.net(seen)[..., 0].masked_fill(~places.objects[:, None], 0.0)
        return found
