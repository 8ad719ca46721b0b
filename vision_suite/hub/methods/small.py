"""Small networks of pictures in the hub: the tower of language models, and the detector of named objects."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from vision_suite.hub.method import HubMethod, Settings, Tensors
from vision_suite.hub.preprocess import of_pictures

TOWER = "vision_suite.models.mllm.conv_tower.ComparedTower"


def compared(network: nn.Module, batch: Mapping[str, Tensor]) -> Tensors:
    """Feature of pictures, by which they are compared, and the tokens that a language model reads."""
    net = cast("Any", network)
    return {"feature": net(batch["image"]).float(), "tokens": net.tower(batch["image"]).float()}


def present(network: nn.Module, batch: Mapping[str, Tensor]) -> Tensors:
    """Mean feature of pictures, and the probability of each name."""
    net = cast("Any", network)
    features = net.features(batch["image"])
    return {"feature": features.mean(dim=(2, 3)).float(), "probability": net.pooled(features).float().sigmoid()}


def example(network: nn.Module, preprocess: Settings) -> Tensors:
    """Two pictures of random values."""
    size = preprocess["crop"]["center"]
    return {"image": torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))}


def preprocess(task: str, state: Settings, settings: Settings) -> dict[str, Any]:
    """Steps of pictures."""
    return of_pictures(state["preprocessing"])


def tower_of(module: nn.Module) -> nn.Module:
    """Tower and neck of a module, whose classifier belongs to training."""
    module_name, _, name = TOWER.rpartition(".")
    tower = module.get_submodule("model")
    network: Any = pkgutil.resolve_name(f"{module_name}:{name}")(**tower_settings(vars(tower), tower))
    network.tower.load_state_dict(tower.state_dict())
    network.neck.load_state_dict(module.get_submodule("neck").state_dict())
    return cast("nn.Module", network)


def tower_settings(module: Settings, network: nn.Module) -> dict[str, Any]:
    """Width of a token and size of pictures."""
    return {"width": module["width"], "image_size": list(module["image_size"])}


def put_tower(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put tower and neck into a module."""
    for part, prefix in (("model", "tower."), ("neck", "neck.")):
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        module.get_submodule(part).load_state_dict(own)


METHODS = (
    HubMethod(
        name="tower",
        network=TOWER,
        modules=("LitTower",),
        tasks=("reid",),
        outputs=compared,
        example=example,
        preprocess=preprocess,
        settings=tower_settings,
        network_of=tower_of,
        put=put_tower,
    ),
    HubMethod(
        name="presence",
        network="vision_suite.models.presence.PresenceNet",
        modules=("LitPresence",),
        tasks=("preference",),
        outputs=present,
        example=example,
        preprocess=preprocess,
    ),
)
