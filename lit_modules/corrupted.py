"""Pictures that show too little, under which a preferred answer should become unlikely (mDPO)."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from vision_suite.errors import ConfigError
from vision_suite.types.preference import PreferenceBatch

LARGEST = 0.2  # share of the area that is kept at most (Wang et al., 2024, section 3.2)
SMALLEST = 0.01


def with_corrupted_pictures(batch: PreferenceBatch) -> PreferenceBatch:
    """The preferred continuations alone, behind pictures of which a random piece is shown.

    Args:
        batch: Beginnings with ``image`` and their continuations.

    Raises:
        ConfigError: The batch brings the tower's tokens in place of pictures, or has none.
    """
    entries = cast("dict[str, Tensor]", batch)
    if not len(entries.get("image", ())):
        raise ConfigError("loss.kind=mdpo corrupts pictures, and the data give none, or stored features: use sigmoid")
    names = ("branch_ids", "branch_mask", "branch_weights")
    first = {name: entries[name][:, :1] for name in names if name in entries}
    return cast("PreferenceBatch", {**entries, **first, "image": random_pieces(entries["image"])})


def random_pieces(image: Tensor) -> Tensor:
    """A piece of each picture (N, 3, H, W), of 1 to 20 % of its area and its shape, enlarged to the whole."""
    height, width = image.shape[2:]
    sides = torch.sqrt(SMALLEST + (LARGEST - SMALLEST) * torch.rand(len(image)))
    pieces = []
    for each, side, place in zip(image, sides.tolist(), torch.rand(len(image), 2).tolist(), strict=True):
        # Rounded down, so that the piece stays below the largest share.
        tall, wide = max(int(side * height), 1), max(int(side * width), 1)
        top, left = round(place[0] * (height - tall)), round(place[1] * (width - wide))
        piece = each[None, :, top : top + tall, left : left + wide]
        pieces.append(F.interpolate(piece, (height, width), mode="bilinear", align_corners=False))
    return torch.cat(pieces)
