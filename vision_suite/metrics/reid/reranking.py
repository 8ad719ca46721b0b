"""Exact k-reciprocal re-ranking in bounded memory.

Source: Zhong, Zheng, Cao, Li, "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017, and its
Python code for the details the paper leaves open. With N = Q + G pictures the usual code holds several dense N x N
matrices; here neighbour lists come from blocks of rows, the encoding V (some tens of non-zeros per row) is a sparse
matrix, and the sum of minima behind the Jaccard distance runs over V's columns. Nothing is approximated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.reid.distances import as_features, exact_products, inverse_norms
from vision_suite.metrics.reid.ranking import AnyFloats, Block, for_rows, nearest, row_blocks
from vision_suite.types.arrays import Floats, Ints

SQUARED_EUCLIDEAN = "squared Euclidean of L2-normalised features, each row divided by its maximum"
# AnyFloats gathered at once for the distances of listed pairs (64 MiB for each side of the pairs in float32).
PAIR_ELEMENTS = 1 << 24
# Rows of the neighbour matrices expanded at once; bounds the intermediate sparse products.
EXPAND_ROWS = 4096


class Reranker:
    """The k-reciprocal encoding of a query and a gallery set, from which rows of the final distance are read.

    With d the squared Euclidean distance of normalised features divided by the maximum of its row (over all N
    pictures): R(i, k) = the k-reciprocal neighbours of i (k + 1 entries, i itself first); R*(i) = R(i, k1) with
    R(c, round(k1 / 2)) added for each c in R(i, k1) that has more than two thirds of R(c, .) inside R(i, k1);
    V_ij = exp(-d_ij) on R*(i), rows summing to 1, then averaged over the k2 nearest of i; J_ij = 1 - m / (2 - m) with
    m = sum_l min(V_il, V_jl); final = (1 - lambda) J + lambda d. round() takes halves to the even number (25 -> 12), as
    the paper's code does.
    Ties between neighbours are broken by position; i is always its own first neighbour, also among exact duplicates.

    Args:
        query_features: (Q, D) features, L2-normalised inside; float32 unless they are float64.
        gallery_features: (G, D) features on the same device.
        k1: Neighbours of the reciprocal test.
        k2: Neighbours of the query expansion, the picture itself included; 1 switches it off.
        lambda_: Weight of the original distance, 0 to 1.

    Raises:
        ConfigError: A parameter is out of range, or there are too few pictures for ``k1`` or ``k2``.
        DataError: Shapes do not agree, or values are NaN or infinite.

    Example:
        >>> features = torch.eye(4)[[0, 1, 0, 1, 2]]
        >>> reranker = Reranker(features[:2], features[2:], k1=1, k2=1, lambda_=0.3)
        >>> [(start, block.shape) for start, block in reranker.blocks([(0, 1), (1, 2)])]
        [(0, (1, 3)), (1, (1, 3))]
    """

    def __init__(self, query_features: Tensor, gallery_features: Tensor, k1: int, k2: int, lambda_: float) -> None:
        if query_features.shape[1] != gallery_features.shape[1]:
            raise DataError(
                f"query features have {query_features.shape[1]} columns and gallery features "
                f"{gallery_features.shape[1]}: re-ranking needs the same feature of both"
            )
        check_rerank(k1, k2, lambda_)
        self.queries, self.gallery = len(query_features), len(gallery_features)
        total = self.queries + self.gallery
        check_rerank_pictures(k1, k2, total)
        self.lambda_ = lambda_
        query_scale = inverse_norms(query_features, "the query features")
        gallery_scale = inverse_norms(gallery_features, "the gallery features")
        self._features = torch.empty(
            total, query_features.shape[1], dtype=query_features.dtype, device=query_scale.device
        )
        torch.mul(query_features, query_scale[:, None], out=self._features[: self.queries])
        torch.mul(gallery_features, gallery_scale[:, None], out=self._features[self.queries :])
        neighbours, self._row_max = self._neighbours(max(k1 + 1, k2))
        encoding = self._encode(neighbours, k1)
        if k2 > 1:
            encoding = (_adjacency(neighbours[:, :k2]) @ encoding) / k2
        encoding = encoding.astype(self._row_max.dtype)
        self._query_rows = encoding[: self.queries]
        self._gallery_columns = encoding[self.queries :].tocsc()

    def blocks(self, ranges: Iterable[tuple[int, int]]) -> Iterator[Block]:
        """Blocks (start, (stop - start, G)) of the final distance for query rows [start, stop)."""
        for start, stop in ranges:
            block = self._distances(start, stop)[:, self.queries :]
            block *= self.lambda_ / self._row_max[start:stop, None]
            for row, query in zip(block, range(start, stop), strict=True):
                shared = self._shared(query)
                row += (1 - self.lambda_) * (1 - shared / (2 - shared))
            yield start, block

    def _distances(self, start: int, stop: int) -> AnyFloats:
        """Squared Euclidean distances (stop - start, N) of rows [start, stop) to all, exactly 0 to itself."""
        with exact_products():
            block = self._features[start:stop] @ self._features.T
            block.mul_(-2).add_(2).clamp_min_(0)
            block.diagonal(start).zero_()
        distances: AnyFloats = block.cpu().numpy()
        return distances

    def _neighbours(self, k: int) -> tuple[Ints, AnyFloats]:
        """The k nearest of every picture, itself first (N, k), and the largest distance of every row (N,)."""
        total = len(self._features)
        neighbours = np.empty((total, k), dtype=np.int64)
        row_max = np.empty(total, dtype=self._features[:0].cpu().numpy().dtype)
        for start, stop in row_blocks(total, total):
            block = self._distances(start, stop)
            row_max[start:stop] = block.max(axis=1)
            # Below every distance, so that no duplicate of a picture comes before the picture itself.
            block[np.arange(stop - start), np.arange(start, stop)] = -1

            def list_row(i: int, start: int = start, block: AnyFloats = block) -> None:
                neighbours[start + i] = nearest(block[i], k)

            for_rows(list_row, stop - start)
        # All pictures equal: every distance is 0 and stays 0.
        row_max[row_max == 0] = 1
        return neighbours, row_max

    def _encode(self, neighbours: Ints, k1: int) -> sparse.csr_array:
        """V before query expansion: (N, N) CSR, rows summing to 1."""
        full = _reciprocal(neighbours[:, : k1 + 1])
        half = _reciprocal(neighbours[:, : round(k1 / 2) + 1])
        half_size = half.sum(axis=1)
        parts = []
        for start in range(0, len(neighbours), EXPAND_ROWS):
            rows = full[start : start + EXPAND_ROWS]
            # |R(c, k1/2) and R(i, k1)| for every c in R(i, k1).
            overlap = ((rows @ half.T) * rows).tocsr()
            overlap.data = (3 * overlap.data > 2 * half_size[overlap.indices]).astype(np.int32)
            overlap.eliminate_zeros()
            expanded = (rows + overlap @ half).tocsr()
            expanded.sort_indices()
            parts.append(self._weights(expanded, start))
        return sparse.vstack(parts, format="csr")

    def _weights(self, pattern: sparse.csr_array, start: int) -> sparse.csr_array:
        """exp(-d) on the non-zeros of rows ``start`` ... of R*, rows summing to 1."""
        rows = np.repeat(np.arange(start, start + pattern.shape[0]), np.diff(pattern.indptr))
        columns = pattern.indices
        dots = np.empty(rows.size, dtype=self._row_max.dtype)
        step = max(1, PAIR_ELEMENTS // self._features.shape[1])
        for at in range(0, rows.size, step):
            left = self._features[torch.from_numpy(rows[at : at + step]).to(self._features.device)]
            right = self._features[torch.from_numpy(columns[at : at + step].astype(np.int64)).to(self._features.device)]
            dots[at : at + step] = left.mul_(right).sum(dim=1).cpu().numpy()
        distance = np.maximum(2 - 2 * dots, 0)
        distance[rows == columns] = 0
        weights = np.exp(-distance / self._row_max[rows])
        # Every row holds at least its own picture, so no segment is empty.
        sums = np.add.reduceat(weights, pattern.indptr[:-1])
        weights /= sums[rows - start]
        return sparse.csr_array((weights, columns, pattern.indptr), shape=pattern.shape)

    def _shared(self, query: int) -> Floats:
        """sum_l min(V_query,l, V_j,l) for every gallery entry j: (G,)."""
        begin, end = self._query_rows.indptr[query : query + 2]
        columns, weights = self._query_rows.indices[begin:end], self._query_rows.data[begin:end]
        starts = self._gallery_columns.indptr[columns].astype(np.int64)
        lengths = self._gallery_columns.indptr[columns + 1] - starts
        # Positions, in the CSC arrays, of all entries of these columns, one column after another.
        skipped = np.cumsum(lengths) - lengths
        at = np.arange(lengths.sum()) + np.repeat(starts - skipped, lengths)
        smaller = np.minimum(self._gallery_columns.data[at], np.repeat(weights, lengths))
        at_rows = self._gallery_columns.indices[at]
        return np.bincount(at_rows, weights=smaller, minlength=self.gallery).astype(np.float64)


def rerank(
    query_features: npt.ArrayLike | Tensor,
    gallery_features: npt.ArrayLike | Tensor,
    k1: int = 20,
    k2: int = 6,
    lambda_: float = 0.3,
) -> AnyFloats:
    """The final (Q, G) distance of k-reciprocal re-ranking; `Reranker` gives it in blocks of rows.

    Args:
        query_features: (Q, D) features, L2-normalised inside; float32 unless they are float64.
        gallery_features: (G, D) features, with the same treatment.
        k1: Neighbours of the reciprocal test.
        k2: Neighbours of the query expansion, the picture itself included; 1 switches it off.
        lambda_: Weight of the original distance, 0 to 1.

    Raises:
        ConfigError: A parameter is out of range, or there are too few pictures for ``k1`` or ``k2``.
        DataError: Sets are empty, shapes do not agree, or values are NaN or infinite.

    Example:
        >>> features = np.eye(4)[[0, 1, 0, 1, 2]]  # two queries, and a gallery of three
        >>> rerank(features[:2], features[2:], k1=1, k2=1).argmin(axis=1)
        array([0, 1])
    """
    query, gallery = as_features(query_features, "query_features"), as_features(gallery_features, "gallery_features")
    if query.dtype != gallery.dtype:
        query, gallery = query.double(), gallery.double()
    reranker = Reranker(query, gallery, k1, k2, lambda_)
    final = np.empty((len(query), len(gallery)), dtype=query[:0].cpu().numpy().dtype)
    for start, block in reranker.blocks(row_blocks(len(query), len(query) + len(gallery))):
        final[start : start + len(block)] = block
    return final


def check_rerank(k1: int, k2: int, lambda_: float) -> None:
    """Refuse re-ranking parameters out of range.

    Raises:
        ConfigError: ``k1`` or ``k2`` below 1, ``lambda_`` outside 0 to 1.

    Example:
        >>> check_rerank(k1=20, k2=0, lambda_=0.3)
        Traceback (most recent call last):
        vision_suite.errors.ConfigError: re-ranking with k1=20, k2=0: both count neighbours, choose 1 or more
    """
    if k1 < 1 or k2 < 1:
        raise ConfigError(f"re-ranking with k1={k1}, k2={k2}: both count neighbours, choose 1 or more")
    if not 0 <= lambda_ <= 1:
        raise ConfigError(f"re-ranking with lambda_={lambda_}: the weight of the original distance lies from 0 to 1")


def check_rerank_pictures(k1: int, k2: int, total: int) -> None:
    """Refuse more neighbours than there are pictures in query and gallery together.

    Raises:
        ConfigError: There are fewer.

    Example:
        >>> check_rerank_pictures(k1=20, k2=6, total=10)
        Traceback (most recent call last):
        vision_suite.errors.ConfigError: re-ranking with k1=20, k2=6 needs 21 pictures in query and gallery together ...
    """
    if max(k1 + 1, k2) > total:
        raise ConfigError(
            f"re-ranking with k1={k1}, k2={k2} needs {max(k1 + 1, k2)} pictures in query and gallery together and "
            f"there are {total}: choose k1 <= {total - 1} and k2 <= {total}"
        )


def _adjacency(neighbours: Ints) -> sparse.csr_array:
    """(N, N) CSR of ones at the listed neighbours (N, k)."""
    total, k = neighbours.shape
    ones = np.ones(total * k, dtype=np.int32)
    return sparse.csr_array((ones, neighbours.ravel(), np.arange(0, total * k + 1, k)), shape=(total, total))


def _reciprocal(neighbours: Ints) -> sparse.csr_array:
    """(N, N) CSR of ones where i and j are in each other's lists (N, k)."""
    listed = _adjacency(neighbours)
    return (listed * listed.T.tocsr()).tocsr()
