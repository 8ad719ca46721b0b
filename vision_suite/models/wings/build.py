"""Networks of instruction tuning from their settings: decoder, tower, projector, wings and LoRA, and their parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

import torch
from torch import nn

from vision_suite.errors import ConfigError, check_choice, check_literals
from vision_suite.layers.base_weights import BaseWeights
from vision_suite.layers.decoders import LLAVA, DecoderShape, empty_decoder, new_decoder
from vision_suite.models.mllm import Mllm, Projector, ProjectorConfig, TowerConfig, build_tower
from vision_suite.models.mllm.llava import from_llava
from vision_suite.models.mllm.lora import LoraSettings, add_lora, lora_off
from vision_suite.models.mllm.projector import embedding_std
from vision_suite.models.wings.attach import attach, wings_off
from vision_suite.models.wings.config import WingsConfig
from vision_suite.records import as_record

Part = Literal["tower", "projector", "visual", "textual", "router", "lora", "decoder"]
PARTS: tuple[Part, ...] = get_args(Part)
IN_DECODER = {"wings.visual": "visual", "wings.textual": "textual", "wings.router": "router"}


@dataclass(frozen=True)
class DecoderConfig:
    """Language model.

    Attributes:
        source: Prepared set such as ``smollm2``, folder in transformers' layout, hub name, or ``.gguf`` file; empty for
            a new model of ``shape``. One of LLaVA-1.5's kind brings its vision tower and projector.
        shape: Sizes of a new model; its vocabulary is that of the data.
        dtype: Type of the weights.
        checkpoint_activations: Compute a layer's activations again in the backward pass instead of keeping them.
        structure: ``config`` of the model, sha256 of its ``vocabulary`` and ``fingerprint`` of its weights, as a
            checkpoint records them: the source is needed for weights alone then. Not for configurations.
    """

    source: str = ""
    shape: DecoderShape = field(default_factory=DecoderShape)
    dtype: Literal["float32", "bfloat16"] = "float32"
    checkpoint_activations: bool = False
    structure: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Refuse unknown words."""
        object.__setattr__(self, "shape", as_record(DecoderShape, self.shape, "decoder.shape"))
        check_literals(self, "decoder")


@dataclass(frozen=True)
class Network:
    """A network and where its decoder's weights come from.

    Attributes:
        model: Language model that reads pictures.
        base: Weights of the decoder that a file holds; None for a decoder from scratch.
    """

    model: Mllm
    base: BaseWeights | None


def build_network(
    vocabulary_size: int,
    decoder: DecoderConfig,
    *,
    tower: TowerConfig | None = None,
    projector: ProjectorConfig | None = None,
    wings: WingsConfig | None = None,
    lora: LoraSettings | None = None,
) -> Network:
    """Build a network; a decoder that comes from a file is empty until `BaseWeights.load`.

    The order is wings, then LoRA, whose search for linear layers passes the wings over.

    Args:
        vocabulary_size: Number of ids, for a decoder from scratch.
        decoder: Language model.
        tower: Vision tower; None for a model of text.
        projector: Projector; None for the default.
        wings: Wings; None for none.
        lora: LoRA; None for none.

    Raises:
        ConfigError: Settings do not fit together.
        MissingDependencyError: transformers or peft is not installed.
    """
    if decoder.source:
        known = (decoder.structure or {}).get("config")
        made = empty_decoder(decoder.source, dtype=getattr(torch, decoder.dtype), config=known)
        base = BaseWeights(made, decoder.source)
    else:
        made, base = new_decoder(decoder.shape, vocabulary_size).to(getattr(torch, decoder.dtype)), None
    whole = from_llava(made) if made.config.model_type == LLAVA else None
    if whole is not None:
        if tower is not None or projector is not None:
            raise ConfigError(f"{decoder.source} brings its own tower and projector: leave tower and projector unset")
        cast("Any", whole.projector).tokens = cast("Any", whole.tower).tokens
        made = whole.decoder
    if decoder.checkpoint_activations:
        made.activation_checkpointing_enable()
    built, between = None, None
    if tower is not None:
        built = build_tower(tower)
        width = int(made.config.hidden_size)
        between = Projector(projector or ProjectorConfig(), built.width, width, tokens=built.tokens)
    if wings is not None:
        attach(made, wings)
    if lora is not None:
        add_lora(made, lora)
    model = whole or Mllm(made, built, between, image_token_id=-1)
    if base is None:
        fit_projector(model)
    return Network(model, base)


def fit_projector(model: Mllm) -> None:
    """Let the projector's norm, if it has one, start with the deviation of the words' embeddings."""
    if model.embedding.weight.is_meta:  # its weights come with those of the embeddings
        return
    for module in () if model.projector is None else model.projector.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.constant_(module.weight, embedding_std(model.embedding))


def part_of(name: str) -> Part:
    """Part that a parameter of an `Mllm` belongs to.

    Example:
        >>> part_of("decoder.model.layers.0.self_attn.wings.visual.q.a"), part_of("projector.layers.0.weight")
        ('visual', 'projector')
    """
    head = name.split(".")[0]
    if head in ("tower", "projector"):
        return cast("Part", head)
    for words, part in IN_DECODER.items():
        if f".{words}." in name:
            return cast("Part", part)
    return "lora" if ".lora_" in name else "decoder"


def left_out_names(model: Mllm, sourced: bool, prefix: str = "") -> set[str]:
    """Names of the frozen weights that the source of a decoder or tower has, which need no place in a checkpoint.

    A random tower has no source. One of a run of the suite is small, and its run may be gone.

    Args:
        model: Network.
        sourced: Whether the decoder comes from a source.
        prefix: Text before each name.
    """
    trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    held: set[Part] = {"decoder"} if sourced else set()
    if sourced and model.tower is not None and model.tower.config is None:
        held |= {"tower", "projector"}  # of the same files
    tower = None if model.tower is None else model.tower.config
    if tower is not None and _has_source(tower):
        held.add("tower")
    state = model.state_dict(keep_vars=True)
    return {f"{prefix}{name}" for name, value in state.items() if part_of(name) in held and id(value) not in trained}


def _has_source(tower: TowerConfig) -> bool:
    """Tell whether a tower's weights lie in files that are not those of a run."""
    named = bool(tower.checkpoint or tower.pretrained)
    return tower.kind == "centernet" or (tower.kind in ("timm", "open_clip") and named)


def default_parts(model: Mllm, wings: WingsConfig | None) -> tuple[Part, ...]:
    """Parts that are trained by default.

    With wings these are the stages of the method: projector and visual wing, then also the text wing, the router and
    the decoder. LoRA trains in the decoder's place.
    """
    there = {part_of(name) for name, _ in model.named_parameters()}
    if wings is not None and wings.stage == 1:
        chosen: set[Part] = {"projector", "visual"}
    else:
        chosen = {"projector", "visual", "textual", "router", "lora" if "lora" in there else "decoder"}
    return tuple(part for part in PARTS if part in chosen & there)


def set_trained(model: Mllm, parts: Iterable[Part], wings: WingsConfig | None) -> dict[Part, int]:
    """Train these parts and freeze the others; the number of trained parameters of each.

    Raises:
        ConfigError: A part is unknown, is not there, or computes nothing in stage 1.
    """
    wanted = list(parts)
    there = {part_of(name) for name, _ in model.named_parameters()}
    for part in wanted:
        check_choice("train", part, PARTS)
        if part not in there:
            raise ConfigError(f"train: the network has no {part}: it has {', '.join(p for p in PARTS if p in there)}")
        if wings is not None and wings.stage == 1 and part in ("textual", "router"):
            raise ConfigError(f"train: {part} takes no part in wings.stage=1: leave it out, or use wings.stage=2")
    counts: dict[Part, int] = {}
    for name, parameter in model.named_parameters():
        part = part_of(name)
        parameter.requires_grad_(part in wanted)
        if part in wanted:
            counts[part] = counts.get(part, 0) + parameter.numel()
    return counts


@contextmanager
def without_adapters(model: Mllm) -> Iterator[None]:
    """Context in which the decoder computes without wings and LoRA, and its mode is that of evaluation."""
    training = model.training
    has_wings = any(part_of(name) in IN_DECODER.values() for name, _ in model.named_parameters())
    try:
        model.eval()
        with lora_off(model), wings_off(model.decoder) if has_wings else nullcontext():
            yield
    finally:
        model.train(training)
