"""Query and gallery sets of a retrieval protocol, from evaluated pictures in any order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.reid.distances import COSINE
from vision_suite.metrics.reid.ranking import AP_CONVENTIONS, TIES, APConvention
from vision_suite.metrics.reid.truth import JUNK, RetrievalTruth
from vision_suite.types import Role
from vision_suite.types.arrays import Ints

Protocol = Literal["market", "multi_query", "cuhk03", "vehicleid"]

PROTOCOLS: dict[str, str] = {
    "market": "single query, multi-shot gallery, same-camera entries removed",
    "multi_query": "features of a query's identity and camera averaged, then as market",
    "cuhk03": "CMC from random galleries of one picture per identity; mAP and mINP from the whole gallery",
    "vehicleid": "random galleries of one picture per identity, all other pictures are queries, cameras not used",
}


@dataclass(frozen=True)
class EvaluatedPictures:
    """Evaluated pictures, each once, in the order of their data-set index; features may lie in several pieces.

    Attributes:
        pieces: Feature matrices whose rows, one after another, are the pictures as they arrived.
        arrival: (N,) row of each picture in ``pieces``.
        index: (N,) data-set index, ascending.
        identity: (N,) identities.
        camera: (N,) cameras.
        role: (N,) values of `Role`.
        duplicates: Number of repeated pictures (padding of a distributed sampler) that were dropped.
    """

    pieces: list[Tensor]
    arrival: Ints
    index: Ints
    identity: Ints
    camera: Ints
    role: Ints
    duplicates: int

    @classmethod
    def collect(cls, pieces: list[Tensor], tags: Ints) -> EvaluatedPictures:
        """Drop repeated pictures.

        Args:
            pieces: Feature matrices, rows in order of arrival.
            tags: (rows, 4) index, identity, camera and role of each row.

        Raises:
            DataError: Nothing arrived, or one index came with two different identities, cameras or roles.
        """
        if len(tags) == 0:
            raise DataError(
                "no picture was evaluated: the metric was never updated; check that the data set is not empty"
            )
        index, arrival, position = np.unique(tags[:, 0], return_index=True, return_inverse=True)
        kept = tags[arrival]
        conflicts = np.flatnonzero((tags != kept[position.reshape(-1)]).any(axis=1))
        if conflicts.size:
            raise DataError(
                f"index {tags[conflicts[0], 0]} came with different identities, cameras or roles: "
                "the index must number the pictures of query and gallery together"
            )
        return cls(pieces, arrival, index, kept[:, 1], kept[:, 2], kept[:, 3], len(tags) - len(index))

    def features(self, rows: Ints) -> Tensor:
        """(len(rows), D) features of the pictures at ``rows``, copied once from the pieces."""
        wanted = self.arrival[rows]
        order = np.argsort(wanted, kind="stable")
        out = torch.empty(len(rows), self.pieces[0].shape[1], dtype=torch.float32, device=self.pieces[0].device)
        bounds = np.cumsum([0, *(len(piece) for piece in self.pieces)])
        cuts = np.searchsorted(wanted[order], bounds)
        for piece, begin, low, high in zip(self.pieces, bounds[:-1], cuts[:-1], cuts[1:], strict=True):
            into = order[low:high]
            out[_long(into, out)] = piece[_long(wanted[into] - begin, out)]
        return out


@dataclass(frozen=True)
class RetrievalTest:
    """One retrieval test: features with the queries first, and their identities and cameras.

    Attributes:
        features: (Q + G, D) features, queries first.
        truth: Identities and cameras.
        query_index: (Q,) data-set indices of the queries.
        gallery_index: (G,) data-set indices of the gallery.
        notes: Counts of what the protocol did, for the report.
    """

    features: Tensor
    truth: RetrievalTruth
    query_index: Ints
    gallery_index: Ints
    notes: dict[str, int]

    @property
    def query(self) -> Tensor:
        """(Q, D) features of the queries."""
        return self.features[: self.truth.shape[0]]

    @property
    def gallery(self) -> Tensor:
        """(G, D) features of the gallery."""
        return self.features[self.truth.shape[0] :]


def retrieval_tests(pictures: EvaluatedPictures, protocol: Protocol, draws: int, seed: int) -> Iterator[RetrievalTest]:
    """Yield the tests whose mean is the result: ``draws`` of them for VehicleID, else one.

    Args:
        pictures: Evaluated pictures.
        protocol: One of `PROTOCOLS`.
        draws: Number of random galleries of VehicleID.
        seed: Seed of these galleries.

    Raises:
        DataError: No query or no gallery picture among those evaluated.

    Example:
        >>> tags = np.array([[0, 7, 0, Role.QUERY], [1, 7, 1, Role.GALLERY], [2, 8, 1, Role.GALLERY]])
        >>> pictures = EvaluatedPictures.collect([torch.eye(3)], tags)  # index, identity, camera, role
        >>> [test] = retrieval_tests(pictures, "market", draws=1, seed=0)
        >>> test.truth.shape, test.gallery_index
        ((1, 2), array([1, 2]))
    """
    if protocol == "vehicleid":
        yield from _drawn_galleries(pictures, draws, seed)
        return
    junk = pictures.identity == JUNK
    query = np.flatnonzero(pictures.role == Role.QUERY)
    gallery = np.flatnonzero((pictures.role == Role.GALLERY) & ~junk)
    for name, rows in (("query", query), ("gallery", gallery)):
        if rows.size == 0:
            raise DataError(
                f"there is no {name} picture among the {pictures.index.size} evaluated: evaluate the whole set "
                "(no limit on the number of batches) and check the data set's query and gallery folders"
            )
    features = pictures.features(np.concatenate([query, gallery]))
    notes = {"num_junk": int((junk & (pictures.role == Role.GALLERY)).sum())}
    if protocol == "multi_query":
        notes["queries_without_support"] = _average_support(pictures, query, features)
    truth = RetrievalTruth(
        pictures.identity[query], pictures.identity[gallery], pictures.camera[query], pictures.camera[gallery]
    )
    yield RetrievalTest(features, truth, pictures.index[query], pictures.index[gallery], notes)


def _average_support(pictures: EvaluatedPictures, query: Ints, features: Tensor) -> int:
    """Replace each query's feature by the mean normalised feature of its support; count the queries without support."""
    support = np.flatnonzero(pictures.role == Role.SUPPORT)
    if support.size == 0:
        raise DataError(
            "protocol 'multi_query' found no support pictures: the data set must give the further pictures of each "
            "query's identity and camera (Market-1501: gt_bbox); else use protocol 'market'"
        )
    keys, group = np.unique(
        np.stack([pictures.identity[support], pictures.camera[support]], axis=1), axis=0, return_inverse=True
    )
    row_of = {(identity, camera): row for row, (identity, camera) in enumerate(keys.tolist())}
    total = torch.zeros(len(keys), features.shape[1], device=features.device)
    unit = torch.nn.functional.normalize(pictures.features(support), dim=1)
    # The mean's length does not matter to a cosine, so the sum serves.
    total.index_add_(0, _long(group.reshape(-1), features), unit)
    missing = 0
    for row, position in enumerate(query.tolist()):
        found = row_of.get((int(pictures.identity[position]), int(pictures.camera[position])))
        if found is None:
            missing += 1
        else:
            features[row] = total[found]
    return missing


def _drawn_galleries(pictures: EvaluatedPictures, draws: int, seed: int) -> Iterator[RetrievalTest]:
    if draws < 1:
        raise ConfigError(f"draws={draws} is not a number of random galleries: choose 1 or more")
    junk = pictures.identity == JUNK
    rows = np.flatnonzero((pictures.role != Role.SUPPORT) & ~junk)
    generator = np.random.default_rng(seed)
    for _ in range(draws):
        shuffled = generator.permutation(rows)
        _, first = np.unique(pictures.identity[shuffled], return_index=True)
        gallery = np.sort(shuffled[first])
        query = np.setdiff1d(rows, gallery, assume_unique=True)
        if query.size == 0:
            raise DataError(
                f"protocol 'vehicleid' has no query left: each of the {rows.size} pictures has an identity of its own; "
                "check how identities are read"
            )
        truth = RetrievalTruth(pictures.identity[query], pictures.identity[gallery], use_cameras=False)
        features = pictures.features(np.concatenate([query, gallery]))
        yield RetrievalTest(
            features, truth, pictures.index[query], pictures.index[gallery], {"num_junk": int(junk.sum())}
        )


def protocol_facts(test: RetrievalTest, protocol: Protocol, ap: APConvention, num_valid: int) -> dict[str, object]:
    """Facts of a test that a reader of its numbers must know, as plain values.

    Example:
        >>> tags = np.array([[0, 7, 0, Role.QUERY], [1, 7, 1, Role.GALLERY]])  # index, identity, camera, role
        >>> [test] = retrieval_tests(EvaluatedPictures.collect([torch.eye(2)], tags), "market", draws=1, seed=0)
        >>> protocol_facts(test, "market", "rect", num_valid=1)["num_gallery"]
        1
    """
    queries, gallery = test.truth.shape
    return {
        "protocol": protocol,
        "protocol_description": PROTOCOLS[protocol],
        "ap": ap,
        "ap_description": AP_CONVENTIONS[ap],
        "ties": TIES,
        "distance": f"{COSINE}, float32",
        "feature_dim": test.features.shape[1],
        "num_query": queries,
        "num_valid": num_valid,
        "num_gallery": gallery,
        "same_camera_removal": test.truth.use_cameras,
        "missing_cameras": test.truth.missing_cameras,
        **test.notes,
    }


def _long(rows: Ints, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(rows)).to(like.device)
