"""Learnt weighting of several losses by uncertainty (Kendall et al., CVPR 2018; as in FairMOT, IJCV 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class UncertaintyWeighting(nn.Module):
    """Total ``1/2 sum_b (exp(-w_b) L_b + w_b)`` with one learnt log-variance ``w_b`` per loss.

    DCAL combines its three branches this way. The gradient is ``dL/dw_b = (1 - exp(-w_b) L_b) / 2``, so each w settles
    at ``ln L_b``. As a loss goes to 0 its w falls without bound and the total turns negative; that is legal, and no
    check of the sign of the training loss may stop a run. ``limit`` bounds the weight.

    Args:
        names: Names of the losses.
        initial: Initial w of every loss; 0 starts each at weight 1/2.
        limit: w is clamped to [-limit, limit].
    """

    def __init__(self, names: Sequence[str], *, initial: float = 0.0, limit: float = 10.0) -> None:
        super().__init__()
        self.limit = limit
        self.log_variance = nn.ParameterDict({name: nn.Parameter(torch.tensor(float(initial))) for name in names})

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Weighted total of scalar losses, computed at least in float32 under autocast too.

        Raises:
            KeyError: If a loss has no weight.
        """
        total = torch.zeros((), device=next(iter(losses.values())).device)
        for name, loss in losses.items():
            log_variance = self.log_variance[name]
            wide = torch.promote_types(loss.dtype, log_variance.dtype)
            w = log_variance.to(wide).clamp(-self.limit, self.limit)
            total = total + 0.5 * (torch.exp(-w) * loss.to(wide) + w)
        return total

    def weights(self) -> dict[str, float]:
        """Current weight ``exp(-w_b) / 2`` of each loss."""
        return {
            name: 0.5 * float(torch.exp(-w.detach().clamp(-self.limit, self.limit)))
            for name, w in self.log_variance.items()
        }
