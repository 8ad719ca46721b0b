"""Preprocessing of pictures as a checkpoint stores it, and the settings that give it again."""

from __future__ import annotations

from typing import Any, get_args

from vision_suite.datasets.pictures.images import Interpolation, Reader
from vision_suite.datasets.pictures.transforms import Prepare
from vision_suite.datasets.saved import SavedPreprocessing

SCALE = 1 / 255


def stored_preprocessing(read: Reader, prepare: Prepare) -> dict[str, Any]:
    """Steps from a picture to the network's input, in plain values; sizes are (h, w)."""
    return {
        "colour": "RGB",
        "crop_bottom": read.crop_bottom,
        "resize": list(read.size),
        "interpolation": read.interpolation,
        "center_crop": list(prepare.size),
        "scale": SCALE,
        "mean": list(prepare.mean),
        "std": list(prepare.std),
    }


def picture_settings(saved: SavedPreprocessing) -> dict[str, Any]:
    """Arguments of a datamodule of pictures; `MISSING` for absent entries.

    Raises:
        CheckpointError: An entry has a wrong value.
    """
    saved.fixed("colour", "RGB")
    saved.fixed("scale", SCALE)
    return {
        "crop_bottom": saved.whole("crop_bottom"),
        "resize": saved.size("resize"),
        "interpolation": saved.choice("interpolation", get_args(Interpolation)),
        "image_size": saved.size("center_crop"),
        "mean": saved.numbers("mean", 3),
        "std": saved.numbers("std", 3, above=0),
    }
