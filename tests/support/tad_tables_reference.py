"""Reading of results by columns of numbers and a sort of those: `tables.read_found` must agree with it."""

import warnings

import numpy as np

from vision_suite.errors import DataError
from vision_suite.metrics.tad import tables


def read_columns(predictions, truth, *, labels, blocked, invalid, unknown_labels):
    """Video, label, segment and score of each prediction, and the counts."""
    results = tables._by_video(predictions, "results", "result dictionary", list | tuple)
    left_out = {name.removeprefix("v_") for name in blocked}
    video_of = {name: number for number, name in enumerate(truth.videos)}
    label_of = {name: number for number, name in enumerate(truth.classes)}
    counts = dict.fromkeys(("dropped_segments", "unknown_labels", "unknown_videos", "blocked"), 0)
    rows, unknown = [], set()
    for name, entries in results.items():
        if name in left_out:
            counts["blocked"] += len(entries)
            continue
        where = f"prediction of video {name!r}"
        for entry in entries:
            start, end = tables._segment(entry, where)
            label = 0
            if labels:
                word = tables._label(entry, where)
                label = label_of.get(word, -1)
                if label < 0:
                    unknown.add(word)
                    counts["unknown_labels"] += 1
                    continue
            rows.append((video_of.get(name, -1), name, label, start, end, tables._number(entry, "score", where)))
    if unknown and unknown_labels == "error":
        raise DataError(
            f"{counts['unknown_labels']} predictions have a label that the ground truth does not have, such as "
            f"{min(unknown)!r}: correct it, or drop them with unknown_labels='drop'"
        )
    segment = np.array([row[3:5] for row in rows], dtype=np.float64).reshape(-1, 2)
    score = np.array([row[5] for row in rows], dtype=np.float64)
    good = np.isfinite(segment).all(axis=1) & (segment[:, 1] > segment[:, 0]) & np.isfinite(score)
    counts["dropped_segments"] = int((~good).sum())
    if not good.all() and invalid == "error":
        first = rows[int(np.flatnonzero(~good)[0])]
        raise DataError(
            f"{counts['dropped_segments']} of {len(rows)} predictions have a segment without a positive, finite length "
            f"or a score that is not finite, the first in video {first[1]!r}: segment "
            f"[{first[3]}, {first[4]}], score {first[5]}: correct them, or drop them with invalid='drop'"
        )
    rows = [row for row, usable in zip(rows, good, strict=True) if usable]
    names = {name: number for number, name in enumerate(sorted({row[1] for row in rows}))}
    counts["unknown_videos"] = len(names.keys() - video_of.keys())
    if names and counts["unknown_videos"] == len(names):
        warnings.warn(
            f"none of the {len(names)} predicted videos, such as {next(iter(names))!r}, is in the ground truth: check "
            "the ids and the subset",
            stacklevel=2,
        )
    keys = np.array([(names[row[1]], row[2], row[3], row[4], -row[5]) for row in rows]).reshape(-1, 5)
    order = np.lexsort((keys[:, 1], keys[:, 3], keys[:, 2], keys[:, 0], keys[:, 4]))
    video = np.array([row[0] for row in rows], dtype=np.int64)[order]
    label = np.array([row[2] for row in rows], dtype=np.int64)[order]
    return video, label, segment[good][order], score[good][order], counts
