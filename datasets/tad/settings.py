"""Settings that turn features into sequences: what is allowed, and what a checkpoint's preprocessing gives."""

from __future__ import annotations

from typing import Any, Literal, get_args

from vision_suite.datasets.loading import Cache
from vision_suite.datasets.saved import SavedPreprocessing
from vision_suite.datasets.tad.features import Join
from vision_suite.datasets.tad.sampling import FeatureInfo
from vision_suite.errors import ConfigError, check_choice

Mode = Literal["resize", "window"]
OnMissing = Literal["error", "skip"]


def check_settings(
    mode: str, num_cells: int, every: int, join: str, keep_inside: float, min_share: float, cache: str, on_missing: str
) -> None:
    """Refuse values out of range and unknown words; `vision_suite.datasets.tad.TADData` explains the arguments.

    Raises:
        ConfigError: There is one.
    """
    if every < 1 or num_cells < 1:
        raise ConfigError(f"every={every} and num_cells={num_cells} must be at least 1")
    if not (0 <= keep_inside < 1 and 0 <= min_share < 1):
        raise ConfigError(f"keep_inside={keep_inside} and min_share={min_share} must be from 0 to below 1")
    for name, value, choices in (
        ("mode", mode, Mode), ("join", join, Join), ("cache", cache, Cache), ("on_missing", on_missing, OnMissing)
    ):  # fmt: skip
        check_choice(name, value, get_args(choices))


def stored_settings(saved: SavedPreprocessing) -> dict[str, Any]:
    """Arguments of the datamodule; `MISSING` for absent entries.

    Raises:
        CheckpointError: An entry has a wrong value.
    """
    return {
        "mode": saved.choice("mode", get_args(Mode)),
        "num_cells": saved.whole("num_cells", 1),
        "every": saved.whole("every", 1),
        "test_overlap": saved.share("overlap"),
        "join": saved.choice("join", get_args(Join)),
        "sampling": saved.record("sampling", FeatureInfo),
    }
