"""DCAL in the hub: re-identification and fine-grained classification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from vision_suite.hub.method import HubMethod, Settings, Tensors
from vision_suite.hub.preprocess import of_pictures


def outputs(network: nn.Module, batch: Mapping[str, Tensor]) -> Tensors:
    """Feature, attention map and, for classification, probabilities of pictures."""
    found: dict[str, Tensor] = cast("Any", network).inference(batch["image"])
    return {name: value.float() for name, value in found.items()}


def example(network: nn.Module, preprocess: Settings) -> Tensors:
    """Two pictures of random values."""
    size = cast("Any", network).image_size
    return {"image": torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))}


def preprocess(task: str, state: Settings, settings: Settings) -> dict[str, Any]:
    """Steps of pictures."""
    return of_pictures(state["preprocessing"])


METHODS = (
    HubMethod(
        name="dcal",
        network="vision_suite.models.dcal.DCAL",
        modules=("LitDCAL",),
        tasks=("reid", "fgvc"),
        outputs=outputs,
        example=example,
        preprocess=preprocess,
        fixed={"pretrained": False},
    ),
)
