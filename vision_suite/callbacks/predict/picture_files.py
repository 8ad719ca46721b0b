"""The files of a prediction: features, rank lists and classes, each written piece by piece."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vision_suite.callbacks.predict.store import Predictions
from vision_suite.drafts import drafted, replacing_text
from vision_suite.metrics.reid.distances import COSINE, cosine_blocks
from vision_suite.metrics.reid.ranking import AnyFloats, nearest, row_blocks
from vision_suite.types import Role
from vision_suite.types.arrays import Ints


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


def inputs_and_gallery(role: Ints) -> tuple[Ints, Ints, bool]:
    """Rows that ask, rows that answer, and whether these are the same pictures.

    With queries and a gallery, the one is ranked for the other; else every picture is ranked among all others.
    """
    queries, gallery = np.flatnonzero(role == Role.QUERY), np.flatnonzero(role == Role.GALLERY)
    if len(queries) and len(gallery):
        return queries, gallery, False
    everything = np.flatnonzero(role != Role.SUPPORT)
    return everything, everything, True


def ranked(
    feature: AnyFloats, inputs: Ints, gallery: Ints, same: bool, top_k: int
) -> Iterator[tuple[int, Ints, AnyFloats]]:
    """Rank the gallery for each input by 1 - cosine, ties by position; distances exist for a block of inputs at a time.

    Args:
        feature: (N, D) float32, possibly a file mapped into memory.
        inputs: Rows that ask.
        gallery: Rows that answer.
        same: Both are the same pictures: an input isn't listed for itself.
        top_k: Length of the lists.

    Yields:
        Row of the input, rows of its nearest pictures, their distances.
    """
    # Contiguous runs stay views of the file; a fancy index would copy all features into memory.
    asked, answers = torch.from_numpy(_rows(feature, inputs)), torch.from_numpy(_rows(feature, gallery))
    for start, block in cosine_blocks(asked, answers, row_blocks(len(inputs), len(gallery))):
        for offset, distances in enumerate(block):
            if same:
                distances[start + offset] = np.inf
            near = nearest(distances, top_k)
            yield int(inputs[start + offset]), gallery[near], distances[near]


def write_rank_lists(
    lists: Iterable[tuple[int, Ints, AnyFloats]], paths: Sequence[str], against: str, top_k: int, target: Path
) -> list[tuple[int, Ints, AnyFloats]]:
    """Write ``rank_lists.json``, one list at a time, and give the first few back for drawing.

    Args:
        lists: Rank lists, as `ranked` yields them.
        paths: Paths of the N pictures.
        against: Words for the pictures that were searched.
        top_k: Longest list.
        target: File to write.
    """
    kept = []
    head = {"distance": f"{COSINE}, float32", "ties": "by position", "against": against, "top_k": top_k}
    with replacing_text(target) as file:
        file.write(json.dumps(head, indent=1)[:-2] + ',\n "lists": [')
        for number, (row, near, distances) in enumerate(lists):
            found = [{"path": paths[n], "distance": round(float(d), 6)} for n, d in zip(near, distances, strict=True)]
            entry = json.dumps({"path": paths[row], "ranked": found}, ensure_ascii=False)
            file.write(("\n  " if number == 0 else ",\n  ") + entry)
            if number < 8:
                kept.append((row, near, distances))
        file.write("\n ]\n}\n")
    return kept


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


def _rows(feature: AnyFloats, rows: Ints) -> AnyFloats:
    """These rows of the features; a view where they follow one another."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return feature[int(rows[0]) : int(rows[-1]) + 1]
    return feature[rows]
