"""Object attention: attention weights of decoder states over the scene's objects are the prediction itself.

OAT (Fang et al., ECCV 2024), its head between encoder and decoder. There is no value projection.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vision_suite.errors import ConfigError


class PointerHead(nn.Module):
    """Logits of every object (and of the end) at every step.

    Head c maps encoder rows and decoder states by its own full-width linear layers and scores them by
    ``S_c = A_d A_e^T / sqrt(d)``, d the full width (not d over the heads); the heads are combined by a learned readout
    ``O = sum_c r_c S_c + r_0``, which one head alone does without. In training the authors append a zero column to
    every S_c, a class for padding that takes part in the softmax although never a label: after the readout it is r_0.

    Args:
        width: Width E of states and rows, and of each head.
        num_heads: Number of heads.
    """

    def __init__(self, width: int = 512, num_heads: int = 2) -> None:
        super().__init__()
        if num_heads < 1:
            raise ConfigError(f"pointer_heads={num_heads} must be 1 or more")
        self.width = width
        self.row = nn.ModuleList(nn.Linear(width, width) for _ in range(num_heads))
        self.state = nn.ModuleList(nn.Linear(width, width) for _ in range(num_heads))
        self.readout = nn.Linear(num_heads, 1) if num_heads > 1 else None

    def keys(self, memory: Tensor) -> Tensor:
        """Encoder rows (B, S, E) to what states are compared with, (B, S, heads * E); once per scene."""
        return torch.cat([row(memory) for row in self.row], dim=-1)

    def forward(self, states: Tensor, keys: Tensor, usable: Tensor) -> Tensor:
        """Logits without the padding class.

        Args:
            states: (B, T, E) decoder states.
            keys: (B, S, heads * E) from `keys`.
            usable: (B, S) bool, False for rows that do not exist.

        Returns:
            (B, T, S); -inf where a row does not exist.
        """
        queries = [state(states) for state in self.state]
        if self.readout is not None:
            # The readout is linear, so it may scale the queries: one product serves all heads.
            queries = [query * share for query, share in zip(queries, self.readout.weight[0], strict=True)]
        logits = torch.cat(queries, dim=-1) @ keys.transpose(1, 2) / math.sqrt(self.width) + self.padding_logit()
        return logits.masked_fill(~usable[:, None], -torch.inf)

    def padding_logit(self) -> Tensor:
        """The logit r_0 of the padding class, (1,)."""
        return self.readout.bias if self.readout is not None else self.state[0].get_parameter("bias").new_zeros(1)

    def with_padding(self, logits: Tensor) -> Tensor:
        """(B, T, S) to (B, T, S + 1): the padding class behind the others, for training."""
        column = self.padding_logit().expand(*logits.shape[:2], 1).to(logits.dtype)
        return torch.cat([logits, column], dim=-1)
