"""The boundary-matching layer: sample every proposal and reduce the samples, without the tensor of samples.

Sampling is linear, and so is the reduction behind it (a 3-D convolution over all samples of a proposal), so the
reduction is applied to the sequence first: ``sum_n M_n (W_n x)`` instead of ``W (M x)``. What remains is one product
with a sparse matrix of at most 6 entries per sample.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from vision_suite.layers.proposal_map import ProposalMap


class SampledConvolution(nn.Module):
    """Weighted samples of a sequence at every entry of a proposal map, reduced to O channels.

    Equals ``Conv3d(C, O, (N, 1, 1))`` on the samples (B, C, N, D, T), but for rounding. An entry without samples gets
    the bias, as samples of 0 would give.

    Args:
        in_channels: C.
        out_channels: O.
        proposals: The map.
        entries: Rows, columns and weights of the samples; see `vision_suite.models.csa.sampling`.
        bins: Samples N per proposal.
    """

    weight: nn.Parameter
    bias: nn.Parameter
    values: Tensor
    crow: Tensor
    col: Tensor
    back_values: Tensor
    back_crow: Tensor
    back_col: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        proposals: ProposalMap,
        entries: tuple[Tensor, Tensor, Tensor],
        bins: int,
    ) -> None:
        super().__init__()
        self.proposals, self.bins = proposals, bins
        absent = torch.nonzero(~proposals.valid())
        # An entry that is no proposal; a map of single cells has none, and needs none.
        self.absent = (int(absent[0, 0]), int(absent[0, 1])) if len(absent) else None
        # Shape and start of Conv3d(C, O, (N, 1, 1)), so that published weights fit.
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, bins, 1, 1))
        self.bias = nn.Parameter(torch.empty(out_channels))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        nn.init.uniform_(self.bias, -1 / math.sqrt(in_channels * bins), 1 / math.sqrt(in_channels * bins))
        rows, columns, weights = entries
        # Columns by cell and then bin, the order in which one product lays the reduced sequence out.
        columns = columns % proposals.length * bins + columns // proposals.length
        with warnings.catch_warnings():
            # PyTorch calls this kind of sparse tensor a beta, once a process; what it is used for here is tested.
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            torch.eye(1).to_sparse_csr()
        size, width = proposals.shape[0] * proposals.shape[1], bins * proposals.length
        # Never saved: a checkpoint holds no sampling matrix.
        for prefix, row, column, shape in (("", rows, columns, size), ("back_", columns, rows, width)):
            crow, col, values = _compressed(row, column, weights, shape)
            self.register_buffer(f"{prefix}crow", crow, persistent=False)
            self.register_buffer(f"{prefix}col", col, persistent=False)
            self.register_buffer(f"{prefix}values", values, persistent=False)

    def forward(self, sequence: Tensor, missing: Tensor | None = None) -> Tensor:
        """(B, C, T) to (B, O, D, T), laid out channels last.

        Args:
            sequence: Sequences, 0 where padded.
            missing: (B, D, T) bool, proposals of the map that reach into the padding: they get what entries of the map
                that are no proposals have.
        """
        return self._without(self._reduced(sequence), missing)

    def _without(self, out: Tensor, missing: Tensor | None) -> Tensor:
        """The reduced samples (B, O, D, T) with another entry's in the place of missing ones."""
        if missing is None or self.absent is None:
            return out
        row, column = self.absent
        return torch.where(missing[:, None], out[:, :, row : row + 1, column : column + 1], out)

    def _reduced(self, sequence: Tensor) -> Tensor:
        out_channels, channels = self.weight.shape[:2]
        folded = self.weight.reshape(out_channels, channels, self.bins).permute(1, 2, 0).reshape(channels, -1)
        # (B, T, N * O), which is (T * N, O) for each sequence without moving anything.
        reduced = torch.matmul(sequence.transpose(1, 2), folded).reshape(len(sequence), -1, out_channels)
        kind = reduced.dtype
        # Sparse products exist in full precision only, and autocast must not change that.
        reduced = reduced.float() if kind in (torch.float16, torch.bfloat16) else reduced
        with torch.autocast(sequence.device.type, enabled=False):
            sampled: Tensor = _SparseProduct.apply(self._matrix("", reduced), self._matrix("back_", reduced), reduced)
        height, width = self.proposals.shape
        out = sampled.to(kind) + self.bias.to(kind)
        return out.reshape(len(sequence), height, width, out_channels).permute(0, 3, 1, 2)

    def _matrix(self, prefix: str, like: Tensor) -> Tensor:
        """The sampling matrix (D * T, bins * T), or its transpose with the prefix ``back_``."""
        crow, col, values = (getattr(self, f"{prefix}{name}") for name in ("crow", "col", "values"))
        other = self.crow if prefix else self.back_crow
        shape = (len(crow) - 1, len(other) - 1)
        return torch.sparse_csr_tensor(crow, col, values.to(like.dtype), shape, check_invariants=False)


class _SparseProduct(torch.autograd.Function):
    """A constant sparse matrix times each matrix of a batch; the backward pass uses the transpose made beforehand."""

    @staticmethod
    def forward(ctx: FunctionCtx, matrix: Tensor, transposed: Tensor, batch: Tensor) -> Tensor:
        ctx.transposed = transposed  # type: ignore[attr-defined]
        return _products(matrix, batch)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, Tensor]:
        return None, None, _products(ctx.transposed, grads[0].contiguous())


def _products(matrix: Tensor, batch: Tensor) -> Tensor:
    """A sparse (P, Q) times a dense (B, Q, O): (B, P, O), without a copy."""
    out = batch.new_empty(len(batch), matrix.shape[0], batch.shape[2])
    for row, dense in zip(out, batch, strict=True):
        torch.mm(matrix, dense, out=row)
    return out


class DenseSampledConvolution(SampledConvolution):
    """The same from the stored matrix of samples and the tensor (B, C, N, D, T), as the public codes do it.

    For comparison; at T = D = 100 the matrix takes 122 MiB and the tensor 312 MiB per sequence (C = 256).
    """

    def _reduced(self, sequence: Tensor) -> Tensor:
        matrix = self._matrix("back_", self.values).to_dense()
        batch, channels, length = sequence.shape
        height, width = self.proposals.shape
        mask = matrix.reshape(length, -1)
        samples = (sequence @ mask.to(sequence.dtype)).reshape(batch, channels, self.bins, height, width)
        out: Tensor = nn.functional.conv3d(samples, self.weight, self.bias, stride=(self.bins, 1, 1))
        return out.squeeze(2)


def _compressed(rows: Tensor, columns: Tensor, values: Tensor, height: int) -> tuple[Tensor, Tensor, Tensor]:
    """Entries in compressed rows: offsets (height + 1,) int32, columns int32, values."""
    order = torch.argsort(rows * (int(columns.max()) + 1) + columns)
    crow = torch.zeros(height + 1, dtype=torch.int64)
    crow[1:] = torch.bincount(rows, minlength=height).cumsum(0)
    return crow.int(), columns[order].int(), values[order].contiguous()
