"""Preprocessing of an entry: its settings, and for pictures the steps themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from torch import Generator, Tensor

from vision_suite.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

# Names in a checkpoint's preprocessing of pictures, for those that config.json has otherwise.
SQUASH, PAD = "squash", "pad"


class Preprocess(Mapping[str, Any]):
    """Settings of ``config.json`` by name; called with a picture, its network input, as ``predict`` makes it.

    Args:
        settings: The section ``preprocess`` of ``config.json``.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = dict(settings)

    def __getitem__(self, name: str) -> Any:
        return self._settings[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._settings)

    def __len__(self) -> int:
        return len(self._settings)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings})"

    @property
    def reads_pictures(self) -> bool:
        """True if a picture can be given."""
        return "resize" in self._settings

    def __call__(self, picture: str | Path | Image) -> Tensor:
        """Network input (1, 3, h, w) float32 of a picture.

        Args:
            picture: A file, or a picture of Pillow.

        Raises:
            ConfigError: The network reads no pictures, or the settings ask for steps that the suite does not have.
            DataError: The file cannot be read.
        """
        from vision_suite.datasets.pictures.images import FILTERS, open_picture, to_rgb
        from vision_suite.datasets.pictures.transforms import Prepare

        if not self.reads_pictures:
            raise ConfigError("this network reads no pictures: make its batches with the datamodule of its task")
        settings = self._settings
        if settings["resize"] not in (SQUASH, PAD) or not settings["antialias"]:
            raise ConfigError(f"resize={settings['resize']!r}, antialias={settings['antialias']}: not known here")
        image = open_picture(str(picture)) if not hasattr(picture, "resize") else to_rgb(cast("Image", picture))
        crop = settings["crop"] or {"center": settings["size"], "bottom": 0}
        if crop["bottom"]:
            image = image.crop((0, 0, image.width, max(1, image.height - crop["bottom"])))
        height, width = settings["size"]
        center, mean, std = (cast("Any", tuple(each)) for each in (crop["center"], settings["mean"], settings["std"]))
        if settings["resize"] == PAD:
            from vision_suite.datasets.conversations.pictures import Appearance

            pixels = Appearance((height, width), mean, std, settings["interpolation"]).pixels(image)
        else:
            pixels = _resized(image, (width, height), FILTERS[settings["interpolation"]])
        prepare = Prepare(center, mean, std, None)
        return prepare(pixels[None], Generator())


def of_pictures(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of ``config.json`` of the preprocessing of pictures that a checkpoint stores."""
    return {
        "size": list(stored["resize"]),
        "resize": PAD if stored.get("square") == "pad" else SQUASH,
        "interpolation": stored["interpolation"],
        "antialias": True,
        "crop": {
            "center": list(stored.get("center_crop", stored["resize"])), "bottom": stored.get("crop_bottom", 0)
        },
        "color": "RGB",
        "mean": list(stored["mean"]),
        "std": list(stored["std"]),
    }  # fmt: skip


def _resized(image: Image, size: tuple[int, int], resampling: Any) -> Tensor:
    """The picture (3, h, w) uint8 in a size (w, h)."""
    import numpy as np
    import torch

    image = image if image.size == size else image.resize(size, resampling)
    return torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1)
