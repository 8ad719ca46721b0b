"""One box for each object: boxes cut at the border, and of overlapping ones the best."""

from __future__ import annotations

import torch
from torch import Tensor

MOST = 100  # objects of a picture, as for COCO
SHARED = 0.5  # overlap above which two boxes show one object


def one_box_each(
    corners: Tensor, scores: Tensor, size: tuple[int, int], classes: Tensor | None = None
) -> tuple[Tensor, Tensor, dict[str, int]]:
    """Boxes that stay, best first, and the number of those left out.

    Of boxes that overlap by more than half, the best one stays. The others are counted as
    ``detections_of_the_same_object`` and ``detections_beyond_100``.

    Args:
        corners: (N, 4) x1, y1, x2, y2 in pixels.
        scores: (N,) scores.
        size: Width and height of the picture.
        classes: (N,) classes, of which each is looked at alone; None where a thing is one object whatever its word.

    Returns:
        (K, 4) boxes inside the picture, (K,) their indices in the argument, and counts by name.
    """
    from torchvision.ops import batched_nms  # type: ignore[import-untyped, unused-ignore]

    bounds = torch.tensor([*size, *size], dtype=corners.dtype, device=corners.device)
    # Detectors answer a little beyond the border; what has no area inside is no object.
    corners = torch.minimum(corners.clamp(min=0), bounds)
    solid = ((corners[:, 2:] - corners[:, :2]) > 0).all(dim=1).nonzero()[:, 0]
    group = torch.zeros_like(scores, dtype=torch.long) if classes is None else classes.long()
    kept = solid[batched_nms(corners[solid], scores[solid], group[solid], SHARED)]
    notes = {
        "detections_outside": len(corners) - len(solid),
        "detections_of_the_same_object": len(solid) - len(kept),
        f"detections_beyond_{MOST}": max(len(kept) - MOST, 0),
    }
    kept = kept[:MOST]
    return corners[kept], kept, notes
