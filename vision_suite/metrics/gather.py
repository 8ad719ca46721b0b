"""Gathering of uneven rows across processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

_DTYPES = (torch.float32, torch.float64, torch.int64)


def gather_rows(rows: Tensor, group: dist.ProcessGroup | None = None) -> list[Tensor]:
    """The (n, C) matrix of every process, in rank order; n may differ and be 0.

    torchmetrics' own gather cannot serve here: a process that saw no sample holds an empty one-dimensional float
    tensor and knows neither the width nor the type of the others' rows, and the processes then wait for each other
    forever. The width and type are therefore agreed on first. float32, float64 and int64 are carried.

    Example:
        >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        >>> gather_rows(torch.tensor([[1.0, 2.0]]))
        [tensor([[1., 2.]])]
        >>> dist.destroy_process_group()
    """
    # torchmetrics replaces a state that never got a row by a one-dimensional tensor.
    described = [0, 0, 0] if rows.ndim == 1 else [rows.shape[0], rows.shape[1], _DTYPES.index(rows.dtype)]
    own = torch.tensor(described, dtype=torch.int64, device=rows.device)
    sizes = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
    dist.all_gather(sizes, own, group=group)
    longest, width, dtype = torch.stack(sizes).amax(dim=0).tolist()
    padded = torch.zeros(longest, width, dtype=_DTYPES[dtype], device=rows.device)
    if rows.ndim == 2:
        padded[: len(rows)] = rows
    received = [torch.empty_like(padded) for _ in sizes]
    if padded.numel():
        dist.all_gather(received, padded, group=group)
    return [matrix[: int(size[0])] for matrix, size in zip(received, sizes, strict=True)]
