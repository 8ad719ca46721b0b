"""Tensors of a file of weights, read without running any code from it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from vision_suite.checkpoints import files
from vision_suite.checkpoints.contents import is_finite
from vision_suite.errors import CheckpointError

# Keys under which training code stores the network's tensors, the averaged weights before the raw ones.
WRAPPERS = ("state_dict_ema", "model_ema", "teacher", "state_dict", "model", "model_state_dict", "net")
# Prefixes that DistributedDataParallel and torch.compile put before the network's own names.
WRAPPED = ("module.", "_orig_mod.")


@dataclass(frozen=True)
class WeightsFile:
    """Contents of a file of weights.

    Attributes:
        path: The file.
        sha256: SHA-256 of its bytes, in hexadecimal.
        tensors: Its tensors by name, without the prefixes of wrappers.
        settings: Constructor arguments that a checkpoint of this suite stores beside them; empty for other files.
    """

    path: Path
    sha256: str
    tensors: dict[str, Tensor]
    settings: Mapping[str, Any]


def read_weights(path: str | Path) -> WeightsFile:
    """Read a checkpoint, a state dict (wrapped or not) or a safetensors file.

    Args:
        path: The file.

    Raises:
        CheckpointError: The file is missing, damaged, holds code or no tensors, or a tensor that is not finite.
    """
    path = Path(path)
    contents = _contents(path)
    tensors = _unwrapped(contents)
    if not tensors:
        raise CheckpointError(f"{path}: no tensors at its top or under {', '.join(WRAPPERS)}: give a file of weights")
    odd = [name for name, value in tensors.items() if value.layout is not torch.strided or value.is_quantized]
    if odd:
        raise CheckpointError(f"{path}: {odd[0]} is sparse or quantised: give the file of the plain weights")
    broken = [name for name, value in tensors.items() if not is_finite(value)]
    if broken:
        raise CheckpointError(f"{path}: {broken[0]} holds values that are not finite: use another file")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    settings = contents.get("hyper_parameters")
    return WeightsFile(path, digest, tensors, settings if isinstance(settings, Mapping) else {})


def _contents(path: Path) -> Mapping[str, Any]:
    """Contents of a file, on the CPU."""
    if not _is_safetensors(path):
        contents = files.load(path)
    else:
        try:
            contents = safetensors.torch.load_file(path)
        except Exception as error:  # damaged bytes make the reader fail in any way
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:120]
            raise CheckpointError(f"{path}: damaged or truncated ({reason}): copy it again") from error
    if not isinstance(contents, Mapping):
        raise CheckpointError(f"{path}: holds a {type(contents).__name__}, not tensors by name")
    return contents


def _is_safetensors(path: Path) -> bool:
    """True for a file that begins as safetensors does: eight bytes of length, then JSON."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(9)
    return path.suffix == ".safetensors" or (start[8:] == b"{" and int.from_bytes(start[:8], "little") < 1 << 32)


def _unwrapped(contents: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a file by name, out of the dictionaries that training code puts around them."""
    while (
        inner := next((contents[key] for key in WRAPPERS if isinstance(contents.get(key), Mapping)), None)
    ) is not None:
        contents = inner
    found = {}
    for key, value in contents.items():
        if isinstance(value, Tensor):
            name = str(key)
            while name.startswith(WRAPPED):
                name = name.split(".", 1)[1]
            found[name] = value
    return found
