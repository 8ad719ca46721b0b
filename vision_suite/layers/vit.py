"""A plain timm vision transformer, opened up: its own sub-modules, called in pieces.

DCAL needs the queries and keys of each block (rollout), single rows of a block's output (global-local attention), and
other keys in a block (pair-wise attention). These functions route through the block's own layers, so LayerScale, norms
of query and key, output gates and stochastic depth keep their meaning; attention of an unknown kind is refused.
"""

from __future__ import annotations

import difflib
from typing import Any, cast

import timm
import torch
import torch.nn.functional as F
from timm.layers.attention import Attention
from timm.layers.patch_embed import PatchEmbed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from vision_suite.errors import ConfigError
from vision_suite.layers import backbones as backbones  # registers the suite's own names
from vision_suite.ops.attention import AttentionResult, cross_attention


def create_vit(
    name: str,
    *,
    image_size: tuple[int, int],
    pretrained: bool = False,
    drop_path: float = 0.0,
    patch_stride: int | None = None,
    **timm_args: Any,
) -> VisionTransformer:
    """Build a plain ViT or DeiT by its timm name, without its classifier.

    Args:
        name: timm model name, such as ``deit_tiny_patch16_224`` or ``vit_small_patch16_224.augreg_in21k``, or a name
            with a scheme (``hf-hub:``, ``local-dir:``).
        image_size: (height, width) in pixels; position embeddings are resampled to it.
        pretrained: Load timm's weights.
        drop_path: Stochastic depth rate of the last block (linear from 0).
        patch_stride: Stride of the patch embedding; below the patch size, patches overlap.
        timm_args: Further arguments of the timm constructor (``depth``, ``embed_dim``, ...).

    Raises:
        ConfigError: If timm doesn't know the name, or the model isn't a plain ViT with a class token.
    """
    # Overlapping patches make a grid of their own; position embeddings are resampled once, from the size timm knows.
    size: dict[str, Any] = {"img_size": image_size} if patch_stride is None else {}
    try:
        vit = timm.create_model(
            name, pretrained=pretrained, num_classes=0, drop_path_rate=drop_path, **size, **timm_args
        )
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise ConfigError(
            f"backbone={name!r} can't be built ({_one_line(error)}): give the timm name of a plain ViT or DeiT, such "
            f"as {_near_names(name)}"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"the weights of backbone={name!r} can't be had ({_one_line(error)}): connect to the network once, give "
            "local-dir:PATH, or use pretrained=false"
        ) from error
    plain = check_plain_vit(vit, name)
    if patch_stride is not None:
        _overlap_patches(plain, image_size, patch_stride, name)
    return plain


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _near_names(name: str) -> str:
    known = timm.list_models(["vit_*_patch*", "deit*_patch*"])
    near = [each for each in difflib.get_close_matches(name.split(".")[0], known, n=3) if each != name]
    return ", ".join(near or ["deit_small_patch16_224"])


def check_plain_vit(vit: nn.Module, name: str) -> VisionTransformer:
    """Give the model back, or refuse it if its attention isn't the plain one that this suite opens up.

    Raises:
        ConfigError: Naming the backbone and what about it isn't supported.
    """
    advice = "use a plain ViT or DeiT, such as deit_small_patch16_224"
    if not isinstance(vit, VisionTransformer):
        raise ConfigError(f"backbone={name!r} is a {type(vit).__name__}, not a plain vision transformer: {advice}")
    if vit.cls_token is None:
        raise ConfigError(f"backbone={name!r} has no class token, which rollout and read-out start from: {advice}")
    if isinstance(vit.norm, nn.Identity) and not isinstance(vit.fc_norm, nn.Identity):
        raise ConfigError(f"backbone={name!r} pools its patches and leaves the class token without a norm: {advice}")
    for index, block in enumerate(vit.blocks):
        # Sub-classes change the arithmetic (rotary codes, windows, parallel branches), so the exact type counts.
        if type(block) is not Block:
            raise ConfigError(f"backbone={name!r} has blocks of type {type(block).__name__} (block {index}): {advice}")
        if type(block.attn) is not Attention:
            kind = type(block.attn).__name__
            raise ConfigError(f"backbone={name!r} has attention of type {kind} (block {index}): {advice}")
    return vit


def blocks_of(vit: VisionTransformer) -> list[Block]:
    """The transformer blocks, oldest first."""
    return [cast(Block, block) for block in vit.blocks]


def attention_of(block: Block) -> Attention:
    """The block's attention layer."""
    return cast(Attention, block.attn)


def _overlap_patches(vit: VisionTransformer, image_size: tuple[int, int], stride: int, name: str) -> None:
    embed = vit.patch_embed
    if type(embed) is not PatchEmbed:
        raise ConfigError(
            f"backbone={name!r} embeds patches through a {type(embed).__name__}: leave patch_stride unset"
        )
    patch = embed.patch_size
    if not 0 < stride <= min(patch):
        raise ConfigError(f"patch_stride={stride} must lie between 1 and the patch size {min(patch)}")
    if any(pixels < side for pixels, side in zip(image_size, patch, strict=True)):
        raise ConfigError(f"image_size={list(image_size)} is smaller than one patch of {list(patch)}")
    grid = [(pixels - side) // stride + 1 for pixels, side in zip(image_size, patch, strict=True)]
    vit.set_input_size((grid[0] * patch[0], grid[1] * patch[1]))
    embed.img_size = image_size
    embed.proj.stride = (stride, stride)


def embed_tokens(vit: VisionTransformer, image: Tensor) -> Tensor:
    """Tokens that enter the first block: (B, 3, H, W) to (B, N, C)."""
    # Channels last is what convolutions are fastest in, on CPU and GPU, and what tokens are made of.
    x = vit.patch_embed(image.contiguous(memory_format=torch.channels_last))
    x = vit._pos_embed(x)
    x = vit.patch_drop(x)
    out: Tensor = vit.norm_pre(x)
    return out


def project_qkv(attn: Attention, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (B, H, N, D) of normed tokens (B, N, C)."""
    batch, tokens, _ = hidden.shape
    qkv = attn.qkv(hidden).view(batch, tokens, 3, attn.num_heads, attn.head_dim).permute(2, 0, 3, 1, 4)
    query, key, value = qkv.unbind(0)
    return attn.q_norm(query), attn.k_norm(key), value


def project_rows(attn: Attention, hidden: Tensor, selected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (B, H, R, D) of some rows, keys and values (B, H, N, D) of all.

    Args:
        attn: The block's attention.
        hidden: (B, N, C) normed tokens.
        selected: (B, R, C) the rows of ``hidden`` that ask.
    """
    width = attn.attn_dim
    weight, bias = attn.qkv.weight, attn.qkv.bias
    query = F.linear(selected, weight[:width], None if bias is None else bias[:width])
    key_value = F.linear(hidden, weight[width:], None if bias is None else bias[width:])
    batch, tokens, _ = hidden.shape
    query = query.view(batch, -1, attn.num_heads, attn.head_dim).transpose(1, 2)
    key, value = key_value.view(batch, tokens, 2, attn.num_heads, attn.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
    return attn.q_norm(query), attn.k_norm(key), value


def attend(attn: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention output (B, H, M, D) with the block's own dropout."""
    out = attend_full(attn, query, key, value, ("out",)).out
    assert out is not None
    return out


def attend_full(attn: Attention, query: Tensor, key: Tensor, value: Tensor, need: tuple[str, ...]) -> AttentionResult:
    """The same with whatever else is wanted of `cross_attention`; only ``out`` can be had under dropout."""
    dropout = attn.attn_drop.p if attn.training else 0.0
    return cross_attention(query, key, value, need=need, dropout_p=dropout)


def finish_block(block: Block, x: Tensor, hidden: Tensor, out: Tensor) -> Tensor:
    """Everything after attention: projection, residual, feed-forward.

    Args:
        block: The timm block.
        x: (B, M, C) tokens before the block.
        hidden: (B, M, C) the same tokens after its first norm (an output gate reads them).
        out: (B, H, M, D) attention output.

    Returns:
        (B, M, C) tokens after the block.
    """
    attn = attention_of(block)
    y = attn.norm(out.transpose(1, 2).flatten(2))
    if attn.gate is not None:
        y = y * attn.gate(hidden).sigmoid()
    x = x + block.drop_path1(block.ls1(attn.proj_drop(attn.proj(y))))
    result: Tensor = x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
    return result


def run_block(block: Block, x: Tensor) -> Tensor:
    """One whole block, (B, N, C) to (B, N, C): equal to ``block(x)``, on the suite's attention."""
    hidden = block.norm1(x)
    return finish_block(block, x, hidden, attend(attention_of(block), *project_qkv(attention_of(block), hidden)))


def gather_rows(x: Tensor, index: Tensor) -> Tensor:
    """Rows of each image: (B, N, C) and (B, R) int64 to (B, R, C)."""
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def block_rows(block: Block, x: Tensor, index: Tensor) -> Tensor:
    """Some rows of a block's output, computed without the others.

    Equal to ``gather_rows(block(x), index)``: the queries and the feed-forward run on the selected rows only, keys and
    values on all.

    Args:
        block: The timm block.
        x: (B, N, C) tokens before the block.
        index: (B, R) int64 rows.

    Returns:
        (B, R, C).
    """
    hidden = block.norm1(x)
    selected = gather_rows(hidden, index)
    attn = attention_of(block)
    query, key, value = project_rows(attn, hidden, selected)
    return finish_block(block, gather_rows(x, index), selected, attend(attn, query, key, value))


def first_rows(batch: int, rows: list[int], device: torch.device) -> Tensor:
    """The same row numbers for every image: (B, len(rows)) int64."""
    return torch.tensor(rows, device=device).expand(batch, -1)
