"""Base models that do not travel with an entry: named and hashed, and read from where this machine has them."""

from __future__ import annotations

import hashlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vision_suite.errors import CheckpointError, SuiteError
from vision_suite.hub.files import CONFIG
from vision_suite.hub.schema import BASE
from vision_suite.hub.text import one_line
from vision_suite.network import cached_first
from vision_suite.prepared import data_dir

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


def base_places(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Places in a network that its base model fills, by name; their values are those of `build`.

    Args:
        network: Network of the entry.
        tensors: Tensors of the entry, which the base does not replace.

    Raises:
        CheckpointError: The network has no decoder.
    """
    places = {name: value for name, value in network.state_dict(keep_vars=True).items() if name.startswith(DECODER)}
    if not places:
        raise CheckpointError(f"{CONFIG}: it names a base, and its network has no decoder: use another entry")
    return {name: value for name, value in places.items() if name not in tensors}


def base_tensors(network: nn.Module, base: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of an entry's base model, by their names in the network.

    Args:
        network: Network of the entry, whose decoder it is.
        base: Section ``base`` of ``config.json``.
        tensors: Tensors of the entry, which the base does not replace.

    Raises:
        CheckpointError: The network has no decoder, the base is not on this machine, or its weights are others.
    """
    source = str(base["source"])
    places = base_places(network, {})
    decoder = _decoder(source, next(iter(places.values())).dtype)
    found = {f"{DECODER}{name}": value for name, value in decoder.state_dict().items()}
    # Wings and LoRA put the layers of the decoder into layers of their own.
    named = {name: name.replace(".base_layer.", ".") for name in places}
    given = {name: found[plain] for name, plain in named.items() if plain in found and name not in tensors}
    if hash_of(given) != base["sha256"]:
        raise CheckpointError(
            f"the base {source} has other weights than those beside which the entry was trained: get the same base"
        )
    return given


def _decoder(source: str, dtype: torch.dtype) -> nn.Module:
    """The base model of a source: a prepared set by its name, or a repository in the revision that the source tells.

    The working folder is not looked at: nothing in it is what the source means.
    """
    load_decoder = pkgutil.resolve_name("vision_suite.layers.decoders:load_decoder")
    match = BASE.fullmatch(source)
    if match is None:
        raise CheckpointError(f"{CONFIG}: base {source!r:.80} is neither {PACKAGE}NAME nor {HF_HUB}ORG/NAME")
    if match[1]:
        folder = data_dir() / match[1]
        if not folder.exists():
            raise CheckpointError(
                f"the base {source} is not on this machine ({folder} is missing): vision-suite data prepare {match[1]}"
            )
        decoder: nn.Module = load_decoder(folder, dtype=dtype)
        return decoder

    def load(local: bool) -> Any:
        from huggingface_hub import snapshot_download

        folder = snapshot_download(
            match[2], revision=match[3], allow_patterns=["*.json", "*.safetensors"], local_files_only=local
        )
        return load_decoder(Path(folder), dtype=dtype)

    try:
        decoder = cached_first(load, match[2])
    except SuiteError:
        raise
    except Exception as error:  # the client fails in many ways
        raise CheckpointError(
            f"the base {source} cannot be had ({type(error).__name__}: {one_line(error)}): check its name"
        ) from error
    return decoder
