"""A word as the vector that a CLIP network sees in its pictures, for targets that are given by word."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

from vision_suite.errors import DataError, MissingDependencyError
from vision_suite.network import hub_address, hub_is_off, why_unreachable, without_network

PROMPT = "a photo of a {}"
DEFAULT_WEIGHTS = "openai"


def word_vector(model: str, word: str) -> Tensor:
    """(F,) float32 text embedding of "a photo of a <word>".

    Args:
        model: ``<model>[/<weights>]`` of open_clip, the one of the network's appearance; weights are a name or a file.
        word: Word of the target.

    Raises:
        MissingDependencyError: open_clip is not installed.
        DataError: The model cannot be loaded.
    """
    try:
        import open_clip  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f"text_encoder={model!r}", "open_clip_torch") from error
    name, _, weights = model.partition("/")
    off = "HF_HUB_OFFLINE is set" if hub_is_off() else why_unreachable(hub_address())
    try:
        # Weights that were loaded before are in the cache; without the network nothing else can be had.
        with contextlib.nullcontext() if off is None else without_network():
            network = open_clip.create_model(name, pretrained=weights or DEFAULT_WEIGHTS).eval()
            tokens = open_clip.get_tokenizer(name)([PROMPT.format(word)])
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        network_state = "" if off is None else f"; {hub_address()} cannot be used: {off}"
        raise DataError(
            f"text_encoder={model!r} cannot be loaded ({reason}{network_state}): check its name and the network, or "
            "give a file of weights, <model>/FILE"
        ) from None
    with torch.inference_mode():
        vector: Tensor = network.encode_text(tokens)[0].float()
    return vector.clone()
