"""Maps of all proposals of a sequence: which cell stands for which segment, and the conventions of the known codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vision_suite.errors import ConfigError, check_literals, check_number

MapLayout = Literal["duration_start", "start_end"]
Sampling = Literal["centre", "end_exclusive"]
Boundary = Literal["cell", "point", "two_cells"]
Channels = Literal["iou_first", "class_first"]


@dataclass(frozen=True)
class Convention:
    """Conventions in which the public codes of BMN differ; a checkpoint is only understood together with them.

    Attributes:
        layout: ``duration_start``: map[d, s] is the proposal [s, s + d + 1] (the paper, mmaction2, OpenTAD, G-TAD);
            ``start_end``: map[i, j] is [i, j + 1] (JJBOY). In cells, of T.
        sampling: Positions of a proposal's samples: ``centre`` (mmaction2, OpenTAD, G-TAD), or ``end_exclusive``
            (JJBOY), half a cell late.
        boundary: Interval of position i of the boundary sequences: ``cell`` is the cell [i, i + 1] (OpenTAD),
            ``point`` [i - 0.5, i + 0.5] (JJBOY), ``two_cells`` [i - 0.5, i + 1.5] (mmaction2). It decides labels and,
            with them, which position is read for a proposal's end: s + d for ``cell``, else s + d + 1.
        channels: Order of the confidence map's two channels: ``iou_first`` (JJBOY, mmaction2, G-TAD) has the regressed
            overlap first, ``class_first`` (OpenTAD) the classified one.
    """

    layout: MapLayout = "duration_start"
    sampling: Sampling = "centre"
    boundary: Boundary = "cell"
    channels: Channels = "iou_first"

    def __post_init__(self) -> None:
        """Refuse an unknown word."""
        check_literals(self, "convention")


@dataclass(frozen=True)
class ProposalMap:
    """All proposals of at most D cells in a sequence of T cells, in one of the two layouts.

    Attributes:
        length: Number T of cells.
        duration: Most cells D of a proposal, equal to T in the layout ``start_end``.
        layout: Meaning of the two axes.
    """

    length: int
    duration: int
    layout: MapLayout = "duration_start"

    def __post_init__(self) -> None:
        """Refuse impossible sizes."""
        check_number("num_cells", self.length, low=1, whole=True)
        if not isinstance(self.duration, int) or not 1 <= self.duration <= self.length:
            raise ConfigError(f"max_duration={self.duration} must be from 1 to the {self.length} cells of a sequence")
        if self.layout == "start_end" and self.duration != self.length:
            raise ConfigError("the layout start_end needs max_duration equal to the number of cells")

    @property
    def shape(self) -> tuple[int, int]:
        """(D, T), or (T, T) for ``start_end``."""
        return self.duration, self.length

    def starts(self) -> Tensor:
        """First cell s of each proposal: ``shape``, int64."""
        rows, columns = self._axes()
        return columns if self.layout == "duration_start" else rows

    def durations(self) -> Tensor:
        """Further cells d of each proposal, which covers [s, s + d + 1]: ``shape``, int64, negative where i > j."""
        rows, columns = self._axes()
        return rows if self.layout == "duration_start" else columns - rows

    def valid(self) -> Tensor:
        """True for each entry that is a proposal inside the sequence: ``shape``, bool."""
        durations = self.durations()
        return (durations >= 0) & (self.starts() + durations < self.length)

    def inside(self, valid: Tensor) -> Tensor:
        """Entries of the smaller map that sequences without their padding would have: (B, T) to (B, *shape), bool."""
        rows = valid[:, : self.shape[0]]
        return rows[:, :, None] & valid[:, None, :]

    def contained(self, valid: Tensor) -> Tensor:
        """Entries that are proposals inside the valid cells of each sequence: (B, T) to (B, *shape), bool."""
        last = (self.starts() + self.durations()).clamp(0, self.length - 1).to(valid.device)
        first = self.starts().to(valid.device)
        both = (valid[:, cells.flatten()].reshape(len(valid), *cells.shape) for cells in (first, last))
        return next(both) & next(both) & self.valid().to(valid.device)

    def _axes(self) -> tuple[Tensor, Tensor]:
        rows, columns = torch.meshgrid(torch.arange(self.shape[0]), torch.arange(self.shape[1]), indexing="ij")
        return rows, columns


def convert_layout(maps: Tensor, source: MapLayout, target: MapLayout) -> Tensor:
    """Maps (..., T, T) in the other layout; entries that are no proposals become 0.

    Only predictions and labels convert: 3 x 3 convolutions see other neighbours, so weights do not.
    """
    if source == target:
        return maps
    length = maps.shape[-1]
    one, other = ProposalMap(length, length, source), ProposalMap(length, length, target)
    out = torch.zeros_like(maps)
    valid = other.valid()
    starts, durations = other.starts()[valid], other.durations()[valid]
    rows, columns = (durations, starts) if one.layout == "duration_start" else (starts, starts + durations)
    out[..., valid.to(maps.device)] = maps[..., rows.to(maps.device), columns.to(maps.device)]
    return out
