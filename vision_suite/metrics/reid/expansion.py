"""Query expansion: a query is averaged with its nearest gallery pictures and searched again.

Sources: Chum, Philbin, Sivic, Isard, Zisserman, "Total Recall: Automatic Query Expansion with a Generative Feature
Model for Object Retrieval", ICCV 2007 (AQE, equal weights); Radenovic, Tolias, Chum, "Fine-tuning CNN Image Retrieval
with No Human Annotation", TPAMI 2018 (alpha-QE, weights similarity ** alpha).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vision_suite.errors import ConfigError
from vision_suite.metrics.reid.distances import cosine_blocks, exact_products, inverse_norms
from vision_suite.metrics.reid.ranking import for_rows, nearest, row_blocks

# Elements of the neighbours' features that are averaged at once.
AVERAGED_ELEMENTS = 1 << 24


@dataclass(frozen=True)
class Expansion:
    """Settings of the query expansion.

    Attributes:
        k: Gallery pictures averaged into each query; 0 switches the expansion off.
        alpha: Power of the cosine similarity that weighs each of them; 0 is the plain average.

    Raises:
        ConfigError: A setting is out of range.
    """

    k: int = 0
    alpha: float = 3.0

    def __post_init__(self) -> None:
        if self.k < 0 or not self.alpha >= 0:
            raise ConfigError(f"query expansion with k={self.k}, alpha={self.alpha}: give 0 or more for both")

    def check(self, gallery: int) -> None:
        """Refuse more neighbours than there are gallery pictures.

        Raises:
            ConfigError: There are fewer.
        """
        if self.k > gallery:
            raise ConfigError(f"query expansion with k={self.k} and {gallery} gallery pictures: choose k <= {gallery}")

    @property
    def facts(self) -> dict[str, object] | None:
        """The settings for a protocol; None if it is off."""
        return {"k": self.k, "alpha": self.alpha, "neighbours": "gallery, without labels"} if self.k else None


def expand_queries(query: Tensor, gallery: Tensor, expansion: Expansion, same: bool = False) -> Tensor:
    """Expanded queries: the unit query plus the unit features of its k nearest, weighted by similarity ** alpha.

    A similarity below zero counts as zero. The gallery is not changed. Labels are not used, so pictures that the
    protocol later removes for a query can be among its neighbours, as in use.

    Args:
        query: (Q, D) features, any length.
        gallery: (G, D) features on the same device.
        expansion: Settings.
        same: Queries and gallery are the same pictures: none is among its own neighbours.

    Returns:
        (Q, D) features, not normalised; the queries themselves where the expansion is off.

    Raises:
        ConfigError: There are fewer than k gallery pictures.
        DataError: NaN or infinity in the features.

    Example:
        >>> gallery = torch.tensor([[0.6, 0.8], [0.0, -1.0]])
        >>> expand_queries(torch.tensor([[2.0, 0.0]]), gallery, Expansion(k=1, alpha=0.0))
        tensor([[1.6000, 0.8000]])
    """
    expansion.check(len(gallery) - same)
    if not expansion.k:
        return query
    gallery_scale = inverse_norms(gallery, "the gallery features")
    out = query * inverse_norms(query, "the query features")[:, None]
    step = max(1, AVERAGED_ELEMENTS // (expansion.k * query.shape[1]))
    for start, block in cosine_blocks(query, gallery, row_blocks(len(query), len(gallery))):
        if same:
            block[np.arange(len(block)), np.arange(start, start + len(block))] = np.inf
        near = np.empty((len(block), expansion.k), dtype=np.int64)

        def list_row(i: int, near: np.ndarray = near, block: np.ndarray = block) -> None:
            near[i] = nearest(block[i], expansion.k)

        for_rows(list_row, len(block))
        weight = np.clip(1 - np.take_along_axis(block, near, axis=1), 0, None) ** expansion.alpha
        for at in range(0, len(block), step):
            rows = torch.from_numpy(near[at : at + step])
            factor = torch.from_numpy(weight[at : at + step]).to(out)
            with exact_products():
                found = gallery[rows.to(gallery.device)] * gallery_scale[rows.to(gallery.device)][..., None]
                out[start + at : start + at + len(rows)] += (factor[..., None] * found).sum(dim=1)
    return out
