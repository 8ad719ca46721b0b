"""Learnt weighting of several losses by uncertainty (Kendall et al., CVPR 2018; as in FairMOT, IJCV 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class UncertaintyWeighting(nn.Module):
    """Total ``1/2 sum_b (exp(-w_b) L_b + w_b)`` with one learnt log-variance ``w_b`` per loss.

    DCAL combines its three branches this way. The gradient is ``dL/dw_b = (1 - exp(-w_b) L_b) / 2``, so each w settles
    at ``ln L_b``. As a loss goes to 0 its w falls without bound and the total turns negative; that is legal, and no
    check of the sign of the training loss may stop a run. ``limit`` bounds the weight: before each use, a w that an
    optimiser step took outside is put back on the bound, so that it can return when its loss rises.

    Args:
        names: Names of the losses.
        initial: Initial w of every loss; 0 starts each at weight 1/2.
        limit: Bound on w, which is kept in [-limit, limit].

    Example:
        >>> weighting = UncertaintyWeighting(["sa", "glca"])
        >>> total = weighting({"sa": torch.tensor(3.0), "glca": torch.tensor(1.0)})
        >>> float(total)
        2.0
    """

    def __init__(self, names: Sequence[str], *, initial: float = 0.0, limit: float = 10.0) -> None:
        super().__init__()
        self.limit = limit
        self.log_variance = nn.ParameterDict({name: nn.Parameter(torch.tensor(float(initial))) for name in names})

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Weighted total of scalar losses, computed at least in float32 under autocast too."""
        total = torch.zeros((), device=next(iter(losses.values())).device)
        for name, loss in losses.items():
            log_variance = self.log_variance[name]
            with torch.no_grad():
                log_variance.clamp_(-self.limit, self.limit)
            wide = torch.promote_types(loss.dtype, log_variance.dtype)
            w = log_variance.to(wide)
            total = total + 0.5 * (torch.exp(-w) * loss.to(wide) + w)
        return total

    def weights(self) -> dict[str, Tensor]:
        """Current weight ``exp(-w_b) / 2`` of each loss, as detached scalars."""
        return {name: 0.5 * torch.exp(-w) for name, w in self.log_variances().items()}

    def log_variances(self) -> dict[str, Tensor]:
        """Current w of each loss, as detached scalars inside the bounds."""
        return {name: w.detach().clamp(-self.limit, self.limit) for name, w in self.log_variance.items()}
