"""ActivityNet's dictionaries of ground truth and results as checked columns of numbers."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from vision_suite.errors import DataError, check_choice
from vision_suite.types.arrays import Bools, Floats, Ints

log = logging.getLogger(__name__)

Invalid = Literal["error", "drop"]
Entry: TypeAlias = Mapping[str, Any]  # of a file: checked while it is read


@dataclass(frozen=True)
class AnnotatedSegments:
    """Annotated segments of one subset.

    Attributes:
        videos: Ids of its videos without ``v_``, sorted.
        classes: Names that occur, sorted, also those without a usable annotation.
        video: (n,) indices into ``videos``.
        label: (n,) indices into ``classes``.
        segment: (n, 2) start and end in seconds.
        duration: (V,) seconds, NaN where the file has none.
        dropped: Annotations left out because start and end are equal, inverted or not finite.
    """

    videos: list[str]
    classes: list[str]
    video: Ints
    label: Ints
    segment: Floats
    duration: Floats
    dropped: int


@dataclass(frozen=True)
class PredictedSegments:
    """Predicted segments, sorted by falling score, equal scores by video, segment and label.

    Attributes:
        video: (n,) indices into the truth's ``videos``, -1 for an unknown video.
        label: (n,) indices into the truth's ``classes``; 0 for proposals.
        segment: (n, 2) start and end in seconds.
        score: (n,) scores.
        counts: Numbers of entries left out, and of unknown videos: ``dropped_segments``, ``unknown_labels``,
            ``unknown_videos``, ``blocked``.
    """

    video: Ints
    label: Ints
    segment: Floats
    score: Floats
    counts: dict[str, int] = field(default_factory=dict)


def read_truth(
    ground_truth: Mapping[str, object], subset: str | None = None, blocked: Collection[str] = ()
) -> AnnotatedSegments:
    """Read an annotation dictionary ``{"database": {id: {"subset", "duration", "annotations": [...]}}}``.

    Args:
        ground_truth: The dictionary; segments in seconds, as numbers or text.
        subset: Subset to take; None takes every video.
        blocked: Ids of videos to leave out, with or without ``v_``.

    Raises:
        DataError: There is no database, no video or no usable annotation in the subset, or an annotation lacks a part.

    Example:
        >>> notes = [{"segment": ["0", 10], "label": "run"}, {"segment": [5, 5], "label": "jump"}]
        >>> truth = read_truth({"database": {"v_1": {"annotations": notes}}})
        >>> truth.videos, truth.classes, truth.segment, truth.dropped
        (['1'], ['jump', 'run'], array([[ 0., 10.]]), 1)
    """
    database = _by_video(ground_truth, "database", "ground truth", Mapping)
    left_out = _bare(blocked)
    chosen = {
        name: entry
        for name, entry in database.items()
        if (subset is None or entry.get("subset") == subset) and name not in left_out
    }
    if not chosen:
        known = sorted({str(entry.get("subset")) for entry in database.values()})
        raise DataError(f"the ground truth has no video of subset {subset!r}: it has {', '.join(known) or 'no video'}")
    videos = sorted(chosen)
    rows: list[tuple[int, str, float, float]] = []
    for index, name in enumerate(videos):
        notes = chosen[name].get("annotations", [])
        if not isinstance(notes, list | tuple):
            raise DataError(f"the ground truth has {str(notes)[:60]} as 'annotations' of video {name!r}: give a list")
        for note in notes:
            start, end = _segment(note, f"annotation of video {name!r}")
            rows.append((index, _label(note, f"annotation of video {name!r}"), start, end))
    segment = np.array([row[2:] for row in rows], dtype=np.float64).reshape(-1, 2)
    good = _usable(segment)
    if not good.any():
        raise DataError(f"none of the {len(videos)} videos of subset {subset!r} has a usable annotation")
    dropped = int((~good).sum())
    if dropped:
        log.warning("left out %d of %d annotations without a positive, finite length", dropped, len(rows))
    kept = [row for row, usable in zip(rows, good, strict=True) if usable]
    classes = sorted({row[1] for row in rows})  # as the official code: one without a usable annotation scores 0
    index_of = {name: index for index, name in enumerate(classes)}
    return AnnotatedSegments(
        videos,
        classes,
        np.array([row[0] for row in kept], dtype=np.int64),
        np.array([index_of[row[1]] for row in kept], dtype=np.int64),
        segment[good],
        np.array([_duration(chosen[name], name) for name in videos]),
        dropped,
    )


def read_found(
    predictions: Mapping[str, object],
    truth: AnnotatedSegments,
    *,
    labels: bool,
    blocked: Collection[str] = (),
    invalid: Invalid = "error",
    unknown_labels: Invalid = "error",
) -> PredictedSegments:
    """Read a result dictionary ``{"results": {id: [{"label", "score", "segment"}]}}``.

    Args:
        predictions: The dictionary; ids with or without ``v_``.
        truth: Annotations that the ids and labels refer to.
        labels: True if labels count (detections), False if not (proposals).
        blocked: Ids of videos to leave out.
        invalid: Treatment of segments without a positive, finite length, and of scores that are not finite.
        unknown_labels: Treatment of labels that the truth does not have.

    Raises:
        ConfigError: ``invalid`` or ``unknown_labels`` is another word than ``error`` or ``drop``.
        DataError: There are no results, a part is missing, or something invalid or unknown was found and not dropped.

    Example:
        >>> truth = read_truth({"database": {"v": {"annotations": [{"segment": [0, 10], "label": "run"}]}}})
        >>> entries = [{"segment": [0, 5], "score": 0.5}, {"segment": [0, 9], "score": 0.8}]
        >>> read_found({"results": {"v": entries}}, truth, labels=False).score
        array([0.8, 0.5])
    """
    check_choice("invalid", invalid, get_args(Invalid))
    check_choice("unknown_labels", unknown_labels, get_args(Invalid))
    results = _by_video(predictions, "results", "result dictionary", list | tuple)
    left_out = _bare(blocked)
    label_of = {name: index for index, name in enumerate(truth.classes)} if labels else None
    rows, unknown = _rows({name: results[name] for name in results if name not in left_out}, label_of)
    if unknown and unknown_labels == "error":
        raise DataError(
            f"{len(unknown)} predictions have a label that the ground truth does not have, such as {min(unknown)!r}: "
            "correct it, or drop them with unknown_labels='drop'"
        )
    usable = _usable_rows(rows, invalid)
    video_of = {name: index for index, name in enumerate(truth.videos)}
    names = {row.video for row in usable}
    unknown_videos = names - video_of.keys()
    if names and names == unknown_videos:
        warnings.warn(
            f"none of the {len(names)} predicted videos, such as {min(names)!r}, is in the ground truth: check "
            "the ids and the subset",
            stacklevel=3,
        )
    usable.sort()
    return PredictedSegments(
        np.array([video_of.get(row.video, -1) for row in usable], dtype=np.int64),
        np.array([row.label for row in usable], dtype=np.int64),
        np.array([(row.start, row.end) for row in usable], dtype=np.float64).reshape(-1, 2),
        np.array([-row.falling for row in usable], dtype=np.float64),
        {
            "dropped_segments": len(rows) - len(usable),
            "unknown_labels": len(unknown),
            "unknown_videos": len(unknown_videos),
            "blocked": sum(len(entries) for name, entries in results.items() if name in left_out),
        },
    )


class _Row(NamedTuple):
    """A prediction; its fields stand in the order that sorts: best score first, ties by video, segment and label."""

    falling: float  # the score, negative
    video: str
    start: float
    end: float
    label: int


def _rows(results: Mapping[str, Sequence[Entry]], label_of: Mapping[str, int] | None) -> tuple[list[_Row], list[str]]:
    """The predictions whose label is known (any, without ``label_of``), and the labels of the others."""
    rows: list[_Row] = []
    unknown: list[str] = []
    for name, entries in results.items():
        where = f"prediction of video {name!r}"
        for entry in entries:
            start, end = _segment(entry, where)
            label = 0
            if label_of is not None:
                word = _label(entry, where)
                if word not in label_of:
                    unknown.append(word)
                    continue
                label = label_of[word]
            rows.append(_Row(-_number(entry, "score", where), name, start, end, label))
    return rows, unknown


def _usable_rows(rows: list[_Row], invalid: Invalid) -> list[_Row]:
    """The predictions with a positive, finite length and a finite score.

    Raises:
        DataError: There are others, which ``invalid`` refuses.
    """
    segment = np.array([(row.start, row.end) for row in rows], dtype=np.float64).reshape(-1, 2)
    good = _usable(segment) & np.isfinite(np.array([row.falling for row in rows], dtype=np.float64))
    if good.all():
        return rows
    first = rows[int(np.flatnonzero(~good)[0])]
    what = f"{int((~good).sum())} of {len(rows)} predictions have a segment without a positive, finite length"
    if invalid == "error":
        raise DataError(
            f"{what} or a score that is not finite, the first in video {first.video!r}: segment "
            f"[{first.start}, {first.end}], score {-first.falling}: correct them, or drop them with invalid='drop'"
        )
    log.warning("%s or a score that is not finite: left out", what)
    return [row for row, usable in zip(rows, good, strict=True) if usable]


def check_thresholds(thresholds: Iterable[float]) -> Floats:
    """The tIoU thresholds as an array.

    Raises:
        DataError: There is none, or one is no number or outside (0, 1].

    Example:
        >>> check_thresholds([0.5, 0.75])
        array([0.5 , 0.75])
    """
    try:
        values: Floats = np.atleast_1d(np.array(thresholds, dtype=np.float64)).ravel()
    except (TypeError, ValueError):
        raise DataError(f"tIoU thresholds {thresholds!r} must be a list of numbers above 0 and up to 1") from None
    if not len(values) or not ((values > 0) & (values <= 1)).all():
        raise DataError(f"tIoU thresholds {values.tolist()} must be one or more numbers above 0 and up to 1")
    return values


def _bare(names: Iterable[object]) -> set[str]:
    return {str(name).removeprefix("v_") for name in names}


def _by_video(contents: object, key: str, what: str, kind: type | UnionType) -> dict[str, Any]:
    """The contents of a dictionary under a key, by ids without ``v_``."""
    table = contents.get(key) if isinstance(contents, Mapping) else None
    if not isinstance(table, Mapping):
        raise DataError(
            f"the {what} ({type(contents).__name__}) has no {key!r} with videos: give ActivityNet's dictionary, which "
            "json.load reads from a file"
        )
    out: dict[str, Any] = {}
    for given, entry in table.items():
        name = str(given).removeprefix("v_")
        if name in out:
            raise DataError(f"the {what} has video {name!r} twice, with and without v_: leave one out")
        if not isinstance(entry, kind):
            need = "a dictionary with 'annotations'" if kind is Mapping else "a list of segments"
            raise DataError(f"the {what} has {str(entry)[:60]} for video {name!r}: give {need}")
        out[name] = entry
    return out


def _usable(segment: Floats) -> Bools:
    return np.isfinite(segment).all(axis=1) & (segment[:, 1] > segment[:, 0])


def _segment(entry: Entry, where: str) -> tuple[float, float]:
    try:
        if isinstance(entry["segment"], str):
            raise TypeError("text is not [start, end]")
        start, end = entry["segment"]
        return float(start), float(end)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where}: 'segment' must be [start, end] in seconds, found {entry!r}") from error


def _label(entry: Entry, where: str) -> str:
    try:
        return str(entry["label"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{where} has no 'label': {entry!r}") from error


def _number(entry: Entry, key: str, where: str) -> float:
    try:
        return float(entry[key])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where} has no number as {key!r}: {entry.get(key)!r}") from error


def _duration(entry: Entry, name: str) -> float:
    return _number(entry, "duration", f"video {name!r} of the ground truth") if entry.get("duration") else float("nan")
