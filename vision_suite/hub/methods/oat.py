"""OAT in the hub: scanpaths over objects."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from vision_suite.hub.method import HubMethod, Settings, Tensors
from vision_suite.hub.preprocess import of_pictures
from vision_suite.types import Condition

NETWORK = "vision_suite.models.oat.OAT"
OBJECTS, STEPS = 4, 6


def outputs(network: nn.Module, batch: Mapping[str, Tensor]) -> Tensors:
    """Logits of every next fixation of recorded paths, the likeliest path, and times where they are predicted."""
    greedy = pkgutil.resolve_name("vision_suite.models.oat:greedy")
    output = network(batch)
    found = {"logits": output.logits.float(), "sequence": greedy(network, batch, STEPS).sequence}
    return found if output.timing is None else {**found, "timing": output.timing.float()}


def example(network: nn.Module, preprocess: Settings) -> Tensors:
    """One scene of four objects and a path over two of them."""
    net, random = cast("Any", network), torch.Generator().manual_seed(0)
    left_top = torch.tensor([[10.0, 10], [110, 10], [10, 90], [110, 90]])
    batch = {
        "boxes": torch.cat([left_top, left_top + 70], 1)[None],
        "present": torch.ones(1, OBJECTS, dtype=torch.bool),
        "position": torch.tensor([[[0.0, 0], [0, 1], [1, 0], [1, 1]]]),
        "start": torch.tensor([[0.0, 1.0]]),
        "image_size": torch.tensor([[200.0, 180.0]]),
        "target": torch.tensor([1]),
        "targets": torch.tensor([[False, True, False, False]]),
        "condition": torch.tensor([int(Condition.PRESENT)]),
        "sequence": torch.tensor([[0, 1]]),
        "duration": torch.full((1, 2), 0.25),
        "given": torch.zeros(1, dtype=torch.int64),
        "terminated": torch.ones(1, dtype=torch.bool),
    }
    appearance, given = net.embedding.appearance, net.embedding.target_token == "given"
    if appearance.takes_features:
        width = int(preprocess["canvas"].get("in_channels") or appearance.feature_dim)
        batch["features"] = torch.randn(1, OBJECTS, width, generator=random)
        more = {"target_features": torch.randn(1, width, generator=random)}
    else:
        batch["crops"] = torch.randn(1, OBJECTS, 3, *appearance.crop_size, generator=random)
        more = {"target_crop": torch.randn(1, 3, *appearance.crop_size, generator=random)}
    return {**batch, **(more if given else {})}


def settings(module: Settings, network: nn.Module) -> dict[str, Any]:
    """The network's own names of the facts that the data tell."""
    taken = inspect.signature(pkgutil.resolve_name(f"{NETWORK.rpartition('.')[0]}:OAT").__init__).parameters
    found = {name: value for name, value in module.items() if name in taken and name != "pretrained"}
    facts = {"feature_dim": module.get("in_channels") or None, "max_positions": max(module.get("num_positions", 14), 2)}
    return {**found, **facts}


def preprocess(task: str, state: Settings, settings: Settings) -> dict[str, Any]:
    """Source of object features, the grid's rows or columns, and the steps of crops where pictures are cut."""
    stored = state["preprocessing"]
    canvas = {name: value for name, value in stored.items() if name not in ("crop_size", "mean", "std")}
    own = {"canvas": canvas, "cells": settings["num_positions"]}
    if "crop_size" not in stored:
        return own
    steps = {"resize": stored["crop_size"], "interpolation": "bilinear", "mean": stored["mean"], "std": stored["std"]}
    return {**of_pictures(steps), **own}


METHODS = (
    HubMethod(
        name="oat",
        network=NETWORK,
        modules=("LitOAT",),
        tasks=("scanpath",),
        outputs=outputs,
        example=example,
        preprocess=preprocess,
        settings=settings,
        fixed={"pretrained": False},
        words={"appearance": r"cnn|table|timm:[\w.]+|clip:[\w.-]+/[\w.-]+"},
    ),
)
