"""Networks of vision towers, cut after the layer that is read, so that no parameter is without use."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import timm
import torch
from torch import Tensor, nn

from vision_suite.errors import CheckpointError, ConfigError, MissingDependencyError
from vision_suite.layers import backbones as backbones  # registers the suite's own names
from vision_suite.layers.vit import create_vit

if TYPE_CHECKING:
    from vision_suite.models.mllm.tower import TowerConfig

Colours = tuple[float, float, float]
MISSING = (
    "no such checkpoint: give the tower's file as --model.tower.checkpoint, or an empty one where a checkpoint of the "
    "whole run brings the weights"
)
HALF: Colours = (0.5, 0.5, 0.5)
VIT = ("backbone", "patch_stride", "backbone_args")  # settings of a DCAL run that its backbone is built of


class Trunk(NamedTuple):
    """Network of a tower, the pictures that it takes, and what only its files tell of its structure."""

    network: nn.Module
    image_size: tuple[int, int]
    mean: Colours
    std: Colours
    structure: dict[str, Any]


class TimmTokens(nn.Module):
    """timm network without its head: tokens (N, T, W) without prefix tokens, or a map (N, W, h, w)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.prefix = int(getattr(network, "num_prefix_tokens", 0))
        self.channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"

    def forward(self, image: Tensor) -> Tensor:
        """Features of (N, 3, H, W)."""
        features: Tensor = cast("Any", self.network).forward_features(image)
        if features.ndim == 4:
            return features.permute(0, 3, 1, 2) if self.channels_last else features
        return features[:, self.prefix :]


class ClipTokens(nn.Module):
    """Vision side of an open_clip network: patch tokens of one of its blocks."""

    def __init__(self, visual: nn.Module, layer: int) -> None:
        super().__init__()
        self.visual, self.layer = visual, layer

    def forward(self, image: Tensor) -> Tensor:
        """Tokens of (N, 3, H, W)."""
        found = cast("Any", self.visual).forward_intermediates(
            image, indices=[self.layer], intermediates_only=True, output_fmt="NLC",
            normalize_intermediates=self.layer == -1,
        )  # fmt: skip
        return cast("Tensor", found["image_intermediates"][0])


def timm_trunk(config: TowerConfig) -> Trunk:
    """Any network of timm; its own mean and standard deviation."""
    reads = config.structure is None
    settings: dict[str, Any] = {"pretrained": config.pretrained and reads, "num_classes": 0}
    size: dict[str, Any] = {} if config.image_size is None else {"img_size": config.image_size}
    try:
        try:
            network = timm.create_model(config.name, **settings, **size)
        except TypeError:  # a convolutional network takes pictures of any size
            network = timm.create_model(config.name, **settings)
    except (RuntimeError, ValueError, OSError) as error:
        raise ConfigError(
            f"tower.name={config.name!r} cannot be built ({one_line(error)}): give a name of timm"
        ) from error
    cut(network, config.layer, config.name)
    if config.checkpoint and reads:
        load(network, read_tensors(config.checkpoint), config.checkpoint)
    known = getattr(network, "pretrained_cfg", None) or {}
    embed = getattr(network, "patch_embed", None)
    height, width = config.image_size or getattr(embed, "img_size", None) or known.get("input_size", (3, 224, 224))[1:]
    return Trunk(TimmTokens(network), (height, width), known.get("mean", HALF), known.get("std", HALF), {})


def cut(network: nn.Module, layer: int, name: str) -> None:
    """Remove what comes after a layer, in place.

    Args:
        network: timm network.
        layer: -1 or -2.
        name: Its name, for the message.

    Raises:
        ConfigError: The network has no blocks to stop after.
    """
    if layer == -1:
        cast("Any", network).reset_classifier(0, "")
        return
    blocks = getattr(network, "blocks", None)
    if blocks is None or len(blocks) < 2 or not hasattr(network, "prune_intermediate_layers"):
        raise ConfigError(f"tower.layer=-2: {name} has no blocks of which the last could be left out: use layer=-1")
    cast("Any", network).prune_intermediate_layers([len(blocks) - 2], prune_norm=True, prune_head=True)


def dcal_trunk(config: TowerConfig) -> Trunk:
    """Backbone of a DCAL run of this suite, without its branches."""
    contents = read_checkpoint(config.checkpoint) if config.structure is None else {}
    settings = contents.get("hyper_parameters") or {} if config.structure is None else config.structure
    weights = below(contents.get("state_dict") or {}, "model.vit.")
    if "backbone" not in settings or not (weights or config.structure):
        raise CheckpointError(
            f"{config.checkpoint}: it holds no backbone of DCAL: give a checkpoint of a DCAL run of this suite"
        )
    height, width = settings.get("image_size", (256, 128))
    vit = create_vit(
        settings["backbone"], image_size=(height, width), patch_stride=settings.get("patch_stride"),
        **(settings.get("backbone_args") or {}),
    )  # fmt: skip
    if config.structure is None:
        load(vit, weights, config.checkpoint)
    structure = {"image_size": [height, width], **{name: settings.get(name) for name in VIT}}
    cut(vit, config.layer, settings["backbone"])
    if config.image_size is not None and tuple(config.image_size) != (height, width):
        vit.set_input_size(config.image_size)
        height, width = config.image_size
    return Trunk(TimmTokens(vit), (height, width), *colours(contents), structure)


def conv_trunk(config: TowerConfig) -> Trunk:
    """The suite's small tower for 64 pixels; random, or of a run that trained it."""
    from vision_suite.models.mllm.conv_tower import ConvTower

    if config.layer != -1:
        raise ConfigError("tower.kind='conv' has one layer that is read: leave layer at -1")
    contents = read_checkpoint(config.checkpoint) if config.checkpoint and config.structure is None else {}
    own = contents.get("hyper_parameters") or {} if config.structure is None else config.structure
    settings: dict[str, Any] = {name: own[name] for name in ("width", "image_size") if name in own}
    if config.image_size is not None:
        settings["image_size"] = config.image_size
    tower = ConvTower(**settings, cells=4 if config.pool == "grid4" else 2)
    if contents:
        load(tower, below(contents.get("state_dict") or {}, "model."), config.checkpoint)
    structure = {"width": tower.width, "image_size": list(tower.image_size)}
    return Trunk(tower, tower.image_size, *colours(contents), structure)


def presence_trunk(config: TowerConfig) -> Trunk:
    """Features of a small detector; random, or of a run that trained it."""
    from vision_suite.models.presence import PresenceFeatures

    if config.layer != -1:
        raise ConfigError("tower.kind='presence' has one layer that is read: leave layer at -1")
    contents = read_checkpoint(config.checkpoint) if config.checkpoint and config.structure is None else {}
    own = contents.get("hyper_parameters") or {} if config.structure is None else config.structure
    network = PresenceFeatures(**({"width": own["width"]} if "width" in own else {}))
    if contents:
        load(network, below(contents.get("state_dict") or {}, "model."), config.checkpoint)
    return Trunk(network, config.image_size or (64, 64), *colours(contents), {"width": network.feature_dim})


def clip_trunk(config: TowerConfig) -> Trunk:
    """Vision side of a network of open_clip."""
    if importlib.util.find_spec("open_clip") is None:
        raise MissingDependencyError("tower.kind='open_clip'", "open_clip_torch")
    import open_clip  # type: ignore[import-not-found, import-untyped, unused-ignore]

    try:
        model = open_clip.create_model(
            config.name, pretrained=(config.checkpoint or None) if config.structure is None else None
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise ConfigError(
            f"tower.name={config.name!r} cannot be built ({one_line(error)}): give a name of open_clip, and in "
            "checkpoint a file or a tag of its weights"
        ) from error
    visual = model.visual
    size = visual.image_size if isinstance(visual.image_size, tuple) else (visual.image_size,) * 2
    if config.image_size is not None and tuple(config.image_size) != size:
        raise ConfigError(f"tower.image_size={list(config.image_size)}: {config.name} takes {list(size)} only")
    if not hasattr(visual, "forward_intermediates"):
        raise ConfigError(f"tower.name={config.name!r} does not hand out its blocks: use one of open_clip's ViTs")
    return Trunk(ClipTokens(visual, config.layer), size, visual.image_mean or HALF, visual.image_std or HALF, {})


def centernet_trunk(config: TowerConfig) -> Trunk:
    """CenterNet's features, of pictures of 512 x 512; frozen, since the graph holds the detector's heads too."""
    from vision_suite.layers.centernet import CenterNet
    from vision_suite.layers.graph_model import GraphModel

    if config.layer != -1 or config.image_size not in (None, CenterNet.image_size):
        raise ConfigError("tower.kind='centernet' takes pictures of 512 x 512: leave layer and image_size as they are")
    part = cast("Any", config.name or "trunk")
    if config.structure is None:
        network = CenterNet.load(config.checkpoint or "centernet", part)
    else:
        network = CenterNet(GraphModel.of_structure(config.structure["graph"]), part).eval()
    structure = {"graph": network.graph.structure()}
    return Trunk(network.requires_grad_(False), network.image_size, network.mean, network.std, structure)


BUILDERS: dict[str, Callable[[TowerConfig], Trunk]] = {
    "conv": conv_trunk,
    "presence": presence_trunk,
    "timm": timm_trunk,
    "dcal": dcal_trunk,
    "open_clip": clip_trunk,
    "centernet": centernet_trunk,
}


def colours(contents: Mapping[str, Any]) -> tuple[Colours, Colours]:
    """Mean and standard deviation of the channels of the pictures that a checkpoint's network was trained on."""
    for state in contents.values():
        stored = state.get("preprocessing") if isinstance(state, dict) else None
        if isinstance(stored, dict) and {"mean", "std"} <= set(stored):
            mean, std = (tuple(float(value) for value in stored[name]) for name in ("mean", "std"))
            return cast("Colours", mean), cast("Colours", std)
    return HALF, HALF


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors under a prefix, by their names without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def load(network: nn.Module, weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Load weights; further tensors of the file, such as those of a head, are left out.

    Raises:
        CheckpointError: A tensor is missing or has another shape.
    """
    own = network.state_dict()
    missing = [name for name in own if name not in weights]
    other = [name for name in own if name in weights and weights[name].shape != own[name].shape]
    if missing or other:
        what = f"{missing[0]} is missing" if missing else f"{other[0]} has the shape {list(weights[other[0]].shape)}"
        raise CheckpointError(
            f"{path}: {what} ({len(missing) + len(other)} of {len(own)} tensors do not fit): give weights of this tower"
        )
    network.load_state_dict({name: weights[name] for name in own})


def read_tensors(path: str | Path) -> Mapping[str, Tensor]:
    """Tensors of a safetensors file or a checkpoint."""
    if Path(path).suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(Path(path).expanduser())
        except FileNotFoundError:
            raise CheckpointError(f"{path}: {MISSING}") from None
        except SafetensorError as error:
            raise CheckpointError(f"{path}: no safetensors file ({one_line(error)})") from error
    contents = read_checkpoint(path)
    tensors: Mapping[str, Tensor] = contents.get("state_dict", contents)
    return tensors


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Contents of a checkpoint, read without executing code.

    Raises:
        CheckpointError: The file is missing, or no checkpoint.
    """
    if not path:
        raise CheckpointError("tower.checkpoint: give the file of a checkpoint")
    try:
        contents = torch.load(Path(path).expanduser(), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: {MISSING}") from None
    except Exception as error:
        raise CheckpointError(f"{path}: no checkpoint that can be read safely ({type(error).__name__})") from error
    if not isinstance(contents, dict):
        raise CheckpointError(f"{path}: it holds a single {type(contents).__name__}, no weights by name")
    return contents


def one_line(error: Exception) -> str:
    """Message of an error in one line."""
    return " ".join(str(error).split())[:200]
