"""Inputs of the network from a scene: crops of its objects, or their vectors, prepared once and kept."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vision_suite.datasets.pictures.images import open_picture
from vision_suite.datasets.saved import SavedPreprocessing
from vision_suite.datasets.scanpath.records import check_size
from vision_suite.errors import ConfigError, DataError
from vision_suite.types import Scene, Trial

GREY = 127  # of crops where the picture is absent
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RECENT = 8  # scenes kept without memory: in evaluation the trials of one scene follow one another


@dataclass(frozen=True)
class CropSettings:
    """Steps from crops to the network's input: RGB, resized whatever their shape, divided by 255, normalised.

    OAT's own pipelines differ between its data sets (BGR of 0 to 255, RGB stretched crop by crop); this is one for all.

    Attributes:
        size: Height and width in pixels, OAT's by default.
        mean: Mean of each channel, of values 0..1.
        std: Standard deviation of each channel, of values 0..1.
    """

    size: tuple[int, int] = (150, 93)
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        """Refuse sizes without a pixel and divisions by 0; lists, as in files, become tuples."""
        for name in ("size", "mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if min(self.size, default=0) < 1 or not all(0 < value < math.inf for value in self.std):
            raise ConfigError(f"crop_size={list(self.size)}, std={list(self.std)}: use numbers above 0")
        if not all(math.isfinite(value) for value in self.mean):
            raise ConfigError(f"mean={list(self.mean)}: use finite numbers, of values 0..1")
        if (len(self.size), len(self.mean), len(self.std)) != (2, 3, 3):
            raise ConfigError(
                f"crop_size={list(self.size)}, mean={list(self.mean)}, std={list(self.std)}: use a height and a width, "
                "and three numbers for the channels"
            )

    def normalise(self, crops: Tensor) -> Tensor:
        """(..., 3, h, w) uint8 as normalised float32."""
        shape = (3, 1, 1)
        return (crops.float() / 255 - torch.tensor(self.mean).view(shape)) / torch.tensor(self.std).view(shape)


def crop_settings(saved: SavedPreprocessing) -> dict[str, Any]:
    """Arguments ``crop_size``, ``mean`` and ``std`` for a network, `MISSING` for those that its checkpoint lacks.

    A network that was trained on vectors but can look at crops has a trained encoder of its own (timm, CLIP), which
    takes crops of any size normalised as for ImageNet.

    Args:
        saved: Preprocessing as `vision_suite.datasets.scanpath.appearance.ObjectAppearance` gives it.

    Raises:
        CheckpointError: An entry has a wrong value.
    """
    crops = {
        "crop_size": saved.size("crop_size"),
        "mean": saved.numbers("mean", 3),
        "std": saved.numbers("std", 3, above=0),
    }
    if saved.choice("objects", ("crops", "features")) == "features":
        return {"crop_size": [224, 224], "mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)}
    return crops


class SceneInputs:
    """Crops or vectors of scenes and of targets, read when first asked for.

    Args:
        crops: Size and normalisation of crops; None for vectors.
        features: Function from a scene to the file of its vectors, empty for none.
        keep: Whether every scene stays in memory.
    """

    def __init__(self, crops: CropSettings | None, features: Callable[[Scene], str], keep: bool) -> None:
        self.crops, self._features, self._keep = crops, features, keep
        self._held: OrderedDict[str, Tensor] = OrderedDict()

    def objects(self, scene: Scene) -> Tensor:
        """(N, 3, h, w) uint8 crops, or (N, F) float32 vectors.

        Raises:
            DataError: A file is missing or damaged, or holds another number of vectors than the scene has objects.
        """
        return self._remembered(f"scene {scene.name}", lambda: self._scene(scene))

    def target(self, trial: Trial, shape: Sequence[int]) -> Tensor:
        """The target of a search, given apart from the scene: (3, h, w) uint8 or (F,) float32; zeros in free viewing.

        Vectors of targets may be narrower than those of objects, which then have columns that only objects have; they
        are filled up with zeros.

        Args:
            trial: Trial that has the target.
            shape: Shape of an object of the scene.

        Raises:
            DataError: A file is missing or damaged, or a vector is wider than those of objects.
        """
        path = trial.target_features if self.crops is None else trial.target_image
        if not path:
            return torch.zeros(*shape, dtype=torch.float32 if self.crops is None else torch.uint8)
        if self.crops is not None:
            return self._remembered(path, lambda: self._resized(open_picture(path)))
        vector = self._remembered(path, lambda: torch.from_numpy(read_vectors(path, 1)))
        if len(vector) > shape[0]:
            raise DataError(f"vector {path!r} of a target has width {len(vector)}, those of objects only {shape[0]}")
        return torch.nn.functional.pad(vector, (0, shape[0] - len(vector)))

    def _remembered(self, key: str, make: Callable[[], Tensor]) -> Tensor:
        if key not in self._held:
            self._held[key] = make()
            if not self._keep and len(self._held) > RECENT:
                self._held.popitem(last=False)
        self._held.move_to_end(key)
        return self._held[key]

    def _scene(self, scene: Scene) -> Tensor:
        if self.crops is None:
            path = self._features(scene)
            vectors = read_vectors(path, 2)
            if len(vectors) != len(scene.boxes):
                raise DataError(f"{path!r} holds {len(vectors)} vectors, but the scene has {len(scene.boxes)} objects")
            return torch.from_numpy(vectors)
        if not scene.image:
            # One pixel seen everywhere: thousands of equal crops take no memory.
            grey = torch.full((1, 1, 1, 1), GREY, dtype=torch.uint8)
            return grey.expand(len(scene.boxes), 3, *self.crops.size)
        picture = open_picture(scene.image)
        check_size(scene, picture.size)
        left, top, scale = scene.placement
        corners = (scene.boxes.astype(np.float64) - np.array([left, top, left, top])) / scale
        return torch.stack([self._resized(cut(picture, corners[n])) for n in range(len(corners))])

    def _resized(self, picture: Image.Image) -> Tensor:
        assert self.crops is not None
        height, width = self.crops.size
        resized = picture.resize((width, height), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(resized, dtype=np.uint8)).permute(2, 0, 1).contiguous()


def read_vectors(path: str, dimensions: int) -> np.ndarray:
    """The float32 array of a .npy file.

    Raises:
        DataError: It is missing, damaged, not finite, or of another number of dimensions.
    """
    if not path:
        raise DataError("there are no vectors of objects: give --data.features, or --data.objects crops")
    try:
        values = np.asarray(np.load(path, allow_pickle=False), dtype=np.float32)
    except FileNotFoundError:
        raise DataError(f"vectors {path!r} are missing: make them, or pass --data.objects crops") from None
    except Exception as error:  # damaged bytes make NumPy's reader fail in any way
        reason = " ".join(str(error).split())[:160]
        raise DataError(f"vectors {path!r} cannot be read ({type(error).__name__}: {reason})") from None
    if values.ndim != dimensions or not np.isfinite(values).all():
        raise DataError(f"vectors {path!r} have shape {values.shape}: {dimensions} dimensions and finite are needed")
    return values


def vectors_of(folder: Path | None) -> Callable[[Scene], str]:
    """Finder of a scene's vectors: in the file it names, or in ``<folder>/<picture without suffix>.npy``."""

    def find(scene: Scene) -> str:
        return scene.features if folder is None else str(folder / f"{Path(scene.name).stem}.npy")

    return find


def cut(picture: Image.Image, corners: np.ndarray) -> Image.Image:
    """A box of a picture, at least one pixel and inside it."""
    left = min(max(int(corners[0]), 0), picture.width - 1)
    top = min(max(int(corners[1]), 0), picture.height - 1)
    right = max(min(round(float(corners[2])), picture.width), left + 1)
    bottom = max(min(round(float(corners[3])), picture.height), top + 1)
    return picture.crop((left, top, right, bottom))
