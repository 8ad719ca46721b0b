"""Annotations of temporal action detection in ActivityNet's JSON, the format of THUMOS-14's copies too."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vision_suite.datasets.files import parse_json, read_lines
from vision_suite.datasets.tad.entries import Action as Action
from vision_suite.datasets.tad.entries import EntryReader
from vision_suite.datasets.tad.entries import Video as Video
from vision_suite.datasets.tad.units import unit_warnings
from vision_suite.drafts import write_whole
from vision_suite.errors import DataError
from vision_suite.types.tad import AnnotatedVideo, GroundTruth


@dataclass
class Annotations:
    """Everything in an annotation file.

    Attributes:
        path: The file.
        videos: Videos by id, in sorted order.
        classes: Names by class number.
        problems: Number of repairs and omissions, by kind.
        warnings: Lines about segments that do not fit their videos.
    """

    path: Path
    videos: dict[str, Video]
    classes: list[str]
    problems: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

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

    Segments may be text; ends beyond the video are clipped to it; segments that are reversed, without a length or
    outside the video are left out, as are ignored labels and blocked videos. All of these are counted. Exact
    duplicates, which are kept, and blocked ids that the file does not have are counted too.

    Args:
        path: The annotation file.
        classes: A text file with one class name a line, which fixes the numbers; without it the names that occur,
            sorted.
        blocked: A JSON list of ids to leave out.
        ignore_labels: Labels to leave out, such as THUMOS-14's Ambiguous.

    Raises:
        DataError: A file is missing or malformed, a class is not in the list or twice, most annotations lie behind the
            end of their video, or none is left.
    """
    database = _load(path)
    skipped = _blocked(blocked)
    reader = EntryReader(path, set(ignore_labels))
    problems, videos = reader.problems, dict[str, Video]()
    for given in sorted(database, key=lambda given: given.removeprefix("v_")):
        name, entry = given.removeprefix("v_"), database[given]
        if name in skipped:
            problems["blocked_videos"] += 1
            continue
        if name in videos:
            raise DataError(f"{path}: {name!r} is there twice, with and without v_")
        videos[name] = reader.read(name, entry)
    warnings = unit_warnings(path, reader.spans)
    found = sorted({action.label for video in videos.values() for action in video.actions})
    if not found:
        raise DataError(f"{path} has no usable annotation ({len(videos)} videos): is it the right file?")
    if strangers := len(skipped - {given.removeprefix("v_") for given in database}):
        problems["unknown_blocked_videos"] = strangers
    names = _classes(classes) if classes is not None else found
    if unknown := sorted(set(found) - set(names)):
        raise DataError(f"{path} has the label {unknown[0]!r}, which {classes} lacks: add it, or ignore the label")
    return Annotations(path, videos, names, dict(problems), warnings)


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
    """The database of an annotation file."""
    if not path.is_file():
        raise DataError(f"annotation file {str(path)!r} is missing or no file: give the right --data.annotations")
    try:
        contents = parse_json(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"annotation file {str(path)!r} is not JSON ({error}): copy it again") from None
    database = contents.get("database") if isinstance(contents, dict) else None
    if not isinstance(database, dict) or not database:
        held = f"the keys {', '.join(list(contents)[:5])}" if isinstance(contents, dict) else f"a {_kind(contents)}"
        raise DataError(
            f"annotation file {str(path)!r} has no 'database' with videos by id, it holds {held}: ActivityNet's format "
            'is needed, {"database": {id: {"subset", "duration", "annotations"}}}'
        )
    return database


def _kind(value: object) -> str:
    return "list" if isinstance(value, list) else f"single value ({str(value)[:40]})"


def _classes(path: Path) -> list[str]:
    """Names of a list of classes."""
    if not path.is_file():
        raise DataError(f"list of classes {str(path)!r} is missing or no file: give the right --data.classes")
    names = [line.strip() for line in read_lines(path)]
    if not names:
        raise DataError(f"list of classes {str(path)!r} is empty: write one name a line")
    if double := [name for number, name in enumerate(names) if name in names[:number]]:
        raise DataError(
            f"list of classes {str(path)!r} has {double[0]!r} twice (classes {names.index(double[0]) + 1} and "
            f"{len(names) - names[::-1].index(double[0])}): delete one line"
        )
    return names


def _blocked(path: Path | None) -> set[str]:
    if path is None:
        return set()
    try:
        names = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"list of blocked videos {str(path)!r} cannot be read ({error})") from None
    if isinstance(names, Mapping):
        names = list(names)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"list of blocked videos {str(path)!r} must be a JSON list of ids")
    return {name.removeprefix("v_") for name in names}
