"""Camera and view embedding: what a re-ID network may know about a picture beside its pixels."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from vision_suite.errors import ConfigError

SideInformation = Literal["none", "camera", "view", "camera+view"]


class SideEmbedding(nn.Module):
    """Camera and view embedding added to all tokens (TransReID, He et al., ICCV 2021, section 3.3)."""

    def __init__(self, kind: SideInformation, num_cameras: int, num_views: int, width: int, scale: float) -> None:
        super().__init__()
        self.kind, self.scale, self.num_cameras, self.num_views = kind, scale, num_cameras, num_views
        for name, used, count in (("camera", "camera" in kind, num_cameras), ("view", "view" in kind, num_views)):
            if used and count < 1:
                raise ConfigError(f"side.information={kind!r} needs num_{name}s of at least 1, got {count}")
        size = (num_cameras if "camera" in kind else 1) * (num_views if "view" in kind else 1)
        self.table = None if kind == "none" else nn.Parameter(torch.zeros(size, 1, width))
        if self.table is not None:
            nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, x: Tensor, camera: Tensor | None, view: Tensor | None) -> Tensor:
        """Add the embedding to tokens (B, N, C); camera and view (B,) int64, -1 or beyond the table if unknown.

        Raises:
            ConfigError: The data has no cameras or views at all, in training.
        """
        if self.table is None:
            return x
        row = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        known = torch.ones(len(x), dtype=torch.bool, device=x.device)
        for name, number, count in (("camera", camera, self.num_cameras), ("view", view, self.num_views)):
            if name not in self.kind:
                continue
            if number is None:
                if self.training:
                    raise ConfigError(
                        f"side.information={self.kind!r} needs each picture's {name}: the data gives none"
                    )
                number = torch.full_like(row, -1)
            known = known & (number >= 0) & (number < count)
            row = row * count + number
        # Pictures of an unknown camera or view, as in prediction, take the average embedding.
        rows = torch.cat([self.table, self.table.mean(0, keepdim=True)])
        return x + self.scale * rows[torch.where(known, row, len(self.table))]
