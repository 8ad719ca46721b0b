"""Adapters of WINGS: tensors by the names of their files, the check of their base, and the released code's names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.models.wings.attach import attach, detach, wings_parameters
from vision_suite.models.wings.config import WingsConfig
from vision_suite.models.wings.pattern import text_model

if TYPE_CHECKING:
    from vision_suite.models.mllm.projector import Projector

OWN = re.compile(r"(?:.*\.)?layers\.(\d+)\.self_attn\.wings\.(.+)")
REFERENCE = re.compile(r"(?:model\.)?layers\.(\d+)\.(attn_pool|attn_t_pool)\.([qkvo])_proj\.([01])\.weight")
REFERENCE_ROUTER = re.compile(r"(?:model\.)?layers\.(\d+)\.reweight_module\.linear\.(weight|bias)")
REFERENCE_PROJECTOR = re.compile(r"(?:model\.)?mm_projector\.(\d+\.(?:weight|bias))")
REFERENCE_WINGS = ("attn_pool", "attn_t_pool", "reweight_module", "mm_projector")
SIDES = {"attn_pool": "visual", "attn_t_pool": "textual"}


def wings_tensors(decoder: nn.Module) -> dict[str, Tensor]:
    """Tensors of a decoder's wings by the names that files have.

    ``layers.{i}.{visual|textual}.{q|k|v|o}.{a|b}.weight`` and ``layers.{i}.router.{weight|bias}``.

    Args:
        decoder: Model with wings.
    """
    return {_file_name(name): value.detach() for name, value in wings_parameters(decoder).items()}


def load_wings(decoder: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Fill a decoder's wings with the tensors of a file.

    Args:
        decoder: Model with wings of the file's settings.
        tensors: Tensors by the names of `wings_tensors`, all of them and no others.
        source: The file, for messages.

    Raises:
        CheckpointError: A tensor is missing, unknown or of another shape. Nothing is changed then.
    """
    own = {_file_name(name): value for name, value in wings_parameters(decoder).items()}
    missing, unknown = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or unknown:
        what = f"lacks {missing[0]}" if missing else f"has {unknown[0]}, which these wings do not"
        raise CheckpointError(
            f"{source} {what} ({len(missing)} missing, {len(unknown)} unknown): attach wings with the file's settings"
        )
    for name, value in tensors.items():
        if value.shape != own[name].shape:
            raise CheckpointError(
                f"{source}: {name} has the shape {list(value.shape)}, here {list(own[name].shape)}: attach wings with "
                "the file's settings"
            )
    with torch.no_grad():
        for name, value in tensors.items():
            own[name].copy_(value)


def fingerprint(decoder: nn.Module) -> str:
    """SHA-256 of the word embeddings and the first and last layer's query weights, rounded to bfloat16.

    Rounded so that a base is known again in either precision. Wings and LoRA do not count.
    """
    text: Any = text_model(decoder)
    digest = hashlib.sha256()
    for module in (text.embed_tokens, text.layers[0].self_attn.q_proj, text.layers[-1].self_attn.q_proj):
        weight: Tensor = getattr(module, "base_layer", module).weight
        digest.update(str(list(weight.shape)).encode())
        digest.update(weight.detach().to("cpu", torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def base_weights(decoder: nn.Module) -> dict[str, Tensor]:
    """State of a decoder without wings and LoRA, by the names that it has by itself."""
    return {
        name.replace(".base_layer.", "."): value
        for name, value in decoder.state_dict().items()
        if not OWN.fullmatch(name) and ".lora_" not in name
    }


class Imported(NamedTuple):
    """Contents that `import_reference` read.

    Attributes:
        wings: Number of tensors that went into the wings.
        projector: Number of tensors that went into the projector.
        others: Names in the file of the base and of the vision tower, which were left out.
    """

    wings: int
    projector: int
    others: tuple[str, ...]


def import_reference(
    decoder: nn.Module, tensors: Mapping[str, Tensor], projector: Projector | None = None, **changes: object
) -> Imported:
    """Give a decoder the wings of a checkpoint of the released code (AIDC-AI/Wings).

    Rank, layers and number of positions are read from the shapes; the other settings are those of the preset
    ``reference``. Its linear layers store (out, in), so their weights are transposed.

    Args:
        decoder: Model without wings.
        tensors: Tensors under the released names.
        projector: Projector of kind ``mlp2x_gelu`` to fill with the file's; None leaves it out.
        changes: Settings of `WingsConfig` that differ from the preset, such as ``leak=False``.

    Raises:
        CheckpointError: There are no wings in it, some are missing, or a name of theirs is unknown or there twice, with
            and without ``model.``. The decoder has no wings then.
        ConfigError: The decoder cannot have wings, or a change is unknown.
    """
    unknown = sorted(changes.keys() - {field.name for field in fields(WingsConfig)})
    if unknown:
        raise ConfigError(f"wings have no setting {unknown[0]!r}: leave it out")
    short = {name: name.removeprefix("model.") for name in tensors}
    twice = [name for name, rest in short.items() if name != rest and rest in tensors and _of_wings(rest)]
    if twice:
        raise CheckpointError(
            f"the released code's checkpoint has {twice[0]} and {short[twice[0]]}, which are one: leave one out"
        )
    wings: dict[str, Tensor] = {}
    projected: dict[str, Tensor] = {}
    others: list[str] = []
    for name, value in tensors.items():
        if match := REFERENCE.fullmatch(name):
            layer, side, part, number = match.groups()
            wings[f"layers.{layer}.{SIDES[side]}.{part}.{'ab'[int(number)]}.weight"] = value.t()
        elif match := REFERENCE_ROUTER.fullmatch(name):
            wings[f"layers.{match[1]}.router.{match[2]}"] = value
        elif match := REFERENCE_PROJECTOR.fullmatch(name):
            projected[f"layers.{match[1]}"] = value
        elif _of_wings(name):
            raise CheckpointError(
                f"the released code's checkpoint has {name}, which is not known: it is of another kind"
            )
        else:
            others.append(name)
    flat = [name for name, value in wings.items() if name.endswith(".weight") and value.ndim != 2]
    if flat:
        raise CheckpointError(
            f"the released code's checkpoint has a matrix of {list(wings[flat[0]].shape)} as {flat[0]}: it is damaged"
        )
    ranks = {value.shape[1] for name, value in wings.items() if name.endswith(".a.weight")}
    lengths = {value.shape[1] for name, value in wings.items() if name.endswith("router.weight")}
    if len(ranks) != 1 or len(lengths) > 1:
        raise CheckpointError(
            f"the checkpoint has wings of the ranks {sorted(ranks)} and routers of {sorted(lengths)} positions: one of "
            "each is expected"
        )
    layers = tuple(sorted({int(name.split(".")[1]) for name in wings}))
    settings: dict[str, object] = {"rank": ranks.pop(), "layers": layers, "stage": 2 if lengths else 1}
    if lengths:
        settings["s_max"] = lengths.pop()
    config = WingsConfig.preset("reference", **{**settings, **changes})
    attach(decoder, config)
    try:
        if settings["stage"] == 1:  # the first stage has no router: it stays as it was drawn
            wings |= {name: value for name, value in wings_tensors(decoder).items() if ".router." in name}
        load_wings(decoder, wings, "the released code's checkpoint")
        if projector is not None:
            load_projector(projector, projected, "the released code's checkpoint")
    except CheckpointError:
        detach(decoder)
        raise
    return Imported(len(wings), len(projected) if projector is not None else 0, tuple(others))


def load_projector(projector: Projector, tensors: Mapping[str, Tensor], source: str) -> None:
    """Fill a projector.

    Raises:
        CheckpointError: The tensors are not those of the projector.
    """
    own = projector.state_dict()
    if {name: value.shape for name, value in own.items()} != {name: value.shape for name, value in tensors.items()}:
        raise CheckpointError(f"{source}: the projector in it has other layers or widths than the model's")
    projector.load_state_dict(dict(tensors))


def _of_wings(name: str) -> bool:
    """Tell whether a name of the released code belongs to wings or projector."""
    return any(part in name.split(".") for part in REFERENCE_WINGS)


def _file_name(name: str) -> str:
    match = OWN.fullmatch(name)
    assert match is not None
    rest = match[2]
    return f"layers.{match[1]}.{rest}" if rest.startswith("router.") else f"layers.{match[1]}.{rest}.weight"
