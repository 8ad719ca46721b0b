"""Networks that start from a backbone of the hub: the settings name its architecture, the weights are taken once."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

from vision_suite.hub.backbone import Backbone, backbone_of
from vision_suite.lit_modules.base import LitBase


def use_hub_backbone(network: dict[str, Any]) -> Backbone | None:
    """Put the architecture of an entry in the place of its name, where ``backbone`` is one.

    Args:
        network: Arguments of the network, changed in place.

    Raises:
        CheckpointError: There is no such entry, or something in it is wrong.
        ConfigError: Its network has no such backbone.
    """
    found = backbone_of(network.get("backbone"))
    if found is not None:
        network.update(found.settings, pretrained=False)
    return found


def start_from_backbone(module: LitBase, backbone: Backbone | None) -> None:
    """Record the architecture in a module's settings, and copy the weights into its network.

    A checkpoint of the module does not need the entry then.
    """
    if backbone is None:
        return
    changed = {**module.hparams, **backbone.settings, "pretrained": False}
    module._set_hparams(changed)
    module._hparams_initial = copy.deepcopy(module.hparams)
    with tempfile.TemporaryDirectory(prefix="vision-suite-hub-") as folder:
        path = Path(folder) / "backbone.safetensors"
        path.write_bytes(backbone.weights)
        module.start_from(path)
    module.initialised_from = {**(module.initialised_from or {}), "file": backbone.name}
