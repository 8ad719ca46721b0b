"""Videos of each stage, of those that have features, and the protocol of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_warn

from vision_suite.datasets.base import summary
from vision_suite.datasets.pictures.records import Record, fingerprint
from vision_suite.datasets.tad.annotations import Annotations, Video
from vision_suite.datasets.tad.features import FeatureSource
from vision_suite.datasets.tad.sampling import FeatureInfo
from vision_suite.datasets.tad.windows import compare_lengths

STAGES = ("fit", "validate", "test")
SUBSETS = {"fit": "train_on", "validate": "validate_on", "test": "test_on"}


@dataclass(frozen=True)
class StageVideos:
    """Videos of a data set by stage.

    Attributes:
        subsets: Subsets of the annotations by stage.
        videos: Videos by stage.
        missing: Number of videos that were left out because they have no features.
    """

    subsets: Mapping[str, list[str]]
    videos: dict[str, list[Video]]
    missing: int

    @property
    def names(self) -> list[str]:
        """Names of the videos of all stages, each once."""
        return list(dict.fromkeys(video.name for stage in STAGES for video in self.videos[stage]))


def subsets_of(
    train_on: list[str] | None, validate_on: list[str] | None, test_on: list[str] | None
) -> dict[str, list[str]]:
    """Subsets by stage, ActivityNet's names where they are unset."""
    return {
        "fit": ["training"] if train_on is None else train_on,
        "validate": ["validation"] if validate_on is None else validate_on,
        "test": ["testing"] if test_on is None else test_on,
    }


def deal_out(
    listing: Annotations, subsets: Mapping[str, list[str]], source: FeatureSource, *, skip: bool
) -> StageVideos:
    """Videos of each stage.

    Args:
        listing: Annotations.
        subsets: Subsets by stage.
        source: Features.
        skip: Leave videos without features out and warn, instead of stopping.

    Raises:
        DataError: Videos have no features, or a subset is unknown.
    """
    known = {video.subset for video in listing.videos.values()}
    # A file without a validation or test subset still trains.
    videos = {
        stage: listing.of(names) if stage == "fit" or set(names) & known else [] for stage, names in subsets.items()
    }
    names = StageVideos(subsets, videos, 0).names
    missing = source.missing(names, skip)
    if missing:
        rank_zero_warn(f"Skipped {len(missing)} of {len(names)} videos without features (first: {missing[0]})")
    gone = set(missing)
    kept = {stage: [video for video in own if video.name not in gone] for stage, own in videos.items()}
    return StageVideos(subsets, kept, len(gone))


def protocol_of(
    folder: Path, listing: Annotations, dealt: StageVideos, source: FeatureSource, scores: Path | None
) -> dict[str, Any]:
    """Facts about a data set that a reader of the metrics must know.

    Args:
        folder: Folder of the data set.
        listing: Annotations.
        dealt: Videos by stage.
        source: Features.
        scores: File of class scores from outside.
    """
    videos, subsets = dealt.videos, dealt.subsets
    records = [Record(file, -1) for name in dealt.names for file in source.files(name)]
    return {
        "dataset": folder.name,
        "layout": "activitynet_json",
        "root": str(folder),
        "annotations": listing.path.name,
        "subsets": dict(subsets),
        "counts": {stage: _counts(videos[stage]) for stage in STAGES},
        "problems": {
            **listing.problems,
            **({"feature_files_not_read": source.number_passed_over} if source.number_passed_over else {}),
        },
        "warnings": list(listing.warnings),
        "features": [str(location.relative_to(folder)) for location in source.locations],
        "validation": "+".join(subsets["validate"]) if videos["validate"] else "none",
        "test_used_for_validation": bool(set(subsets["validate"]) & set(subsets["test"]) and videos["validate"]),
        "class_scores": None if scores is None else scores.name,
        "fingerprint": fingerprint(folder, records),
    }


def summary_of(protocol: Mapping[str, Any], facts: str) -> str:
    """One line about a data set at the start of a run."""
    words = "{videos} videos, {actions} actions"
    return summary(protocol["dataset"], protocol["counts"], words, facts, protocol["problems"])


def leads_of(videos: Sequence[Video], counts: Sequence[int], info: FeatureInfo) -> dict[str, float]:
    """Seconds by which rows end behind their videos, as `compare_lengths` gives them; warns if there are any."""
    found = compare_lengths(videos, counts, info)
    if found:
        name, lead = next(iter(found.items()))
        rank_zero_warn(
            f"Features of {len(found)} of {len(videos)} videos end more than a clip before or behind the video's end "
            f"(first: {name!r}, {lead:+.4g} s)"
        )
    return found


def _counts(videos: Sequence[Video]) -> dict[str, int]:
    labels = Counter(action.label for video in videos for action in video.actions)
    return {"videos": len(videos), "actions": sum(labels.values()), "classes": len(labels)}
