"""Exact cosine distances between feature sets, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from vision_suite.errors import DataError
from vision_suite.metrics.reid.ranking import Block

COSINE = "1 - cosine"


@contextmanager
def exact_products() -> Iterator[None]:
    """Matrix products in full float32: no TF32, no bfloat16, no autocast, which change the order of near ties.

    Example:
        >>> with exact_products():
        ...     product = torch.ones(1, 2) @ torch.ones(2, 1)
        >>> product.item()
        2.0
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.no_grad(), torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def as_features(features: object, name: str) -> Tensor:
    """An (N, D) array or tensor as a float32 tensor (float64 stays), without a copy where possible.

    Raises:
        DataError: The shape is another one, or the array is empty.

    Example:
        >>> import numpy as np
        >>> as_features(np.ones((2, 3), dtype=np.float16), "the features").dtype
        torch.float32
    """
    tensor = torch.as_tensor(features).detach()
    if tensor.ndim != 2 or 0 in tensor.shape:
        raise DataError(f"{name} has shape {tuple(tensor.shape)}: give one feature row per picture, shape (N, D)")
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def inverse_norms(features: Tensor, name: str) -> Tensor:
    """(N,) factors that give the rows Euclidean length 1 (a zero row stays zero).

    Raises:
        DataError: A row holds NaN or infinity, or numbers so large that its length overflows.

    Example:
        >>> inverse_norms(torch.tensor([[3.0, 4.0], [0.0, 2.0]]), "the features")
        tensor([0.2000, 0.5000])
    """
    norms = torch.linalg.vector_norm(features, dim=1)
    broken = ~torch.isfinite(norms)
    if bool(broken.any()):
        first = int(broken.nonzero()[0])
        raise DataError(
            f"row {first} of {name} (and {int(broken.sum()) - 1} more) holds NaN, infinity or overflows: "
            "check the checkpoint and the precision of the forward pass"
        )
    scale: Tensor = norms.clamp_min(1e-12).reciprocal()
    return scale


def cosine_blocks(query: Tensor, gallery: Tensor, ranges: Iterable[tuple[int, int]]) -> Iterator[Block]:
    """Blocks (start, (stop - start, G)) of 1 - cosine for query rows [start, stop).

    Args:
        query: (Q, D) features, any length; column slices of a larger matrix are read without a copy.
        gallery: (G, D) features on the same device.
        ranges: Row ranges of the queries, usually from `vision_suite.metrics.reid.ranking.row_blocks`.

    Raises:
        DataError: NaN or infinity in the features.

    Example:
        >>> query, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 3.0]])
        >>> [(start, block.tolist()) for start, block in cosine_blocks(query, gallery, [(0, 1)])]
        [(0, [[0.0, 1.0]])]
    """
    query_scale = inverse_norms(query, "the query features")
    gallery_scale = inverse_norms(gallery, "the gallery features")
    for start, stop in ranges:
        with exact_products():
            block = (query[start:stop] * query_scale[start:stop, None]) @ gallery.T
            block.mul_(gallery_scale).neg_().add_(1)
        yield start, block.cpu().numpy()
