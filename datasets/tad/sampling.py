"""The metadata of snippet features, without which the time of a row is unknown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_warn

from vision_suite.datasets.files import parse_json
from vision_suite.drafts import write_whole
from vision_suite.errors import ConfigError, DataError, is_number

METADATA = "features.json"
NEEDED = ("fps", "stride", "clip", "offset")
PLACES = ("checkpoint", "weights", "source")  # of an extractor: noted for readers, its checksum tells whose weights
JOINED = "joined"
EXAMPLE = (
    '{"fps": 25, "stride": 16, "clip": 16, "offset": 0}, or {"resized": true} for rows that cover the video evenly'
)


@dataclass(frozen=True)
class FeatureInfo:
    """Times of the rows of a feature file, and their width; frames are counted at ``fps``.

    Row k covers frames ``offset + k * stride`` to ``offset + (k + 1) * stride``.

    Attributes:
        fps: Frames a second; unset for the video's own rate (frames / duration of the annotation file).
        stride: Frames from one row to the next; must be given unless resized.
        clip: Frames that the extractor used for a row; must be given unless resized.
        offset: Frame at which row 0 begins, (clip - stride) / 2 for rows in the middle of their clips.
        channels: Width of a row; 0 takes the first file's.
        resized: Rows cover the whole video evenly, however many there are; ``fps`` and the others don't matter then.
        extractor: Settings of the extractor, in plain values, so that it can be run on other videos.
    """

    fps: float | None = None
    stride: float = 0
    clip: float = 0
    offset: float = 0
    channels: int = 0
    resized: bool = False
    extractor: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse settings that give no time, and values of a JSON file that are no numbers."""
        for name in (*NEEDED, "channels"):
            value = getattr(self, name)
            if name == "fps" and value is None:
                continue
            if not is_number(value):
                raise DataError(f"sampling of features: {name}={value!r} must be a finite number")
        if not isinstance(self.resized, bool) or not isinstance(self.extractor, dict):
            raise DataError(
                f"sampling of features: resized={self.resized!r} must be true or false, extractor={self.extractor!r} "
                "names with values"
            )
        if not self.resized and (self.stride <= 0 or self.clip <= 0 or (self.fps is not None and self.fps <= 0)):
            raise DataError(
                f"features with fps={self.fps}, stride={self.stride}, clip={self.clip} have no time: give {EXAMPLE}"
            )


def read_info(folder: Path) -> FeatureInfo:
    """Read the metadata beside a set of features; further keys are ignored.

    Raises:
        DataError: The file is missing or malformed, lacks a key, or has a misspelt one.
    """
    path = folder / METADATA
    try:
        contents = parse_json(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError(
            f"{str(path)!r} is missing, so the time of each feature is unknown: write it, such as {EXAMPLE}; or give "
            "--data.sampling"
        ) from None
    except ValueError as error:
        raise DataError(f"{str(path)!r} is not usable metadata ({error}): write {EXAMPLE}") from None
    if not isinstance(contents, dict):
        raise DataError(f"{str(path)!r} is not usable metadata: write {EXAMPLE}")
    known = [entry.name for entry in fields(FeatureInfo)]
    for name in contents.keys() - set(known):
        if close := get_close_matches(name.lower(), known, n=1, cutoff=0.8):
            raise DataError(f"{str(path)!r} has the unknown key {name!r}: write {close[0]!r}")
    missing = [name for name in NEEDED if name not in contents]
    if missing and contents.get("resized") is not True:
        raise DataError(
            f"{str(path)!r} lacks {', '.join(missing)}, so the time of each row is unknown: write {EXAMPLE}"
        )
    try:
        return FeatureInfo(**{name: contents[name] for name in known if name in contents})
    except DataError as error:
        raise DataError(f"{str(path)!r}: {error}") from None


def read_joined(folders: Sequence[Path]) -> FeatureInfo:
    """The metadata of sets that are joined along the channels; the extractors of several stand under `JOINED`.

    Raises:
        ConfigError: Their rows happen at different times.
        DataError: A file is unusable, as in `read_info`.
    """
    found = [read_info(folder) for folder in folders]
    if len({_times(info) for info in found}) > 1:
        raise ConfigError("the sets of features differ in fps, stride, offset or resized: give --data.sampling")
    widths = [info.channels for info in found]
    extractors = [info.extractor for info in found]
    together = {"kind": JOINED, JOINED: extractors} if len(found) > 1 and any(extractors) else extractors[0]
    return replace(found[0], channels=sum(widths) if all(widths) else 0, extractor=together)


def chosen_sampling(given: FeatureInfo | None, folders: Sequence[Path]) -> FeatureInfo:
    """The sampling that is given, else the metadata beside the features; warns where the two say other times.

    Args:
        given: Sampling of a setting, which may come from a checkpoint that was trained on other features.
        folders: Folders of the features.

    Raises:
        ConfigError: Nothing is given, and sets happen at different times; or the features were made by another
            extractor than the given sampling names.
        DataError: Nothing is given, and a file is unusable.
    """
    if given is None:
        return read_joined(folders)
    _refuse_other_extractor(given, folders)
    for folder in folders:
        try:
            own = read_info(folder)
        except DataError:  # no metadata: that is what the setting is for
            continue
        if other := other_times(own, given):
            rank_zero_warn(
                f"{str(folder / METADATA)!r} says {other[0]}, but sampling (of a setting or the checkpoint) says "
                f"{other[1]} and is used: pass --data.sampling null to use the file"
            )
    return given


def metadata_folders(locations: Iterable[Path]) -> list[Path]:
    """Folders in which the metadata of sets of features lie: the sets themselves, or those of their HDF5 files."""
    return [one if one.is_dir() else one.parent for one in locations]


def other_times(first: FeatureInfo, second: FeatureInfo) -> tuple[str, str] | None:
    """The times of two sets of rows in words where they differ, else None."""
    return None if _times(first) == _times(second) else (_words(first), _words(second))


def _refuse_other_extractor(given: FeatureInfo, folders: Sequence[Path]) -> None:
    """Refuse features that another extractor made than those that a network was trained on."""
    trained = given.extractor.get(JOINED, [given.extractor])
    if not isinstance(trained, list) or len(trained) != len(folders):
        return
    for folder, theirs in zip(folders, trained, strict=True):
        try:
            own = read_info(folder).extractor
        except DataError:  # as in `chosen_sampling`
            continue
        if not own or not isinstance(theirs, dict) or not theirs:
            continue
        unlike = [key for key in {**theirs, **own} if key not in PLACES and own.get(key) != theirs.get(key)]
        if unlike:
            key = "checksum" if "checksum" in unlike else unlike[0]
            raise ConfigError(
                f"the features in {str(folder)!r} were made by an extractor of {key} {own.get(key)!r}, those that the "
                f"network was trained on by one of {key} {theirs.get(key)!r}: extract them as in training, or pass "
                "--data.sampling null to score these"
            )


def _times(info: FeatureInfo) -> object:
    return info.resized or (info.fps, info.stride, info.offset)


def _words(info: FeatureInfo) -> str:
    return "resized" if info.resized else f"fps={info.fps}, stride={info.stride}, offset={info.offset}"


def write_info(folder: Path, info: FeatureInfo, **more: object) -> None:
    """Write the metadata beside a set of features, with further facts for readers."""
    write_whole(folder / METADATA, json.dumps({**asdict(info), **more}, indent=1) + "\n")
