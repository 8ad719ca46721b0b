"""A DCAL small enough to compare number by number, in float64."""

import torch

from vision_suite.models.dcal import DCAL

SMALL = {"depth": 3, "embed_dim": 32, "num_heads": 2}


def tiny(
    num_classes=5, *, backbone="vit_tiny_patch16_224", image_size=(64, 48), backbone_args=None, seed=0, **settings
):
    """Seeded network whose parameters are away from zeros and ones, which hide mistakes; no stochastic depth."""
    torch.manual_seed(seed)
    net = DCAL(
        num_classes, backbone=backbone, image_size=image_size, backbone_args={**SMALL, **(backbone_args or {})},
        **{"drop_path": 0.0, **settings},
    )  # fmt: skip
    net = net.double()
    for parameter in net.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return net


def pictures(count=4, size=(64, 48), seed=1):
    """(count, 3, H, W) float64."""
    return torch.randn(count, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
