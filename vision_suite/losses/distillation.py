"""Distillation of a language model from another one, over few positions of a vocabulary at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

BYTES = 6 * 4  # of a position and id: logits, log-probabilities and terms of both models in 32 bits


def kl_to_reference(
    states: Tensor, head: Tensor, reference: Tensor, reference_head: Tensor, *, budget: int = 256 * 2**20
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
    step = max(1, budget // (len(head) * BYTES))
    total = states.new_zeros((), dtype=torch.promote_types(states.dtype, torch.float32))
    for start in range(0, len(states), step):
        part = slice(start, start + step)
        # Logits are computed again in the backward pass rather than kept for all positions.
        total = total + checkpoint(_kl, states[part], head, reference[part], reference_head, use_reentrant=False)
    return total


def _kl(states: Tensor, head: Tensor, reference: Tensor, reference_head: Tensor) -> Tensor:
    wide = torch.promote_types(states.dtype, torch.float32)
    own = (states @ head.T).to(wide).log_softmax(-1)
    with torch.no_grad():
        other = (reference @ reference_head.T).to(wide).log_softmax(-1)
    return (other.exp() * (other - own)).sum()
