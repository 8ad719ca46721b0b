"""Networks that turn clips into features: video models of torchvision, image models of timm over the clip's frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_suite.checkpoints.files import verify
from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.video.store import checksum


@dataclass(frozen=True)
class Extractor:
    """Settings that make features of a video, completely: the same record gives the same features.

    Attributes:
        backbone: ``torchvision:<video model>`` or ``timm:<image model>``.
        weights: ``default`` for the package's own (from its hub), a file of weights, or ``random:<seed>``.
        outputs: ``both`` puts the head's class logits behind the features before it, which is what CSA reads as class
            semantics; ``features`` or ``logits`` alone.
        fps: Frames a second at which the video is read.
        clip: Frames of a clip.
        stride: Frames from one clip to the next.
    """

    backbone: str = "torchvision:r3d_18"
    weights: str = "default"
    outputs: Literal["both", "features", "logits"] = "both"
    fps: float = 15.0
    clip: int = 16
    stride: int = 16

    def __post_init__(self) -> None:
        """Refuse numbers by which no clip can be cut."""
        if not 0 < self.fps < math.inf or self.clip < 1 or not 1 <= self.stride <= self.clip:
            raise ConfigError(
                f"fps={self.fps} must be finite and above 0, clip={self.clip} at least 1, stride={self.stride} "
                "from 1 to clip"
            )
        if self.outputs not in ("both", "features", "logits"):
            raise ConfigError(f"outputs={self.outputs!r} is not known: choose both, features or logits")
        word, _, seed = self.weights.partition(":")
        if word == "random" and not seed.isdecimal():
            raise ConfigError(f"weights={self.weights!r}: write random:<seed>, such as random:0")

    def plain(self) -> dict[str, object]:
        """The record as plain values; ``kind`` tells it from other extractors."""
        return {"kind": "video", **asdict(self)}


class Preset(NamedTuple):
    """Preprocessing of a backbone.

    Attributes:
        resize: Shorter side in pixels after resizing.
        crop: Height and width of the centre crop.
        mean: Mean of each channel, of values 0..1.
        std: Standard deviation of each channel.
    """

    resize: int
    crop: tuple[int, int]
    mean: Sequence[float]
    std: Sequence[float]


def pick_device(word: str) -> torch.device:
    """The device that a word means; ``auto`` is the first GPU, or the CPU.

    Raises:
        ConfigError: There is no such device.
    """
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if word == "auto" else word)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device={word!r} cannot be used ({str(error).splitlines()[0]})") from None
    return device


class ClipNetwork(nn.Module):
    """A backbone with its own preprocessing.

    Args:
        extractor: Backbone, weights and sampling.

    Raises:
        ConfigError: There is no such model.
        CheckpointError: The weights cannot be had or do not fit.
    """

    def __init__(self, extractor: Extractor) -> None:
        super().__init__()
        library, _, name = extractor.backbone.partition(":")
        if library not in ("torchvision", "timm") or not name:
            raise ConfigError(
                f"backbone={extractor.backbone!r}: write torchvision:<video model>, such as torchvision:r3d_18, or "
                "timm:<image model>"
            )
        self.extractor = extractor
        self.outputs, self.is_video = extractor.outputs, library == "torchvision"
        self._seen: dict[str, Tensor] = {}
        if extractor.weights.startswith("random:"):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(extractor.weights.partition(":")[2]))
                network, preset = self._build(name, pretrained=False)
        else:
            network, preset = self._build(name, pretrained=extractor.weights == "default")
            if extractor.weights != "default":
                _load(network, Path(extractor.weights).expanduser())
        self.network = network.eval()
        self.resize, self.crop = preset.resize, preset.crop
        self.register_buffer("mean", torch.tensor(preset.mean).view(3, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preset.std).view(3, 1, 1, 1), persistent=False)
        if self.is_video:
            _head(self.network).register_forward_hook(self._keep_features)

    def plain(self) -> dict[str, object]:
        """The extractor's record, and the checksum of its weights, which identify features."""
        return {**self.extractor.plain(), "checksum": checksum(self.network.state_dict())}

    @torch.inference_mode()
    def forward(self, clips: Tensor) -> Tensor:
        """Clips (B, n, H, W, 3) uint8 to features (B, C) float32."""
        frames = clips.permute(0, 4, 1, 2, 3).float() / 255
        batch, _, length, height, width = frames.shape
        scale = self.resize / min(height, width)
        size = (max(round(height * scale), self.crop[0]), max(round(width * scale), self.crop[1]))
        flat = frames.transpose(1, 2).reshape(batch * length, 3, height, width)
        flat = F.interpolate(flat, size=size, mode="bilinear", antialias=True, align_corners=False)
        top, left = (size[0] - self.crop[0]) // 2, (size[1] - self.crop[1]) // 2
        flat = flat[:, :, top : top + self.crop[0], left : left + self.crop[1]]
        frames = flat.reshape(batch, length, 3, *self.crop).transpose(1, 2)
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        features, logits = self._run((frames - mean) / std)
        chosen = {"both": [features, logits], "features": [features], "logits": [logits]}[self.outputs]
        return torch.cat(chosen, dim=1).float()

    def _run(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        if self.is_video:
            logits = self.network(frames)
            return self._seen["features"], logits
        batch, _, length = frames.shape[:3]
        network: Any = self.network
        features = network.forward_head(network.forward_features(frames.transpose(1, 2).flatten(0, 1)), pre_logits=True)
        logits = network.get_classifier()(features)
        return tuple(x.reshape(batch, length, -1).mean(dim=1) for x in (features, logits))

    def _keep_features(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found = inputs[0]
        self._seen["features"] = found if found.ndim == 2 else found.flatten(2).mean(dim=2)

    def _build(self, name: str, *, pretrained: bool) -> tuple[nn.Module, Preset]:
        return _torchvision(name, pretrained) if self.is_video else _timm(name, pretrained)


def _torchvision(name: str, pretrained: bool) -> tuple[nn.Module, Preset]:
    from torchvision import models  # type: ignore[import-untyped]

    known = models.list_models(module=models.video)
    if name not in known:
        raise ConfigError(f"torchvision has no video model {name!r}: choose one of {', '.join(known)}")
    weights = models.get_model_weights(name).DEFAULT
    try:
        network = models.get_model(name, weights=weights if pretrained else None)
    except (OSError, RuntimeError) as error:
        raise _no_weights(name, error) from None
    preset = weights.transforms()
    height, width, *_ = list(preset.crop_size) * 2  # one number stands for both
    return network, Preset(int(min(preset.resize_size)), (int(height), int(width)), preset.mean, preset.std)


def _timm(name: str, pretrained: bool) -> tuple[nn.Module, Preset]:
    import timm

    if not timm.is_model(name.split(".")[0]):
        near = ", ".join(timm.list_models(f"*{name.split('_')[0]}*")[:5])
        raise ConfigError(f"timm has no image model {name!r}" + (f": there are {near}" if near else ""))
    try:
        network = timm.create_model(name, pretrained=pretrained)
    except (OSError, RuntimeError) as error:
        raise _no_weights(name, error) from None
    config: dict[str, Any] = timm.data.resolve_model_data_config(network)  # type: ignore[attr-defined, no-untyped-call]
    _, height, width = (int(size) for size in config["input_size"])
    resize = math.floor(min(height, width) / float(config["crop_pct"]))  # as its own evaluation transform
    return network, Preset(resize, (height, width), config["mean"], config["std"])


def _no_weights(name: str, error: Exception) -> CheckpointError:
    reason = " ".join(str(error).split())[:160]
    return CheckpointError(f"the weights of {name} cannot be had ({reason}): give a file with weights=PATH")


def _head(network: nn.Module) -> nn.Module:
    """The classifying layer of a torchvision video model: its last linear layer, or convolution (S3D)."""
    layers = [module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv3d)]
    return layers[-1]


def _load(network: nn.Module, path: Path) -> None:
    """Fill a network from a file that holds its state dictionary."""
    if not path.is_file():
        raise CheckpointError(f"weights={str(path)!r}: no such file; write default, random:0, or a file")
    state: dict[str, Any]
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = dict(load_file(path))
        else:
            verify(path)
            state = dict(torch.load(path, weights_only=True, map_location="cpu"))
        state = next((state[key] for key in ("state_dict", "model") if isinstance(state.get(key), dict)), state)
        network.load_state_dict(state)
    except Exception as error:  # damaged bytes make the reader fail in any way
        reason = " ".join(str(error).removeprefix(f"{path}: ").split())[:200]
        raise CheckpointError(f"weights={str(path)!r} cannot be loaded ({reason})") from None
