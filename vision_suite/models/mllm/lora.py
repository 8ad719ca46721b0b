"""LoRA in a decoder (Hu et al., ICLR 2022), by the package peft, beside whatever else is attached to it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from vision_suite.errors import CheckpointError, ConfigError, MissingDependencyError, check_number
from vision_suite.prepared import share_as_usual

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "default"  # peft's name of an adapter
WRAPPED = "base_model.model."  # what peft's files have before every name
FILES = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class LoraSettings:
    """Settings of LoRA.

    Attributes:
        rank: Rank r of each update.
        alpha: The update is scaled by alpha / r.
        dropout: Dropout of its input.
        targets: Endings of the names of the linear layers that get one, or ``all-linear``.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q_proj", "v_proj")

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_number("lora.rank", self.rank, low=1, whole=True)
        check_number("lora.alpha", self.alpha, above=0)
        check_number("lora.dropout", self.dropout, low=0, below=1)
        given: object = self.targets
        if isinstance(given, str) or not given:
            raise ConfigError(f"lora.targets={self.targets!r}: give a list of names, such as [q_proj, v_proj]")


def add_lora(decoder: PreTrainedModel, settings: LoraSettings) -> dict[str, nn.Parameter]:
    """Put LoRA into a decoder's linear layers, in place.

    peft freezes all other parameters; here they keep their state, so wings that were attached before stay trained.

    Args:
        decoder: Model of transformers.
        settings: Settings.

    Returns:
        The new parameters by name, those that `lora_parameters` finds.

    Raises:
        ConfigError: It has LoRA already, or no layer of those names.
        MissingDependencyError: peft is not installed.
    """
    _require()
    import peft

    targets = list(settings.targets)
    config = peft.LoraConfig(
        r=settings.rank, lora_alpha=cast("Any", settings.alpha), lora_dropout=settings.dropout,
        target_modules="all-linear" if targets == ["all-linear"] else targets,
    )  # fmt: skip
    return _inject(decoder, config)


def lora_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters of LoRA in a model, by name."""
    return {name: each for name, each in model.named_parameters() if ".lora_" in name}


@contextmanager
def lora_off(model: nn.Module) -> Iterator[None]:
    """Context in which a model computes without its LoRA."""
    layers: list[Any] = [module for module in model.modules() if hasattr(module, "_disable_adapters")]
    before = [bool(module._disable_adapters) for module in layers]
    try:
        for module in layers:
            module._disable_adapters = True
        yield
    finally:
        for module, value in zip(layers, before, strict=True):
            module._disable_adapters = value


def merge_lora(decoder: PreTrainedModel) -> int:
    """Add the updates to the weights and remove LoRA, in place.

    Returns:
        Number of layers merged.

    Raises:
        MissingDependencyError: peft is not installed.
    """
    _require()
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [(name, each) for name, each in decoder.named_modules() if isinstance(each, BaseTunerLayer)]
    for name, layer in layers:
        layer.merge()
        parent, _, child = name.rpartition(".")
        setattr(decoder.get_submodule(parent), child, layer.get_base_layer())
    if hasattr(decoder, "peft_config"):
        del decoder.peft_config
    return len(layers)


def save_lora(decoder: PreTrainedModel, folder: Path) -> None:
    """Write LoRA in peft's layout, which `peft.PeftModel.from_pretrained` reads too.

    Args:
        decoder: Model with LoRA.
        folder: Folder to write into; it is made if it is missing.

    Raises:
        ConfigError: It has no LoRA.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    configs = getattr(decoder, "peft_config", None)
    if not configs:
        raise ConfigError(f"{type(decoder).__name__} has no LoRA to save: add it first")
    folder.mkdir(parents=True, exist_ok=True)
    tensors: Mapping[str, Tensor] = get_peft_model_state_dict(decoder, save_embedding_layers=False)
    save_file({f"{WRAPPED}{name}": value.contiguous() for name, value in tensors.items()}, folder / FILES[1])
    share_as_usual(folder)
    configs[NAME].save_pretrained(str(folder))


def load_lora(decoder: PreTrainedModel, folder: Path) -> dict[str, nn.Parameter]:
    """Put LoRA of a folder in peft's layout into a decoder, in place.

    Args:
        decoder: Model without LoRA.
        folder: Folder with ``adapter_config.json`` and ``adapter_model.safetensors``.

    Returns:
        The parameters by name.

    Raises:
        CheckpointError: The files are missing, no LoRA, or do not fit.
        MissingDependencyError: peft is not installed.
    """
    _require()
    from peft import LoraConfig, set_peft_model_state_dict
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(f"{folder}: no {missing[0]}: give a folder that peft or `save_lora` wrote")
    try:
        settings = json.loads((folder / FILES[0]).read_bytes())
        if settings["peft_type"] != "LORA":
            raise CheckpointError(f"{folder}: an adapter of kind {settings['peft_type']!r:.30}, only LoRA is read")
        config = LoraConfig.from_pretrained(str(folder))
        tensors = {name.removeprefix(WRAPPED): value for name, value in load_file(folder / FILES[1]).items()}
    except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: no LoRA that can be read ({' '.join(str(error).split())[:150]})") from error
    # A file may have been written for inference; whether it is trained is the caller's matter.
    config.inference_mode = False
    parameters = _inject(decoder, config)
    wanted = {name.replace(f".{NAME}.", "."): each.shape for name, each in parameters.items()}
    if wanted != {name: value.shape for name, value in tensors.items()}:
        odd = sorted(set(wanted) ^ set(tensors)) or sorted(n for n in wanted if wanted[n] != tensors[n].shape)
        merge_lora(decoder)  # before anything was loaded it changes nothing
        raise CheckpointError(f"{folder}: {odd[0]} does not fit this decoder: give the adapter's own base model")
    set_peft_model_state_dict(decoder, tensors)
    return parameters


def _inject(decoder: PreTrainedModel, config: Any) -> dict[str, nn.Parameter]:
    from peft import inject_adapter_in_model

    if lora_parameters(decoder):
        raise ConfigError(f"{type(decoder).__name__} has LoRA already: merge it first")
    trained = {id(each): each.requires_grad for each in decoder.parameters()}
    try:
        inject_adapter_in_model(config, cast("nn.Module", decoder))
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"lora.targets={config.target_modules!r} cannot get LoRA: {reason}") from error
    for each in decoder.parameters():
        each.requires_grad_(trained.get(id(each), True))
    return lora_parameters(decoder)


def _require() -> None:
    if importlib.util.find_spec("peft") is None:
        raise MissingDependencyError("LoRA", "peft", "language")
