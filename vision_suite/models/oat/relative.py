"""Displacement of objects from the last few fixations, as a learned addition to the pointer's logits.

Not in OAT (Fang et al., ECCV 2024), whose position codes enter by way of the tokens: similarity there is additive over
rows and columns, and how far the eyes move must be learned anew for every position. Here a small network sees the
displacements themselves, so few paths suffice.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vision_suite.models.oat.positions import PositionCode
from vision_suite.models.oat.scene import SceneEmbedding, SceneTokens
from vision_suite.types import ScanpathBatch

FAR = 4.0  # pitches, about the largest usual movement: brings displacements to order 1
MEMORY = 3  # fixations: the way on, and the way back to where a detour began
EDGE = 2.0  # pitches over which nearness to an edge falls by e
NEAR = 0.5  # pitches, standard deviation of the bump that tells an object from its neighbour


class Places(NamedTuple):
    """Positions of the rows of scenes.

    Attributes:
        rows: (B, S + 1, 4) row and column in pitches, log height and width over the scene's median; the last entry is
            the start of gaze, where background and end stand too.
        objects: (B, S) bool, rows with a position of their own.
    """

    rows: Tensor
    objects: Tensor

    @classmethod
    def of(cls, batch: ScanpathBatch, tokens: SceneTokens) -> Places:
        """Positions of encoded scenes."""
        position, start, size = SceneEmbedding.coordinates(batch, PositionCode.reach)
        count = position.shape[1]
        own = torch.cat([position, size], dim=-1)
        at_start = torch.cat([start, torch.zeros_like(start)], dim=-1)[:, None]
        extra = tokens.rows.shape[1] - count
        rows = torch.cat([own, at_start.expand(-1, extra + 1, -1)], dim=1)
        number = torch.arange(tokens.rows.shape[1], device=rows.device)
        return cls(rows, tokens.usable & (number < count))

    def select(self, scenes: Tensor) -> Places:
        """Some scenes, (B',) int64."""
        return Places(self.rows[scenes], self.objects[scenes])


class RelativeBias(nn.Module):
    """Logits of objects by their displacement from the last fixations: an MLP whose output starts at 0, as in OAT.

    It reads the displacements in rows and columns on three scales (proportional, logarithmic with its sign, and a bump
    at the fixation), the sizes of the object and of the last one, and how near both are to the scene's edges.
    Background and end get 0.

    Args:
        hidden: Width of its two hidden layers.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(6 * MEMORY + 12, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, 1)
        )

    def forward(self, places: Places, recent: Tensor) -> Tensor:
        """Values to add to logits.

        Args:
            places: Positions of the rows of B scenes.
            recent: (B, T, MEMORY) int64 rows of the last fixations, the newest first, S for the start of a path and
                before it.

        Returns:
            (B, T, S).
        """
        count = places.objects.shape[1]
        around = torch.cat([places.rows, self._edges(places)], dim=-1)
        width = around.shape[-1]
        before = around.gather(1, recent.flatten(1)[..., None].expand(-1, -1, width))
        before = before.view(*recent.shape, width)[:, :, None]
        rows = around[:, None, :count]
        seen = []
        for number in range(MEMORY):
            by = rows[..., :2] - before[..., number, :2]
            near = torch.exp(-(by**2) / (2 * NEAR**2))
            seen += [by / FAR, by.sign() * by.abs().log1p(), near]
        steps = (len(recent), recent.shape[1], count, width - 2)
        seen += [part.expand(steps) for part in (rows[..., 2:], before[..., 0, 2:])]
        found: Tensor = self.net(torch.cat(seen, dim=-1))[..., 0].masked_fill(~places.objects[:, None], 0.0)
        return found

    def _edges(self, places: Places) -> Tensor:
        """(B, S + 1, 4) nearness, 1 at the edge, to the first and the last row and column of objects."""
        position = places.rows[..., :2]
        known = torch.nn.functional.pad(places.objects, (0, 1))[..., None]
        first = torch.where(known, position, torch.inf).amin(dim=1, keepdim=True)
        last = torch.where(known, position, -torch.inf).amax(dim=1, keepdim=True)
        inside = torch.cat([position - first, last - position], dim=-1)
        # What is beyond, such as padding, is at the edge.
        return torch.exp(-inside.clamp(min=0) / EDGE)
