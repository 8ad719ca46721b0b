"""Annotations of temporal action detection in ActivityNet's JSON, the format of THUMOS-14's copies too."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vision_suite.datasets.files import read_lines
from vision_suite.drafts import write_whole
from vision_suite.errors import DataError
from vision_suite.types.tad import AnnotatedVideo, GroundTruth

DUPLICATE_SECONDS = 1e-3


@dataclass(frozen=True)
class Action:
    """One annotated segment in seconds."""

    label: str
    start: float
    end: float


@dataclass(frozen=True)
class Video:
    """One video of an annotation file.

    Attributes:
        name: Id without ``v_``.
        subset: Name of the subset, as in the file.
        duration: Seconds, NaN if unknown.
        frames: Number of frames, 0 if unknown.
        actions: Usable annotations.
    """

    name: str
    subset: str
    duration: float
    frames: int = 0
    actions: tuple[Action, ...] = ()


@dataclass
class Annotations:
    """Everything in an annotation file.

    Attributes:
        path: The file.
        videos: Videos by id, in sorted order.
        classes: Names by class number.
        problems: Number of repairs and omissions, by kind.
    """

    path: Path
    videos: dict[str, Video]
    classes: list[str]
    problems: dict[str, int] = field(default_factory=dict)

    def of(self, subsets: Collection[str]) -> list[Video]:
        """The videos of some subsets.

        Raises:
            DataError: A subset has no video.
        """
        known = {video.subset for video in self.videos.values()}
        missing = [subset for subset in subsets if subset not in known]
        if missing:
            raise DataError(f"{self.path} has no videos of subset {missing[0]!r}: it has {', '.join(sorted(known))}")
        return [video for video in self.videos.values() if video.subset in subsets]


def read_annotations(
    path: Path,
    *,
    classes: Path | None = None,
    blocked: Path | None = None,
    ignore_labels: Sequence[str] = (),
) -> Annotations:
    """Read ``{"database": {id: {"subset", "duration", "annotations": [{"label", "segment"}]}}}``.

    Segments may be text; ends beyond the video are clipped to it; segments then without a positive length are left out,
    as are ignored labels and blocked videos. All of these are counted. Exact duplicates, which are kept, and
    blocked ids that the file does not have are counted too.

    Args:
        path: The annotation file.
        classes: A text file with one class name a line, which fixes the numbers; without it the names that occur,
            sorted.
        blocked: A JSON list of ids to leave out.
        ignore_labels: Labels to leave out, such as THUMOS-14's Ambiguous.

    Raises:
        DataError: A file is missing or malformed, a class is not in the list, or no annotation is left.
    """
    database = _load(path)
    skipped = _blocked(blocked)
    problems: Counter[str] = Counter()
    videos: dict[str, Video] = {}
    for given in sorted(database, key=lambda given: given.removeprefix("v_")):
        name, entry = given.removeprefix("v_"), database[given]
        if name in skipped:
            problems["blocked_videos"] += 1
            continue
        if name in videos:
            raise DataError(f"{path}: {name!r} is there twice, with and without v_")
        videos[name] = _video(path, name, entry, set(ignore_labels), problems)
    found = sorted({action.label for video in videos.values() for action in video.actions})
    if not found:
        raise DataError(f"{path} has no usable annotation ({len(videos)} videos): is it the right file?")
    if strangers := len(skipped - {given.removeprefix("v_") for given in database}):
        problems["unknown_blocked_videos"] = strangers
    names = [line.strip() for line in read_lines(classes)] if classes is not None else found
    if unknown := sorted(set(found) - set(names)):
        raise DataError(f"{path} has the label {unknown[0]!r}, which {classes} lacks: add it, or ignore the label")
    return Annotations(path, videos, names, dict(problems))


def ground_truth(videos: Sequence[Video]) -> GroundTruth:
    """The usable annotations of some videos as an ActivityNet dictionary, which evaluation takes."""
    database: dict[str, AnnotatedVideo] = {
        video.name: {
            "subset": video.subset,
            "duration": video.duration if math.isfinite(video.duration) else None,
            "annotations": [{"segment": [a.start, a.end], "label": a.label} for a in video.actions],
        }
        for video in videos
    }
    return {"version": "VERSION 1.3", "taxonomy": [], "database": database}


def write_annotations(path: Path, videos: Sequence[Video]) -> None:
    """Write an annotation file with the three keys that the official evaluator demands."""
    contents = ground_truth(videos)
    labels = sorted({action.label for video in videos for action in video.actions})
    root = {"nodeId": 0, "nodeName": "Root", "parentId": None, "parentName": None}
    leaves = [
        {"nodeId": n, "nodeName": label, "parentId": 0, "parentName": "Root"} for n, label in enumerate(labels, start=1)
    ]
    contents["taxonomy"] = [root, *leaves]
    write_whole(path, json.dumps(contents, indent=1) + "\n")


def _load(path: Path) -> dict[str, object]:
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"annotation file {str(path)!r} is missing: give the right --data.annotations") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"annotation file {str(path)!r} is not JSON ({error}): copy it again") from None
    database = contents.get("database") if isinstance(contents, dict) else None
    if not isinstance(database, dict) or not database:
        raise DataError(f"annotation file {str(path)!r} has no 'database' with videos: ActivityNet's format is needed")
    return database


def _blocked(path: Path | None) -> set[str]:
    if path is None:
        return set()
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"list of blocked videos {str(path)!r} cannot be read ({error})") from None
    if isinstance(names, Mapping):
        names = list(names)
    if not isinstance(names, list):
        raise DataError(f"list of blocked videos {str(path)!r} must be a JSON list of ids")
    return {str(name).removeprefix("v_") for name in names}


def _video(path: Path, name: str, entry: object, ignored: set[str], problems: Counter[str]) -> Video:
    if not isinstance(entry, Mapping) or "subset" not in entry:
        raise DataError(f"{path}: video {name!r} has no subset")
    duration = _float(path, name, entry.get("duration") or "nan")
    frames = _float(path, name, entry.get("frame") or entry.get("frames") or 0, "frames")
    if not (math.isfinite(frames) and frames >= 0):
        raise DataError(f"{path}: video {name!r} has {frames} frames: give their number, or leave it out")
    notes = entry.get("annotations") or []
    if not isinstance(notes, list):
        raise DataError(f"{path}: video {name!r} has {str(notes)[:60]} as annotations: give a list")
    actions: list[Action] = []
    for note in notes:
        try:
            if isinstance(note["segment"], str):
                raise TypeError("text would be taken apart into letters")
            label, (first, second) = str(note["label"]), note["segment"]
        except (KeyError, TypeError, ValueError):
            raise DataError(
                f"{path}: video {name!r} has an annotation without label or segment [start, end]: {note!r}"
            ) from None
        if label in ignored:
            problems["ignored_labels"] += 1
            continue
        if isinstance(first, str) or isinstance(second, str):
            problems["text_segments"] += 1
        start, end = _float(path, name, first), _float(path, name, second)
        if end > duration or start < 0:  # never true for an unknown duration
            problems["clipped_segments"] += 1
            start, end = max(start, 0.0), min(end, duration) if math.isfinite(duration) else end
        if not (math.isfinite(start) and math.isfinite(end) and end > start):
            problems["segments_without_length"] += 1
            continue
        action = Action(label, start, end)
        if any(_same(action, other) for other in actions):
            problems["duplicates_kept"] += 1
        actions.append(action)
    return Video(name, str(entry["subset"]), duration, int(frames), tuple(actions))


def _same(one: Action, other: Action) -> bool:
    close = max(abs(one.start - other.start), abs(one.end - other.end)) <= DUPLICATE_SECONDS
    return one.label == other.label and close


def _float(path: Path, name: str, value: Any, what: str = "seconds") -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(f"{path}: video {name!r} has {value!r} where a number of {what} is needed") from None
