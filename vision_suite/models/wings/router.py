"""Router (WINGS eq. 5): weights of both wings for each token, from what the main attention reads."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_suite.models.wings.config import Activation, Routing


class Router(nn.Module):
    """One linear layer on attention that is summed over heads (``position``) or averaged over them (``mass``).

    Args:
        kind: What it reads.
        inputs: Number of positions; of kind ``mass`` there are three inputs.
    """

    def __init__(self, kind: Routing, inputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2, inputs if kind == "position" else 3))
        self.bias = nn.Parameter(torch.empty(2))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights and biases as PyTorch's linear layer does, so that both wings start near one half."""
        bound = self.weight.shape[1] ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)


def position_columns(router: Router, positions: Tensor, dtype: torch.dtype) -> Tensor:
    """Read-out columns (B, N, 2) of a router by position: its weights at the keys' positions (B, N)."""
    return F.embedding(positions, router.weight.to(dtype).t())


def position_logits(router: Router, read: Tensor) -> Tensor:
    """Logits (B, M, 2) from read-outs (B, M, 2) of `position_columns`, summed over heads."""
    return read + router.bias.to(read.dtype)


def mass_logits(router: Router, share: Tensor) -> Tensor:
    """Logits (B, M, 2) from the shares (B, M, 4) of `vision_suite.models.wings.state.GROUPS`, averaged over heads.

    Text between pictures counts as text after them: what follows a token must not change its weights.
    """
    share = torch.cat([share[..., :2], share[..., 2:].sum(-1, keepdim=True)], -1)
    return F.linear(share, router.weight.to(share.dtype), router.bias.to(share.dtype))


def weights(logits: Tensor, sees_image: Tensor, act: Activation, scale: float, masked: bool) -> tuple[Tensor, Tensor]:
    """Routing weights, and the factors on both wings' outputs.

    Args:
        logits: (B, M, 2) float32.
        sees_image: (B, M) boolean, true where a token sees a picture.
        act: Function before the softmax.
        scale: Factor on the weights.
        masked: True gives tokens without a picture the text wing alone, with factor 1.

    Returns:
        Weights (B, M, 2), which sum to 1, and factors (B, M, 2).
    """
    logits = F.silu(logits) if act == "silu" else logits
    if not masked:
        weight = logits.softmax(-1)
        return weight, weight * scale
    seen = sees_image.unsqueeze(-1)
    alone = logits.new_tensor([0.0, 1.0])
    weight = torch.where(seen, logits.softmax(-1), alone)
    return weight, torch.where(seen, weight * scale, weight)
