"""Divergence of next-token distributions from a reference's, over few positions of a vocabulary at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vision_suite.ops.logprobs import BUDGET

BYTES = 6 * 4  # of a position and id: logits, log-probabilities and terms of both models in 32 bits


def divergence(reference: Tensor, logits: Tensor) -> Tensor:
    """KL(reference || model) of each row, (N,) in nats, in float32 or better; differentiable in both.

    Args:
        reference: (N, V) logits of the reference, floating point.
        logits: (N, V) logits of the model.

    Example:
        >>> one, two = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 1.0986123]])  # 1/2, 1/2 against 1/4, 3/4
        >>> round(float(divergence(one, two)), 4)
        0.1438
    """
    wide = torch.promote_types(torch.promote_types(reference.dtype, logits.dtype), torch.float32)
    log_p, log_q = reference.to(wide).log_softmax(1), logits.to(wide).log_softmax(1)
    p = log_p.exp()
    # A token that the reference excludes adds nothing, and must not add infinity minus infinity.
    return torch.where(p > 0, p * (log_p - log_q).masked_fill(p == 0, 0.0), p.new_zeros(())).sum(1)


def blocks(positions: int, vocabulary: int, budget: int = BUDGET) -> Iterator[slice]:
    """Runs of positions whose logits of two models, and what is made of them, fit into a budget.

    Args:
        positions: Number of positions.
        vocabulary: Number of ids.
        budget: Bytes of a block.

    Example:
        >>> list(blocks(3, 10, budget=500))
        [slice(0, 2, None), slice(2, 4, None)]
    """
    step = max(1, budget // (vocabulary * BYTES))
    return (slice(start, start + step) for start in range(0, positions, step))


def kl_to_reference(
    states: Tensor, head: Tensor, reference: Tensor, reference_head: Tensor, *, budget: int = BUDGET
) -> Tensor:
    """Sum of KL(reference || model) of next-token distributions, in nats; differentiable in the model's part.

    Args:
        states: (N, d) last hidden states of the model.
        head: (V, d) its output embeddings.
        reference: (N, e) last hidden states of the reference, without gradient.
        reference_head: (V, e) its output embeddings.
        budget: Bytes that logits and what is made of them may take at a time.

    Example:
        >>> states, head = torch.randn(3, 4), torch.randn(5, 4)
        >>> float(kl_to_reference(states, head, states, head))
        0.0
    """
    total = states.new_zeros((), dtype=torch.promote_types(states.dtype, torch.float32))
    for part in blocks(len(states), len(head), budget):
        # Logits are computed again in the backward pass rather than kept for all positions.
        total = total + checkpoint(_kl, states[part], head, reference[part], reference_head, use_reentrant=False)
    return total


def _kl(states: Tensor, head: Tensor, reference: Tensor, reference_head: Tensor) -> Tensor:
    with torch.no_grad():
        other = reference @ reference_head.T
    return divergence(other, states @ head.T).sum()
