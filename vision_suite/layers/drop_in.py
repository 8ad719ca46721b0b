"""The suite's attention in models of others: any timm vision transformer, any transformers model, by one call."""

from __future__ import annotations

import importlib.util
from typing import Any, cast

from timm.layers.attention import Attention
from torch import Tensor, nn

from vision_suite.errors import ConfigError, MissingDependencyError
from vision_suite.ops.attention import cross_attention

NAME = "vision_suite"


class SuiteAttention(Attention):
    """timm's plain attention on `cross_attention`; the same parameters, gates, norms and dropout."""

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """(B, N, C) to (B, N, C); a mask between single tokens is left to timm."""
        if attn_mask is not None:
            result: Tensor = super().forward(x, attn_mask, is_causal)
            return result
        batch, tokens, _ = x.shape
        gate = None if self.gate is None else self.gate(x).sigmoid()
        qkv = self.qkv(x).view(batch, tokens, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        dropout = self.attn_drop.p if self.training else 0.0
        out = cross_attention(
            self.q_norm(query), self.k_norm(key), value, scale=self.scale, causal=is_causal, dropout_p=dropout
        ).out
        assert out is not None
        y = self.norm(out.transpose(1, 2).reshape(batch, tokens, self.attn_dim))
        y = y if gate is None else y * gate
        result = self.proj_drop(self.proj(y))
        return result


def use_suite_attention(model: nn.Module) -> int:
    """Give a model the suite's attention, in place; parameters and checkpoints stay as they are.

    Args:
        model: A timm model with plain attention layers, or a transformers model.

    Returns:
        Number of attention layers changed; of a transformers model, whose layers look their function up by name, 1.

    Raises:
        ConfigError: If the model has no attention that can be replaced.
        MissingDependencyError: If a transformers model is given and the package is not installed.
    """
    if hasattr(model, "set_attn_implementation"):
        register_with_transformers()
        cast(Any, model).set_attn_implementation(NAME)
        return 1
    # Sub-classes compute something else (rotary codes, windows), so the exact type counts.
    layers = [module for module in model.modules() if type(module) is Attention]
    if not layers:
        raise ConfigError(
            f"{type(model).__name__} has no plain timm attention and is no transformers model: nothing to replace"
        )
    for layer in layers:
        layer.__class__ = SuiteAttention
    return len(layers)


def register_with_transformers() -> None:
    """Make the name ``vision_suite`` known, as in ``from_pretrained(..., attn_implementation="vision_suite")``.

    Raises:
        MissingDependencyError: If transformers is not installed.
    """
    if importlib.util.find_spec("transformers") is None:
        raise MissingDependencyError("the suite's attention in a transformers model", "transformers")
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, transformers_attention)
    AttentionMaskInterface.register(NAME, padding_mask)


def padding_mask(
    *, kv_length: int, attention_mask: Tensor | None = None, allow_is_causal_skip: bool = True, **_: object
) -> Tensor | None:
    """The padding (B, N) of the keys at hand, True = kept; the causal part is the operator's own."""
    return None if attention_mask is None else attention_mask[:, -kv_length:].bool()


def transformers_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **more: object,
) -> tuple[Tensor, None]:
    """Attention function of transformers' interface.

    Args:
        module: The layer that calls.
        query: (B, H, M, D).
        key: (B, Hkv, N, D).
        value: As key.
        attention_mask: (B, N) of `padding_mask`, True = kept, or None.
        dropout: Dropout on the probabilities.
        scaling: Factor on the scores.
        is_causal: Overrides the layer's own; new queries see all earlier keys of a cache.
        more: Further settings of the model; those that change the scores are refused.

    Raises:
        ConfigError: If the model needs a form of attention that is not served.
    """
    for name in ("sliding_window", "softcap", "s_aux", "position_bias", "cache"):
        if more.get(name) is not None:
            raise ConfigError(
                f"{type(module).__name__} needs {name}, which is not served: use attn_implementation='sdpa'"
            )
    if attention_mask is not None and attention_mask.dim() != 2:
        raise ConfigError(
            f"{type(module).__name__} gives a mask {list(attention_mask.shape)} between single tokens, which is not "
            "served: use attn_implementation='sdpa'"
        )
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if value.shape[-1] != key.shape[-1]:
        raise ConfigError(
            f"{type(module).__name__} has values of another width than keys: use attn_implementation='sdpa'"
        )
    out = cross_attention(
        query, key, value, key_padding_mask=None if attention_mask is None else ~attention_mask, scale=scaling,
        causal=bool(causal), dropout_p=dropout,
    ).out  # fmt: skip
    assert out is not None
    return out.transpose(1, 2), None
