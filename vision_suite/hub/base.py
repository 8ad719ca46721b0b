"""Base models that do not travel with an entry: named and hashed, and read from where this machine has them."""

from __future__ import annotations

import hashlib
import pkgutil
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vision_suite.errors import CheckpointError

PACKAGE, HF_HUB = "package:", "hf-hub:"
DECODER = "decoder."


def hash_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors: their names in order, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def source_of(decoder: str) -> str:
    """Source of a base model, of the name of a prepared set or of a hub.

    Raises:
        CheckpointError: It is a folder or a file, which no other machine has.
    """
    if decoder.count("/") == 1 and not decoder.startswith((".", "/", "~")):
        return f"{HF_HUB}{decoder}"
    if "/" in decoder or decoder.endswith(".gguf"):
        raise CheckpointError(
            f"the decoder {decoder} is a folder or a file of this machine: train beside a prepared set or a model of a "
            "hub, or push with its weights (--with_base)"
        )
    return f"{PACKAGE}{decoder}"


def base_tensors(network: nn.Module, base: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of an entry's base model, by their names in the network.

    Args:
        network: Network of the entry, whose decoder it is.
        base: Section ``base`` of ``config.json``.
        tensors: Tensors of the entry, which the base does not replace.

    Raises:
        CheckpointError: The base is not on this machine, or its weights are others.
    """
    source = str(base["source"])
    load_decoder = pkgutil.resolve_name("vision_suite.layers.decoders:load_decoder")
    places = dict(network.state_dict(keep_vars=True))
    dtype = next(value.dtype for name, value in places.items() if name.startswith(DECODER))
    decoder = load_decoder(source.partition(":")[2].partition("@")[0], dtype=dtype)
    found = {f"{DECODER}{name}": value for name, value in decoder.state_dict().items()}
    # Wings and LoRA put the layers of the decoder into layers of their own.
    named = {name: name.replace(".base_layer.", ".") for name in places if name.startswith(DECODER)}
    given = {name: found[plain] for name, plain in named.items() if plain in found and name not in tensors}
    if hash_of(given) != base["sha256"]:
        raise CheckpointError(
            f"the base {source} has other weights than those beside which the entry was trained: get the same base"
        )
    return given
