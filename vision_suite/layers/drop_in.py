"""The suite's attention in models of others: any timm vision transformer, any transformers model, by one call."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.layers.attention import Attention
from torch import Tensor, nn

from vision_suite.errors import ConfigError, MissingDependencyError
from vision_suite.layers.branches import Branches
from vision_suite.layers.packed import Packed, find_packed
from vision_suite.ops.attention import cross_attention
from vision_suite.ops.branches import branch_attention

NAME = "vision_suite"
OTHERWISE = "which is not served: use attn_implementation='sdpa'"
# Settings of transformers' attention functions that change the scores, or the keys that a query sees.
CHANGES = (
    "sliding_window",
    "softcap",
    "s_aux",
    "sinks",
    "position_bias",
    "cache",
    "indices",
    "block_indices",
    "cu_seq_lens_q",
    "cu_seq_lens_k",
    "seq_idx",
)


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

    Of transformers models, bidirectional, causal and cross-attention are served, with padding on either side, a cache
    that grows, and grouped key heads. Any other form is an error in one line when the model is called: see
    `padding_mask` and `transformers_attention`.

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
        parts: list[Any] = [part for part in model.modules() if hasattr(part, "set_attn_implementation")]
        if not any(part.config._attn_implementation == NAME for part in parts):
            raise ConfigError(f"{type(model).__name__} does not look its attention up by name: nothing to replace")
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
    *,
    batch_size: int,
    kv_length: int,
    q_length: int = 0,
    q_offset: int | Tensor = 0,
    cache_position: Tensor | None = None,
    kv_offset: int = 0,
    mask_function: Callable[..., Any],
    attention_mask: Tensor | None = None,
    local_size: int | None = None,
    allow_is_causal_skip: bool = True,
    allow_is_bidirectional_skip: bool = True,
    device: torch.device | str = "cpu",
    **_: object,
) -> Tensor | None:
    """Mask function of transformers' interface, for masks that are causal or full, up to padding.

    Args:
        batch_size: B.
        kv_length: Number of keys N.
        q_length: Number of queries M.
        q_offset: Position of the first query in its row; a tensor in a static cache.
        cache_position: (M,) positions of the queries, which the first releases 5 give in place of these two.
        kv_offset: Position of the first key.
        mask_function: transformers' rule for a pair of tokens.
        attention_mask: (B, positions) padding, true = kept; positions that it lacks are hidden.
        local_size: Width of a window.
        allow_is_causal_skip: False if the model computes with a causal mask, which must then be written out.
        allow_is_bidirectional_skip: The same of a full mask.
        device: Device of a new mask.

    Returns:
        (B, N) boolean, true = kept, where attention is causal; (B, 1, 1, N) where it is full; None if nothing is
        hidden beyond what the layer's own ``is_causal`` tells.

    Raises:
        ConfigError: If the mask is of another kind: packed rows, a window, chunks, single tokens, a static cache.
    """
    from transformers.masking_utils import bidirectional_mask_function, causal_mask_function

    if cache_position is not None:
        q_length, q_offset, device = len(cache_position), int(cache_position[0]), cache_position.device
    causal = mask_function is causal_mask_function
    if local_size is not None:
        raise ConfigError(f"the model attends to a window or chunk of {local_size} tokens, {OTHERWISE}")
    if not causal and mask_function is not bidirectional_mask_function:
        raise ConfigError(
            "the model hides single tokens (packed rows with positions that start again, blocks, a prefix, picture "
            f"tokens), {OTHERWISE}"
        )
    if isinstance(q_offset, Tensor) or (causal and q_offset + q_length != kv_offset + kv_length):
        raise ConfigError(
            f"the model's cache is static: it has {kv_length} keys for {q_length} new tokens, {OTHERWISE}, or a cache "
            "that grows (cache_implementation='dynamic')"
        )
    if not (allow_is_causal_skip if causal else allow_is_bidirectional_skip):
        raise ConfigError(f"the model computes with its mask, {OTHERWISE}")
    if attention_mask is None:
        if not causal or q_length in (1, kv_length):
            return None
        return torch.ones(batch_size, kv_length, dtype=torch.bool, device=device)
    missing = max(0, kv_offset + kv_length - attention_mask.shape[-1])
    kept = F.pad(attention_mask.bool(), (0, missing))[:, kv_offset : kv_offset + kv_length]
    return kept if causal else kept[:, None, None, :]


def transformers_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    readout: Tensor | None = None,
    segments: Tensor | Packed | None = None,
    branches: Branches | None = None,
    **more: object,
) -> tuple[Tensor, Tensor | None]:
    """Attention function of transformers' interface.

    A model hands keywords that it does not know through to this function, so ``model(..., segments=...)`` is enough.

    Args:
        module: The layer that calls.
        query: (B, H, M, D).
        key: (B, Hkv, N, D).
        value: As key.
        attention_mask: Mask of `padding_mask`. Any (B, 1, 1, N) boolean mask says the same for all queries.
        dropout: Dropout on the probabilities.
        scaling: Factor on the scores.
        is_causal: Overrides the layer's own where there is no mask; a mask tells by itself.
        readout: (N, G) or (B, N, G) further value columns, float32 (float64 for float64), G at most 8.
        segments: (B, S) int64, number of the sequence of each token in packed rows, -1 for padding: tokens of
            different sequences do not see each other. Give an all-true padding mask with it, and no cache.
        branches: Rows of one beginning and several continuations, which do not see each other. As with segments, give
            an all-true padding mask and no cache.
        more: Further settings of the model; those that change the scores are refused.

    Returns:
        Output (B, M, H, D), and the answers (B, H, M, G) of the read-out columns, None without them.

    Raises:
        ConfigError: If the model needs a form of attention that is not served.
    """
    name = type(module).__name__
    if needed := [setting for setting in CHANGES if more.get(setting) is not None]:
        raise ConfigError(f"{name} needs {needed[0]}, {OTHERWISE}")
    if value.shape[-1] != key.shape[-1]:
        raise ConfigError(f"{name} has values of width {value.shape[-1]} and keys of {key.shape[-1]}, {OTHERWISE}")
    kept, causal = None, False
    if attention_mask is None:
        causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal) and query.shape[2] > 1
        if causal and query.shape[2] != key.shape[2]:
            raise ConfigError(
                f"{name} is causal and gives no mask for {query.shape[2]} queries and {key.shape[2]} keys, {OTHERWISE}"
            )
    else:
        shape = tuple(attention_mask.shape)
        batch, keys = query.shape[0], key.shape[2]
        if shape not in ((batch, keys), (batch, 1, 1, keys)) or attention_mask.dtype != torch.bool:
            raise ConfigError(f"{name} gives a mask {list(shape)} of {attention_mask.dtype}, {OTHERWISE}")
        kept, causal = attention_mask.reshape(batch, keys), len(shape) == 2
    if branches is not None:
        reason = "packed rows" if segments is not None else "dropout" if dropout else "" if causal else "full attention"
        if reason or not branches.shape == (query.shape[0], query.shape[2]) == (key.shape[0], key.shape[2]):
            raise ConfigError(
                f"{name} has rows of {query.shape[2]} queries and {key.shape[2]} keys, branches of "
                f"{list(branches.shape)}: they do not go with {reason or 'a cache, or rows of another length'}"
            )
        merged, answers = branch_attention(
            query, key, value, prefix=branches.prefix_kept.shape[1], branches=branches.branch_kept.shape[1],
            prefix_padding=branches.padding, readout=readout, scale=scaling,
        )  # fmt: skip
        return merged.transpose(1, 2), answers
    packed = find_packed(segments) if isinstance(segments, Tensor) else segments
    if packed is not None:
        if not packed.inside.shape == (query.shape[0], query.shape[2]) == (key.shape[0], key.shape[2]):
            raise ConfigError(
                f"{name} has {query.shape[2]} queries and {key.shape[2]} keys in rows of segments "
                f"{list(packed.inside.shape)}: packed rows are computed whole, with use_cache=False"
            )
        kept = packed.kept if kept is None else packed.kept & packed.unpack(kept)
        query, key, value = (packed.unpack(x.transpose(1, 2)).transpose(1, 2) for x in (query, key, value))
        if readout is not None:
            readout = packed.unpack(readout.expand(*packed.inside.shape, -1))
    try:
        result = cross_attention(
            query, key, value, key_padding_mask=None if kept is None else ~kept, scale=scaling, causal=causal,
            dropout_p=dropout, readout=readout, need=("out",) if readout is None else ("out", "extra"),
        )  # fmt: skip
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: {error}, {OTHERWISE}") from None
    out, extra = result.out, result.extra
    assert out is not None
    out = out.transpose(1, 2)
    if packed is not None:
        out = packed.repack(out)
        extra = None if extra is None else packed.repack(extra.transpose(1, 2)).transpose(1, 2)
    return out, extra
