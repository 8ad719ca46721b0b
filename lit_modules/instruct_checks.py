"""Checks of conversations against a network, its groups of parameters in words, and its shards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from torch import nn

from vision_suite.errors import ConfigError
from vision_suite.models.mllm import Mllm
from vision_suite.models.wings.build import DecoderConfig, part_of
from vision_suite.types.instruct import InstructSource


def check_data(model: Mllm, data: InstructSource, decoder: DecoderConfig, image_tokens: int) -> None:
    """Refuse data that a network cannot read.

    Args:
        model: Network.
        data: Conversations.
        decoder: Settings of the decoder.
        image_tokens: Tokens of one picture that the network was told.

    Raises:
        ConfigError: Vocabularies, numbers of picture tokens, or the form of pictures differ.
    """
    known = model.embedding.num_embeddings
    # A placeholder may lie behind the vocabulary: pictures take its place.
    if data.vocabulary_size > known > data.chat.image_token_id:
        raise ConfigError(
            f"--data.tokenizer has {data.vocabulary_size} ids, and the decoder embeds {known}: give the decoder's own "
            "tokenizer"
        )
    if decoder.source:
        _check_vocabulary(data, decoder)
    if not data.image_tokens:
        return
    if model.projector is None or model.tower is None:
        raise ConfigError("the data hold pictures, and the network has no vision tower: give --model.tower.kind")
    made = model.projector.tokens
    if data.image_tokens != made or image_tokens != made:
        raise ConfigError(
            f"--data.image_tokens={data.image_tokens}, and tower and projector make {made} tokens of a picture: use "
            f"--data.image_tokens={made}"
        )
    _check_pictures(model, data)


def _check_vocabulary(data: InstructSource, decoder: DecoderConfig) -> None:
    from vision_suite.text.chat import ChatFormat  # loads transformers

    source = decoder.source
    # A checkpoint knows it without the decoder's folder.
    own = (decoder.structure or {}).get("vocabulary")
    own = own or ChatFormat.load(source, image_tokens=data.image_tokens).vocabulary_sha256
    given = str(data.protocol.get("vocabulary_sha256", own))
    if own != given:
        raise ConfigError(
            f"the tokenizer of --model.decoder.source={source} is not that of the data (sha256 {own[:12]} and "
            f"{given[:12]}): use --data.tokenizer={source}"
        )


def _check_pictures(model: Mllm, data: InstructSource) -> None:
    """Compare size and normalisation of pictures with the tower's."""
    stored: dict[str, Any] = getattr(data, "preprocessing", {})
    tower = cast("Any", model.tower)
    for entry, flag, own in (
        ("resize", "image_size", tower.image_size), ("mean", "mean", tower.mean), ("std", "std", tower.std)
    ):  # fmt: skip
        given = stored.get(entry)
        if given is not None and any(abs(one - two) > 1e-3 for one, two in zip(given, own, strict=True)):
            raise ConfigError(f"--data.{flag}={list(given)}, and the vision tower takes {list(own)}: use the tower's")


def group_lines(module: nn.Module, made: Any) -> Iterator[str]:
    """Parts, numbers of weights and peak rate of each group of an optimiser, a line for each group."""
    parts = {id(p): part_of(name.removeprefix("model.")) for name, p in module.named_parameters()}
    for group in made["optimizer"].param_groups:
        counts: dict[str, int] = {}
        for parameter in group["params"]:
            part = parts[id(parameter)]
            counts[part] = counts.get(part, 0) + parameter.numel()
        named = ", ".join(f"{part} {count:,}" for part, count in counts.items())
        yield f"trained at {group['initial_lr']:.4g}, weight decay {group['weight_decay']:g}: {named}"


def is_sharded(model: nn.Module) -> bool:
    """Tell whether a network is in shards already."""
    from torch.distributed.tensor import DTensor

    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def shard(model: Mllm, mesh: Any) -> None:
    """Shard a network over processes (FSDP2): each decoder layer with its wings, then the rest.

    Args:
        model: Network, its weights loaded.
        mesh: Device mesh of the processes.
    """
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    for layer in cast("Any", model.text_model).layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "hidden")
