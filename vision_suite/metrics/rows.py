"""Proposals of a whole split, gathered over batches and processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics import Metric

from vision_suite.errors import DataError
from vision_suite.metrics.gather import gather_rows


class SequenceRows(Metric):
    """Rows of numbers that belong to sequences, each sequence once, whatever process saw it.

    Sequences that a distributed loader repeats to fill up the last batch count once, as the first process saw them.

    Example:
        >>> rows = SequenceRows()
        >>> rows.update(torch.tensor([1, 0]), torch.tensor([[10.0], [20.0]]))
        >>> sequence, values = rows.compute()
        >>> sequence.tolist(), values.tolist()
        ([0, 1], [[20.0], [10.0]])
    """

    full_state_update = False
    is_differentiable = False
    rows: list[Tensor] | Tensor

    def __init__(self) -> None:
        super().__init__(dist_sync_fn=gather_rows)
        self.add_state("rows", default=[], dist_reduce_fx="cat")

    def update(self, sequence: Tensor, values: Tensor) -> None:
        """Add rows.

        Args:
            sequence: (n,) int64 sequences they belong to, those of one together.
            values: (n, c) float64.
        """
        if not isinstance(self.rows, list):
            raise DataError("the metric was gathered already: reset() before further sequences")
        rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
        head = torch.stack([sequence.double(), torch.full_like(sequence, rank).double()], dim=1)
        self.rows.append(torch.cat([head, values.double()], dim=1))

    def compute(self) -> tuple[Tensor, Tensor]:
        """Sequences (n,) int64 ascending and values (n, c) float64, of all processes.

        Raises:
            DataError: There is no row.
        """
        rows = torch.cat(self.rows) if isinstance(self.rows, list) and self.rows else self.rows
        if not isinstance(rows, Tensor) or not len(rows):
            raise DataError("no sequence was collected: the evaluation split is empty")
        rows = rows.cpu()
        sequence, rank = rows[:, 0].long(), rows[:, 1].long()
        start = torch.full((int(sequence.max()) + 1,), int(rank.max()) + 1)
        first = start.scatter_reduce(0, sequence, rank, "amin")
        kept = rank == first[sequence]
        rows, sequence = rows[kept], sequence[kept]
        order = torch.argsort(sequence, stable=True)
        return sequence[order], rows[order, 2:]
