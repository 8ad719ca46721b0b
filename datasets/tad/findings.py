"""Faults of a detection data set that reading its features brings to light: counts and warnings for the protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vision_suite.datasets.tad.annotations import Video
from vision_suite.datasets.tad.features import FeatureSource
from vision_suite.datasets.tad.sampling import FeatureInfo
from vision_suite.datasets.tad.stages import leads_of


class Findings:
    """Counts and warnings of the videos whose features were read so far.

    Args:
        protocol: The data's protocol, whose ``problems`` and ``warnings`` are kept up to date.
    """

    def __init__(self, protocol: dict[str, Any]) -> None:
        self._protocol = protocol
        self._known = list(protocol["warnings"])  # of the annotations
        self._leads: dict[str, float] = {}
        self._told: set[str] = set()

    def count(self, problem: str, number: int) -> None:
        """Set the number of a problem."""
        if number:
            self._protocol["problems"][problem] = number

    def read(self, source: FeatureSource, videos: Sequence[Video], counts: Sequence[int], info: FeatureInfo) -> None:
        """Take up videos whose features were read, with their numbers of rows.

        Raises:
            DataError: Features do not fit the duration of their video.
        """
        self._leads |= leads_of(videos, counts, info)  # by name: one video may be in two stages
        self.count("features_shorter_than_video", sum(lead < 0 for lead in self._leads.values()))
        self.count("features_longer_than_video", sum(lead > 0 for lead in self._leads.values()))
        self.count("videos_of_zero_features", len(source.zero))
        self.count("videos_of_constant_features", len(source.constant))
        kinds = {"zeros": source.zero, "the same row all the time": source.constant}
        self._protocol["warnings"] = self._known + [
            f"Features of {len(names)} videos hold nothing but {what} (first: {min(names)!r}): extract them again"
            for what, names in kinds.items()
            if names
        ]

    def tell(self, warn: Callable[[str], None]) -> None:
        """Print the warnings that were not told yet."""
        for line in self._protocol["warnings"]:
            if line not in self._told:
                self._told.add(line)
                warn(line)
