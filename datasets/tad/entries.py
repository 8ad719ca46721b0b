"""One video of an annotation file: every value is checked, repairs and omissions are counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vision_suite.errors import DataError

DUPLICATE_SECONDS = 1e-3
SHOWN = 80  # characters of a wrong value


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
        unclear: Times in which something is annotated that is no usable action: ignored labels, and the whole video
            for segments without a length.
    """

    name: str
    subset: str
    duration: float
    frames: int = 0
    actions: tuple[Action, ...] = ()
    unclear: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Span:
    """A segment as the file gives it, and the duration of its video in the file's own unit."""

    video: str
    start: float
    end: float
    duration: float


@dataclass
class EntryReader:
    """Reads the videos of an annotation file.

    Attributes:
        path: The file, for messages.
        ignored: Labels to leave out.
        problems: Number of repairs and omissions, by kind.
        spans: Segments as given, of videos with a known duration.
    """

    path: Path
    ignored: Collection[str]
    problems: Counter[str] = field(default_factory=Counter)
    spans: list[Span] = field(default_factory=list)

    def read(self, name: str, entry: object) -> Video:
        """One video.

        Raises:
            DataError: The entry, its subset, duration, number of frames or an annotation is malformed.
        """
        if not isinstance(entry, Mapping) or not entry.get("subset"):
            raise DataError(f"{self.path}: video {name!r} has no subset: give it, such as training")
        subset = entry["subset"]
        if not isinstance(subset, str):
            raise self._wrong(name, subset, "as subset", "a name, such as training")
        duration = self._duration(name, entry.get("duration"))
        given = entry.get("frame", entry.get("frames"))
        frames = 0.0 if given is None else self._number(name, given, "frames")
        if not (math.isfinite(frames) and frames >= 0):
            raise DataError(f"{self.path}: video {name!r} has {frames} frames: give their number, or leave it out")
        notes = entry.get("annotations", [])
        if notes is None:
            self.problems["videos_with_null_annotations"] += 1
            notes = []
        if not isinstance(notes, list):
            raise self._wrong(name, notes, "as annotations", "a list")
        actions: list[Action] = []
        unclear: list[tuple[float, float]] = []
        for note in notes:
            self._take(name, note, duration, actions, unclear)
        return Video(name, subset, duration, int(frames), tuple(actions), tuple(unclear))

    def _take(
        self, name: str, note: object, duration: float, actions: list[Action], unclear: list[tuple[float, float]]
    ) -> None:
        """Read an annotation into one of the lists."""
        label, first, second = self._parts(name, note)
        if isinstance(first, str) or isinstance(second, str):
            self.problems["text_segments"] += 1
        start, end = self._number(name, first), self._number(name, second)
        if label in self.ignored:
            self.problems["ignored_labels"] += 1
            unclear.append((start, end))
            return
        if not (math.isfinite(start) and math.isfinite(end) and end > start):
            reversed_ = math.isfinite(start) and math.isfinite(end) and end < start
            self.problems["reversed_segments" if reversed_ else "segments_without_length"] += 1
            unclear.append((-math.inf, math.inf))
            return
        if math.isfinite(duration):
            self.spans.append(Span(name, start, end, duration))
        if end <= 0 or start >= duration:  # never true for an unknown duration
            self.problems["segments_outside_video"] += 1
            unclear.append((-math.inf, math.inf))
            return
        if end > duration or start < 0:
            self.problems["clipped_segments"] += 1
            start, end = max(start, 0.0), min(end, duration) if math.isfinite(duration) else end
        action = Action(label, start, end)
        if any(_same(action, other) for other in actions):
            self.problems["duplicates_kept"] += 1
        actions.append(action)

    def _parts(self, name: str, note: object) -> tuple[str, Any, Any]:
        """Label and both ends of an annotation, the ends as they are."""
        if not isinstance(note, Mapping) or "label" not in note or "segment" not in note:
            raise self._wrong(name, note, "as annotation", "an object with label and segment [start, end]")
        label, segment = note["label"], note["segment"]
        if not isinstance(segment, list) or len(segment) != 2:
            raise self._wrong(name, segment, "as segment", "[start, end] in seconds")
        if isinstance(label, bool) or not isinstance(label, str | int) or not str(label).strip():
            raise self._wrong(name, label, "as label", "the name of a class")
        return str(label), *segment

    def _duration(self, name: str, value: object) -> float:
        """Seconds, NaN where the file gives none."""
        if value is None:
            return math.nan
        seconds = self._number(name, value)
        if not (math.isfinite(seconds) and seconds > 0):
            raise DataError(
                f"{self.path}: video {name!r} has the duration {value!r}: give a finite number of seconds above 0, or "
                "leave it out if it is unknown"
            )
        return seconds

    def _number(self, name: str, value: Any, what: str = "seconds") -> float:
        try:
            if isinstance(value, bool):
                raise TypeError("true would be 1")
            return float(value)
        except (TypeError, ValueError, OverflowError):
            raise DataError(f"{self.path}: video {name!r} has {value!r} where a number of {what} is needed") from None

    def _wrong(self, name: str, value: object, where: str, needed: str) -> DataError:
        return DataError(f"{self.path}: video {name!r} has {repr(value)[:SHOWN]} {where}: give {needed}")


def _same(one: Action, other: Action) -> bool:
    close = max(abs(one.start - other.start), abs(one.end - other.end)) <= DUPLICATE_SECONDS
    return one.label == other.label and close
