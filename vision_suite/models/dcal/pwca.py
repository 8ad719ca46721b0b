"""Pair-wise cross-attention: each image also attends a partner's keys, in training only (DCAL eq. 4)."""

from __future__ import annotations

from collections.abc import Sequence

from timm.models.vision_transformer import Block
from torch import Tensor

from vision_suite.layers.vit import attention_of, block_rows, finish_block, first_rows, project_qkv, run_block
from vision_suite.ops.attention import cross_attention, merge_attention


def pair_view(blocks: Sequence[Block], x: Tensor, order: Tensor) -> Tensor:
    """Class token after pair-wise blocks with symmetric partners.

    Pair-wise attention of two images over both images' keys IS plain self-attention of one sequence of 2N tokens, since
    all other layers work on single tokens. So the unmodified blocks run on pairs, fused attention included; of the last
    block only the class rows are computed. Stochastic depth then draws one mask per pair.

    Args:
        blocks: The self-attention branch's blocks (weights shared).
        x: (B, N, C) tokens before the first of them.
        order: (2 * ceil(B / 2),) int64, partners side by side (`vision_suite.ops.pairing.draw_pairs`).

    Returns:
        (2 * ceil(B / 2), C) class tokens, in the given order, before the final norm.
    """
    tokens, width = x.shape[1:]
    pairs = x[order].view(-1, 2 * tokens, width)
    for block in blocks[:-1]:
        pairs = run_block(block, pairs)
    index = first_rows(pairs.shape[0], [0, tokens], x.device)
    return block_rows(blocks[-1], pairs, index).view(-1, width)


def partner_stream(
    blocks: Sequence[Block], x: Tensor, partner: Tensor, own_keys: Sequence[tuple[Tensor, Tensor]] | None = None
) -> Tensor:
    """Tokens after pair-wise blocks with any partner map.

    Own and partner's keys share one softmax; the operator reads the partner's through the index, they are never
    concatenated.

    Args:
        blocks: The self-attention branch's blocks (weights shared).
        x: (B, N, C) tokens before the first of them.
        partner: (B,) int64 partner of each image; need not be symmetric, may repeat.
        own_keys: Per block the keys and values (B, H, N, D) of the self-attention stream; if given, the partner's keys
            come from there instead of from its own pair-wise stream.

    Returns:
        (B, N, C) before the final norm.
    """
    for number, block in enumerate(blocks):
        hidden = block.norm1(x)
        query, key, value = project_qkv(attention_of(block), hidden)
        if own_keys is None:
            out = cross_attention(query, key, value, partner=partner).out
        else:
            other_key, other_value = (each.index_select(0, partner) for each in own_keys[number])
            own = cross_attention(query, key, value, need=("out", "lse"))
            other = cross_attention(query, other_key, other_value, need=("out", "lse"))
            assert own.out is not None
            assert own.lse is not None
            assert other.out is not None
            assert other.lse is not None
            out, _ = merge_attention(own.out, own.lse, other.out, other.lse)
        assert out is not None
        x = finish_block(block, x, hidden, out)
    return x
