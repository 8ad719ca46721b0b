"""Packed rows, several sequences in one, unpacked where tokens of different sequences must not meet."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vision_suite.errors import ConfigError


class Packed(NamedTuple):
    """Place of each sequence of packed rows. See `find_packed`.

    Attributes:
        place: (n, longest) int64, place of each token of a sequence among the B S tokens of the rows; 0 where padded.
        kept: (n, longest) boolean, false where a sequence is shorter than the longest.
        back: (B, S) int64, place of each token of the rows among the n longest ones; 0 where padded.
        inside: (B, S) boolean, false for tokens of no sequence.
    """

    place: Tensor
    kept: Tensor
    back: Tensor
    inside: Tensor

    def unpack(self, x: Tensor) -> Tensor:
        """(B, S, ...) to (n, longest, ...); padded tokens hold a copy of the first token."""
        return x.flatten(0, 1)[self.place]

    def repack(self, x: Tensor) -> Tensor:
        """(n, longest, ...) to (B, S, ...); tokens of no sequence are zero."""
        inside = self.inside.view(*self.inside.shape, *(1,) * (x.dim() - 2))
        return torch.where(inside, x.flatten(0, 1)[self.back], 0.0)

    def positions(self) -> Tensor:
        """(B, S) int64, place of each token in its own sequence; 0 for tokens of no sequence."""
        return torch.where(self.inside, self.back % self.place.shape[1], 0)


def find_packed(segments: Tensor) -> Packed:
    """Sequences of packed rows.

    Args:
        segments: (B, S) int64, number of the sequence of each token within its row, -1 for padding.

    Raises:
        ConfigError: It is not (B, S), not whole numbers, or holds padding alone.
    """
    if segments.dim() != 2 or segments.is_floating_point() or segments.dtype == torch.bool:
        raise ConfigError(f"segments are {list(segments.shape)} of {segments.dtype}: give (B, S) whole numbers")
    rows, length = segments.shape
    inside = segments >= 0
    row = torch.arange(rows, device=segments.device)[:, None]
    top = segments.amax() + 1 if segments.numel() else 0
    # One number per sequence; padding comes last.
    number = torch.where(inside, row * top + segments, rows * top).flatten()
    number, order = number.sort(stable=True)
    tokens = int(inside.sum())
    if not tokens:
        raise ConfigError(f"segments {list(segments.shape)} hold padding alone: give at least one sequence")
    number, order = number[:tokens], order[:tokens]
    _, sequence, counts = torch.unique_consecutive(number, return_inverse=True, return_counts=True)
    longest = int(counts.max())
    within = torch.arange(tokens, device=segments.device) - (counts.cumsum(0) - counts)[sequence]
    target = sequence * longest + within
    place = order.new_zeros(len(counts) * longest).index_put((target,), order)
    back = order.new_zeros(rows * length).index_put((order,), target)
    kept = torch.arange(longest, device=segments.device) < counts[:, None]
    return Packed(place.view(-1, longest), kept, back.view(rows, length), inside)
