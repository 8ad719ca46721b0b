"""Attention functions that give a router its read-outs beside a model's own attention (WINGS settings `stats`)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from vision_suite.errors import ConfigError, MissingDependencyError
from vision_suite.layers.drop_in import NAME, register_with_transformers
from vision_suite.models.wings.config import Statistics
from vision_suite.models.wings.state import WingsState
from vision_suite.ops.attention import cross_attention

PREFIX = "wings"


def attention_name(former: str, stats: Statistics) -> str:
    """Name of the attention function of a kind of statistics, made known to transformers.

    Args:
        former: Name of the model's own attention function.
        stats: Kind of statistics.

    Raises:
        ConfigError: If the model's own function cannot be found.
        MissingDependencyError: If transformers is not installed.
    """
    try:
        from transformers import AttentionInterface
        from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
    except ImportError:
        raise MissingDependencyError("wings", "transformers", extra="language") from None
    if stats == "operator":
        register_with_transformers()
        return NAME
    base = "eager" if stats == "eager" else former.removeprefix(f"{PREFIX}_exact_")
    name = f"{PREFIX}_{stats}_{base}"
    if base not in ALL_MASK_ATTENTION_FUNCTIONS:
        raise ConfigError(f"wings.stats={stats} does not serve attn_implementation={base!r}: use 'sdpa' or 'eager'")
    AttentionInterface.register(name, _eager if stats == "eager" else _beside(base))
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[base])
    return name


def _own(module: nn.Module, name: str) -> Callable[..., tuple[Tensor, Any]]:
    """The attention function that a layer calls under a name."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    eager: Any = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    own: Callable[..., tuple[Tensor, Any]] | None = ALL_ATTENTION_FUNCTIONS.get_interface(name, eager)
    if own is None:
        raise ConfigError(f"{type(module).__name__} has no attention {name!r}: use attn_implementation='sdpa'")
    return own


def _beside(base: str) -> Callable[..., tuple[Tensor, Tensor | None]]:
    """Attention function that calls the model's own, and reads columns in a second pass."""

    def attention(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **more: Any
    ) -> tuple[Tensor, Tensor | None]:
        readout, state = more.pop("readout", None), more.pop("wings", None)
        out = _own(module, base)(module, query, key, value, mask, **more)[0]
        if readout is None or not isinstance(state, WingsState):
            return out, None
        hidden = None if state.kept is None else ~state.kept
        # Values of keys' width; only the read-outs are taken.
        extra = cross_attention(
            query, key, key, key_padding_mask=hidden, readout=readout, scale=more.get("scaling"), causal=True,
            need=("extra",),
        ).extra  # fmt: skip
        return out, extra

    return attention


def _eager(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **more: Any
) -> tuple[Tensor, Tensor | None]:
    """The model's own eager attention; columns are read from its whole matrix (B, H, M, N)."""
    readout = more.pop("readout", None)
    out, attention = _own(module, "eager")(module, query, key, value, mask, **more)
    return out, None if readout is None else attention.to(readout.dtype) @ readout[:, None]
