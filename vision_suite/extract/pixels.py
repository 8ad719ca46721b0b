"""Rows that need no network: raw pixels, HOG, and both whitened by what varies within an identity.

They are the honest bar of a small re-ID table: an untrained network is worse than pixels, so beating it shows nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vision_suite.datasets.pictures.images import open_picture
from vision_suite.datasets.pictures.records import Record
from vision_suite.datasets.reid.layouts import read_market_folder
from vision_suite.errors import DataError
from vision_suite.metrics.feature_warnings import feature_warnings

Array = NDArray[np.float64]

PIXEL_SIDE = 16
HOG_SIDE, HOG_CELL, HOG_BINS = 64, 8, 9
SHRINKAGE = 0.05
WHITENED_DIMENSIONS = 256


@dataclass(frozen=True)
class BaselineFeatures:
    """Features of one row of the table, compared by cosine: ``query`` (Q, D) and ``gallery`` (G, D) float32."""

    name: str
    query: NDArray[np.float32]
    gallery: NDArray[np.float32]


@dataclass(frozen=True)
class Baselines:
    """All rows, and the truth to evaluate them: int64 identities and 0-based cameras of queries and gallery.

    ``warnings`` has a line for each row whose features are zero, equal, collapsed or not finite.
    """

    rows: tuple[BaselineFeatures, ...]
    query_ids: NDArray[np.int64]
    gallery_ids: NDArray[np.int64]
    query_cams: NDArray[np.int64]
    gallery_cams: NDArray[np.int64]
    warnings: tuple[str, ...] = ()


def pixel_baselines(root: Path, progress: Callable[[int, int], None] | None = None) -> Baselines:
    """Compute the rows of a Market folder; means and whitening are learnt on its training pictures only.

    The rows are ``pixels``: 16 x 16 RGB, training mean removed; ``HOG``: 8 x 8 pixel cells, 9 orientations (Dalal and
    Triggs, CVPR 2005); ``HOG, whitened`` and ``pixels + HOG, whitened``: see `WithinIdentityWhitening`.

    Args:
        root: The Market folder.
        progress: Called with the numbers of pictures done and of all pictures.

    Raises:
        DataError: The folder is not complete, or no training identity has two pictures.
    """
    listing = read_market_folder(root)
    train, query, gallery = (listing.splits[name] for name in ("train", "query", "gallery"))
    pixels, hog = _describe([*train, *query, *gallery], progress)
    labels = np.array([record.label for record in train])
    learn = slice(0, len(train))

    def row(name: str, features: Array) -> BaselineFeatures:
        evaluated = features[len(train) :].astype(np.float32)
        return BaselineFeatures(name, evaluated[: len(query)], evaluated[len(query) :])

    def whitened(features: Array) -> Array:
        return WithinIdentityWhitening(features[learn], labels).apply(features)

    centred_pixels = pixels - pixels[learn].mean(axis=0)
    # Unit length gives both halves the same say before they are whitened together.
    both = np.concatenate([_unit(centred_pixels), _unit(hog - hog[learn].mean(axis=0))], axis=1)
    rows = (
        row("pixels", centred_pixels),
        row("HOG", hog),
        row("HOG, whitened", whitened(hog)),
        row("pixels + HOG, whitened", whitened(both)),
    )
    return Baselines(
        rows,
        query_ids=np.array([record.label for record in query]),
        gallery_ids=np.array([record.label for record in gallery]),
        query_cams=np.array([record.camera for record in query]),
        gallery_cams=np.array([record.camera for record in gallery]),
        warnings=tuple(
            line
            for one in rows
            for line in feature_warnings(np.concatenate([one.query, one.gallery]), f"features of the row {one.name!r}")
        ),
    )


class WithinIdentityWhitening:
    """A linear map after which pictures of one identity vary equally in all directions, cut to the telling ones.

    With W the covariance of pictures around their identity's mean, and B that of the identity means, it takes the
    largest generalised eigenvectors of B v = l (W + s t I) v, where t is the mean eigenvalue of W and s the shrinkage:
    linear discriminant analysis (Fisher 1936) with a ridge.
    """

    def __init__(
        self,
        features: Array,
        labels: NDArray[np.int64],
        dimensions: int = WHITENED_DIMENSIONS,
        shrinkage: float = SHRINKAGE,
    ) -> None:
        """Learn from (N, D) features of labelled pictures.

        Raises:
            DataError: No identity has two different pictures, or there is one identity only.
        """
        from scipy.linalg import cho_factor, cho_solve

        _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
        means = np.zeros((len(counts), features.shape[1]))
        np.add.at(means, inverse, features)
        means /= counts[:, None]
        residuals = features - means[inverse]
        within = residuals.T @ residuals / len(features)
        mean_eigenvalue = float(np.trace(within)) / len(within)
        if mean_eigenvalue == 0 or len(counts) < 2:
            raise DataError(
                f"whitening needs two identities or more with different pictures, got {len(counts)} identities in "
                f"{len(features)} pictures: give a larger training set"
            )
        within[np.diag_indices_from(within)] += shrinkage * mean_eigenvalue
        self.mean = features.mean(axis=0)
        centred = (means - self.mean) / len(counts) ** 0.5
        # B = centred' centred has at most as many directions as identities: with Y = W^-1 centred' the small matrix
        # centred Y has the same eigenvalues l, and Y u / sqrt(l) are the eigenvectors, already of unit variance in W.
        solved = cho_solve(cho_factor(within, lower=True, check_finite=False), centred.T, check_finite=False)
        eigenvalues, directions = np.linalg.eigh(centred @ solved)
        strongest = np.argsort(eigenvalues)[::-1][: min(dimensions, features.shape[1], len(counts) - 1)]
        telling = strongest[eigenvalues[strongest] > 1e-10 * eigenvalues.max()]
        self.projection = solved @ directions[:, telling] / np.sqrt(eigenvalues[telling])

    def apply(self, features: Array) -> Array:
        """Map (N, D) features to (N, K) whitened ones; K is below the number of identities."""
        whitened: Array = (features - self.mean) @ self.projection
        return whitened


def _describe(records: Sequence[Record], progress: Callable[[int, int], None] | None) -> tuple[Array, Array]:
    """Pixel and HOG features; a file under several names (query and gallery at once) is described once."""
    positions: dict[tuple[int, int], int] = {}
    pixels, hogs, index = [], [], []
    for done, record in enumerate(records, start=1):
        status = os.stat(record.path)
        inode = (status.st_dev, status.st_ino)
        if inode not in positions:
            positions[inode] = len(positions)
            picture = open_picture(record.path)
            pixels.append(_pixels(picture))
            hogs.append(_hog(picture))
        index.append(positions[inode])
        if progress is not None and done % 256 == 0:
            progress(done, len(records))
    if progress is not None:
        progress(len(records), len(records))
    return np.stack(pixels)[index], np.stack(hogs)[index]


def _pixels(picture: Image.Image) -> Array:
    small = picture.resize((PIXEL_SIDE, PIXEL_SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64).ravel() / 255


def _hog(picture: Image.Image) -> Array:
    from skimage.feature import hog

    if picture.size != (HOG_SIDE, HOG_SIDE):
        picture = picture.resize((HOG_SIDE, HOG_SIDE), Image.Resampling.BOX)
    described: Array = hog(
        np.asarray(picture),
        orientations=HOG_BINS,
        pixels_per_cell=(HOG_CELL, HOG_CELL),
        cells_per_block=(2, 2),
        channel_axis=-1,
    )
    return described


def _unit(features: Array) -> Array:
    norms: Array = np.linalg.norm(features, axis=1, keepdims=True)
    # A picture equal to the mean has no direction; it stays at the origin.
    return features / np.where(norms > 0, norms, 1)
