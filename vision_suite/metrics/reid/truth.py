"""Ground truth of a retrieval test: identities and cameras of queries and gallery, and the entries that count."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import torch

from vision_suite.errors import DataError
from vision_suite.types.arrays import Floats, Ints

Labels = npt.ArrayLike | torch.Tensor

JUNK = -1
UNKNOWN_CAMERA = -1


class RetrievalTruth:
    """Identities and cameras of Q queries and G gallery entries.

    Identity -1 in the gallery is junk, removed for every query. Any other identity that no query has (Market-1501's 0)
    is a distractor: it stays and counts as wrong. A gallery entry with the identity *and* camera of the query is
    removed for that query. Camera -1, or None for all, means unknown: no entry is removed by camera, with a
    warning.

    Args:
        query_ids: (Q,) identities of the queries.
        gallery_ids: (G,) identities of the gallery.
        query_cams: (Q,) cameras of the queries; None if unknown.
        gallery_cams: (G,) cameras of the gallery; None if unknown.
        use_cameras: False for protocols without the same-camera step (VehicleID): no removal and no warning.

    Raises:
        DataError: A set is empty, labels are not whole numbers, or lengths differ.

    Example:
        >>> truth = RetrievalTruth([7], [7, 7, -1, 8], query_cams=[0], gallery_cams=[0, 1, 1, 1])
        >>> truth.matches(0), truth.junk
        ((array([1]), array([0])), array([2]))
    """

    def __init__(
        self,
        query_ids: Labels,
        gallery_ids: Labels,
        query_cams: Labels | None = None,
        gallery_cams: Labels | None = None,
        use_cameras: bool = True,
    ) -> None:
        self.query_ids = _labels(query_ids, "query_ids")
        self.gallery_ids = _labels(gallery_ids, "gallery_ids")
        for name, ids in (("query", self.query_ids), ("gallery", self.gallery_ids)):
            if ids.size == 0:
                raise DataError(
                    f"the {name} set is empty: a retrieval test needs at least one query and one gallery entry"
                )
        self.use_cameras = use_cameras
        known = use_cameras and query_cams is not None and gallery_cams is not None
        self.query_cams = _cameras(query_cams if known else None, self.query_ids, "query")
        self.gallery_cams = _cameras(gallery_cams if known else None, self.gallery_ids, "gallery")
        self.missing_cameras = int(use_cameras) * int((self.query_cams < 0).sum() + (self.gallery_cams < 0).sum())
        if use_cameras and self.missing_cameras:
            total = self.query_ids.size + self.gallery_ids.size
            warnings.warn(
                f"{self.missing_cameras} of {total} pictures have no camera: no same-camera entry is removed for them, "
                "so the scores may be too high",
                stacklevel=3,
            )
        self.junk: Ints = np.flatnonzero(self.gallery_ids == JUNK)
        # Gallery rows grouped by identity, ascending within a group because the sort is stable.
        self._rows: Ints = np.argsort(self.gallery_ids, kind="stable")
        self._identities, self._starts, self._sizes = np.unique(
            self.gallery_ids[self._rows], return_index=True, return_counts=True
        )
        self._group: Ints = np.searchsorted(self._identities, self.query_ids)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of queries and of gallery entries."""
        return self.query_ids.size, self.gallery_ids.size

    @property
    def num_identities(self) -> int:
        """Number of distinct identities in the gallery, junk included."""
        return int(self._identities.size)

    def group(self, query: int) -> int:
        """Position of the query's identity among the gallery's sorted identities."""
        return int(self._group[query])

    def matches(self, query: int) -> tuple[Ints, Ints]:
        """Gallery rows that are correct for a query, and those removed for it (junk apart), both ascending."""
        group, identity = self._group[query], self.query_ids[query]
        none = np.empty(0, dtype=np.int64)
        if identity == JUNK or group == self._identities.size or self._identities[group] != identity:
            return none, none
        same = self._rows[self._starts[group] : self._starts[group] + self._sizes[group]]
        camera = self.query_cams[query]
        if camera == UNKNOWN_CAMERA:
            return same, none
        removed = self.gallery_cams[same] == camera
        return same[~removed], same[removed]

    def picks(self, draws: Floats) -> Ints:
        """One gallery row per identity for each row of uniform ``draws`` (S, identities) in [0, 1)."""
        return self._rows[self._starts + (draws * self._sizes).astype(np.int64)]

    def why_invalid(self) -> str:
        """The likely reason why no query has a correct entry left, in one line."""
        queries = self.query_ids.size
        shared = np.intersect1d(self.query_ids, self.gallery_ids[self.gallery_ids != JUNK]).size
        if shared == 0:
            return (
                f"no query is valid: none of the {np.unique(self.query_ids).size} query identities is in the gallery; "
                "check that query and gallery come from the same data set and that the whole gallery was evaluated"
            )
        cameras = np.unique(np.concatenate([self.query_cams, self.gallery_cams]))
        if cameras.size == 1:
            cause = f"all camera numbers are equal ({cameras[0]})"
        else:
            cause = "every correct entry has the camera of its query"
        return (
            f"no query is valid: {cause}, so each of the {queries} queries loses its correct entries to the "
            "same-camera step; check how cameras are read, or give cameras as None (or -1) if they are unknown"
        )


def _labels(values: Labels, name: str) -> Ints:
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"{name} has shape {array.shape}: give one number per picture, shape (N,)")
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"{name} has type {array.dtype}: identities and cameras are whole numbers")
    return array.astype(np.int64)


def _cameras(values: Labels | None, ids: Ints, name: str) -> Ints:
    if values is None:
        return np.full(ids.size, UNKNOWN_CAMERA, dtype=np.int64)
    cameras = _labels(values, f"{name}_cams")
    if cameras.size != ids.size:
        raise DataError(
            f"{name}_cams has {cameras.size} entries and {name}_ids has {ids.size}: give one of each per picture"
        )
    return np.maximum(cameras, UNKNOWN_CAMERA)
