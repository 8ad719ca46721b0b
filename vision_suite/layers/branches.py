"""Rows of one beginning and several continuations: which tokens are whose, and where each branch lies."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vision_suite.errors import ConfigError, DataError
from vision_suite.layers.packed import Packed


class Branches(NamedTuple):
    """Rows [prefix, branch 1, ..., branch n] of P + n T tokens. See `find_branches`.

    Attributes:
        prefix_kept: (B, P) boolean, false for padding of the prefix.
        branch_kept: (B, n, T) boolean, false for padding of a branch.
        padding: (B, P) boolean, true = padding of the prefix; None if there is none.
    """

    prefix_kept: Tensor
    branch_kept: Tensor
    padding: Tensor | None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows B and tokens P + n T of each."""
        return self.prefix_kept.shape[0], self.prefix_kept.shape[1] + self.branch_kept[0].numel()

    @property
    def inside(self) -> Tensor:
        """(B, P + n T) boolean, false for padding."""
        return torch.cat([self.prefix_kept, self.branch_kept.flatten(1)], 1)

    def row(self, prefix: Tensor, branch: Tensor) -> Tensor:
        """Values of the rows (B, P + n T) of those of the prefixes (B, P) and the branches (B, n, T)."""
        return torch.cat([prefix, branch.flatten(1)], 1)

    def positions(self) -> Tensor:
        """(B, P + n T) int64, position of each token where its branch follows the prefix; 0 for padding."""
        start = torch.arange(self.prefix_kept.shape[1], device=self.prefix_kept.device).expand_as(self.prefix_kept)
        step = torch.arange(self.branch_kept.shape[2], device=self.branch_kept.device)
        behind = self.prefix_kept.sum(1)[:, None, None] + step.expand_as(self.branch_kept)
        return torch.where(self.inside, self.row(start, behind), 0)

    def packed(self) -> Packed:
        """Each branch with its prefix as a sequence of its own, B n of them; prefixes come n times.

        For layers that must see whole sequences; they compute the prefix for each branch.
        """
        rows, tokens = self.shape
        prefix, (count, steps) = self.prefix_kept.shape[1], self.branch_kept.shape[1:]
        device = self.prefix_kept.device
        begin = self.prefix_kept.sum(1)[:, None, None]
        longest = int(begin.max()) + steps
        place = torch.arange(longest, device=device).expand(rows, count, -1)
        behind = prefix + torch.arange(count, device=device)[:, None] * steps + place - begin
        column = torch.where(place < begin, place, behind)
        kept = place < begin + self.branch_kept.sum(2, keepdim=True)
        first = torch.arange(rows, device=device)[:, None, None] * tokens
        sequence = torch.arange(rows * count, device=device).view(rows, count, 1) * longest
        start = sequence[:, 0] + torch.arange(prefix, device=device)
        back = self.row(start, sequence + begin + torch.arange(steps, device=device))
        return Packed(
            torch.where(kept, first + column, 0).flatten(0, 1),
            kept.flatten(0, 1),
            torch.where(self.inside, back, 0),
            self.inside,
        )


def find_branches(prefix_kept: Tensor, branch_kept: Tensor) -> Branches:
    """Rows of prefixes and branches, padded on the right each.

    Args:
        prefix_kept: (B, P) boolean, true for tokens of the prefix.
        branch_kept: (B, n, T) boolean, true for tokens of a branch; T may be 0.

    Raises:
        ConfigError: Shapes do not fit.
        DataError: A prefix is empty, or padded elsewhere than on the right.
    """
    if prefix_kept.dim() != 2 or branch_kept.dim() != 3 or len(prefix_kept) != len(branch_kept):
        raise ConfigError(
            f"prefixes {list(prefix_kept.shape)} and branches {list(branch_kept.shape)} do not fit: give (B, P) and "
            "(B, n, T)"
        )
    for name, kept in (("prefix", prefix_kept), ("branch", branch_kept)):
        if kept.dtype != torch.bool:
            raise ConfigError(f"the mask of each {name} is {kept.dtype}: give booleans, true where a token counts")
        if bool((kept[..., 1:] & ~kept[..., :-1]).any()):
            raise DataError(f"a {name} is padded elsewhere than on the right: put its tokens first")
    if not len(prefix_kept) or not branch_kept.shape[1] or not bool(prefix_kept.any(1).all()):
        raise DataError("a prefix is empty, or nothing follows it: give each row a token and a branch")
    return Branches(prefix_kept, branch_kept, None if bool(prefix_kept.all()) else ~prefix_kept)
