"""The files of a prediction: features, rank lists and classes, each written piece by piece."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vision_suite.callbacks.predict.store import Predictions
from vision_suite.drafts import drafted, replacing_text
from vision_suite.metrics.reid.decisions import Thresholds
from vision_suite.metrics.reid.distances import cosine_blocks
from vision_suite.metrics.reid.expansion import Expansion, expand_queries
from vision_suite.metrics.reid.ranking import AnyFloats, nearest, row_blocks
from vision_suite.types import Role
from vision_suite.types.arrays import Ints

DRAWN = 8  # rank lists


@dataclass(frozen=True)
class RankList:
    """The nearest pictures of an input; none for an input whose feature is not finite.

    Attributes:
        path: Path of the input.
        row: Row of the input in the predictions.
        near: (K,) rows of the pictures that answer, nearest first.
        distances: (K,) their distances.
    """

    path: str
    row: int
    near: Ints
    distances: AnyFloats


def write_features(predictions: Predictions, paths: Sequence[str], roles: Sequence[str], folder: Path) -> None:
    """Write ``features.parquet`` (columns path, role, feature; one row group a chunk) and ``features.npz`` (the same).

    Args:
        predictions: Their column ``feature`` (N, D) float32.
        paths: Paths of the N pictures.
        roles: ``input`` or ``gallery`` for each.
        folder: Folder to write into.
    """
    import pyarrow
    import pyarrow.parquet

    feature = predictions.columns["feature"]
    width = feature.shape[1]
    schema = pyarrow.schema(
        [
            ("path", pyarrow.string()),
            ("role", pyarrow.string()),
            ("feature", pyarrow.list_(pyarrow.float32(), width)),
        ]
    )
    with (
        drafted(folder / "features.parquet") as draft,
        pyarrow.parquet.ParquetWriter(draft, schema) as writer,
    ):
        for rows in predictions.chunks():
            flat = pyarrow.array(np.ascontiguousarray(feature[rows]).reshape(-1))
            columns = [
                pyarrow.array(paths[rows], pyarrow.string()),
                pyarrow.array(roles[rows], pyarrow.string()),
                pyarrow.FixedSizeListArray.from_arrays(flat, width),
            ]
            writer.write_table(pyarrow.table(columns, schema=schema))
    with drafted(folder / "features.npz") as draft, draft.open("wb") as file:
        np.savez(file, path=np.array(paths), role=np.array(roles), feature=feature)


def inputs_and_gallery(role: Ints, stored: bool = False) -> tuple[Ints, Ints, bool]:
    """Rows that ask, rows that answer, and whether these are the same pictures.

    With queries and a gallery, the one is ranked for the other; else every picture is ranked among all others.

    Args:
        role: (N,) values of `Role`.
        stored: A gallery on disk answers too, so there is one even if none of it was computed.
    """
    queries, gallery = np.flatnonzero(role == Role.QUERY), np.flatnonzero(role == Role.GALLERY)
    if len(queries) and (stored or len(gallery)):
        return queries, gallery, False
    everything = np.flatnonzero(role != Role.SUPPORT)
    return everything, everything, True


def ranked(
    asked: AnyFloats, answers: AnyFloats, same: bool, top_k: int, expansion: Expansion
) -> Iterator[tuple[Ints, AnyFloats]]:
    """Rank the gallery for each input by 1 - cosine, ties by position; distances exist for a block of inputs at a time.

    Args:
        asked: (Q, D) float32 finite features that ask, possibly a file mapped into memory.
        answers: (G, D) float32 finite features that answer, likewise.
        same: Both are the same pictures: an input isn't listed for itself.
        top_k: Length of the lists.
        expansion: Query expansion.

    Yields:
        Rows of the nearest answers of each input, and their distances.
    """
    gallery = torch.from_numpy(answers)
    query = expand_queries(torch.from_numpy(asked), gallery, expansion, same)
    for start, block in cosine_blocks(query, gallery, row_blocks(len(query), len(gallery))):
        for offset, distances in enumerate(block):
            if same:
                distances[start + offset] = np.inf
            near = nearest(distances, top_k)
            yield near, distances[near]


def write_rank_lists(
    lists: Iterable[RankList],
    names: Sequence[str],
    head: Mapping[str, Any],
    thresholds: Thresholds | None,
    folder: Path,
) -> tuple[list[RankList], dict[str, int]]:
    """Write ``rank_lists.json`` one list at a time and, with thresholds, ``decisions.csv`` with a row for each entry.

    Args:
        lists: Rank lists.
        names: Paths of the pictures that answer.
        head: Facts of the search.
        thresholds: Thresholds of the decisions; None for none, and an earlier ``decisions.csv`` is removed.
        folder: Folder to write into.

    Returns:
        The first few lists, for drawing, and the number of entries by decision, with that of the inputs that have an
        entry called the same as ``inputs_with_same``.
    """
    kept: list[RankList] = []
    counts = {"same": 0, "different": 0, "unsure": 0, "inputs_with_same": 0}
    table = folder / "decisions.csv"
    with contextlib.ExitStack() as files:
        file = files.enter_context(replacing_text(folder / "rank_lists.json"))
        rows = None if thresholds is None else csv.writer(files.enter_context(replacing_text(table)))
        if rows is not None:
            rows.writerow(["query", "rank", "picture", "distance", "decision"])
        decision = None if thresholds is None else asdict(thresholds)
        file.write(json.dumps({**head, "decision": decision}, indent=1)[:-2] + ',\n "lists": [')
        for number, each in enumerate(lists):
            decided = [] if thresholds is None else thresholds.decide(each.distances)
            found: list[dict[str, Any]] = [
                {"path": names[n], "distance": round(float(d), 6)}
                for n, d in zip(each.near, each.distances, strict=True)
            ]
            for rank, (entry, word) in enumerate(zip(found, decided, strict=bool(decided)), start=1):
                entry["decision"] = word
                counts[word] += 1
                if rows is not None:
                    rows.writerow([each.path, rank, entry["path"], entry["distance"], word])
            counts["inputs_with_same"] += "same" in decided
            line = json.dumps({"path": each.path, "ranked": found}, ensure_ascii=False)
            file.write(("\n  " if number == 0 else ",\n  ") + line)
            if number < DRAWN:
                kept.append(each)
        file.write("\n ]\n}\n")
    if thresholds is None:
        table.unlink(missing_ok=True)
    return kept, counts


def write_classes(predictions: Predictions, paths: Sequence[str], names: Sequence[str], folder: Path) -> None:
    """Write the best classes of each picture: ``classes.csv`` (one row a picture) and ``classes.json``.

    Args:
        predictions: Their columns ``classes`` (N, K) int64, best first, and ``probability`` (N, K) float32.
        paths: Paths of the N pictures.
        names: Class names; empty if unknown, then numbers stand for them.
        folder: Folder to write into.
    """
    classes, probability = predictions.columns["classes"], predictions.columns["probability"]
    ranks = range(1, classes.shape[1] + 1)
    with (
        replacing_text(folder / "classes.csv") as table,
        replacing_text(folder / "classes.json") as lines,
    ):
        writer = csv.writer(table)
        writer.writerow(["path", *(f"{word}_{rank}" for rank in ranks for word in ("class", "probability"))])
        lines.write("[")
        for row, path in enumerate(paths):
            best: list[dict[str, Any]] = [
                {"class": names[int(c)] if names else int(c), "probability": round(float(p), 6)}
                for c, p in zip(classes[row], probability[row], strict=True)
            ]
            writer.writerow([path, *(value for entry in best for value in entry.values())])
            entry = json.dumps({"path": path, "classes": best}, ensure_ascii=False)
            lines.write(("\n " if row == 0 else ",\n ") + entry)
        lines.write("\n]\n")


def rows_of(feature: AnyFloats, rows: Ints) -> AnyFloats:
    """These rows of the features; a view where they follow one another, since a fancy index copies them into memory."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return feature[int(rows[0]) : int(rows[-1]) + 1]
    return feature[rows]
