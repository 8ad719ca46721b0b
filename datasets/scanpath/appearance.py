"""Appearance of the objects and targets of a scanpath data set: crops of the picture or given vectors."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vision_suite.datasets.scanpath.records import ScanpathSet
from vision_suite.datasets.scanpath.scenes import CropSettings, SceneInputs, read_vectors, vectors_of
from vision_suite.datasets.scanpath.sources import GRIDS
from vision_suite.errors import ConfigError, DataError
from vision_suite.types import Condition, Scene, Trial

Objects = Literal["crops", "features"]
TargetFrom = Literal["object", "given"]


@dataclass(frozen=True)
class AppearanceSettings:
    """Settings of the appearance; the arguments of `vision_suite.datasets.scanpath.data.ScanpathData` explain them.

    Attributes:
        objects: Crops or vectors; None takes vectors where there are any.
        features: Folder with the vectors, relative to the data set's; None takes the files that the data name.
        target_from: Source of the target token; None decides by what the trials have.
        crops: Size and normalisation of crops.
        keep: Whether every crop and vector stays in memory.
    """

    objects: Objects | None = None
    features: str | None = None
    target_from: TargetFrom | None = None
    crops: CropSettings = field(default_factory=CropSettings)
    keep: bool = True


@dataclass(frozen=True)
class ObjectAppearance:
    """Form in which a network sees objects and targets.

    Attributes:
        objects: Crops or vectors.
        width: Length of the vectors, None for crops.
        target_from: Source of the target token: a copy of an object, or a picture or vector given apart.
        crops: Size and normalisation of crops.
        inputs: Crops or vectors of the data set, None for pictures given to predict.
    """

    objects: Objects
    width: int | None
    target_from: TargetFrom
    crops: CropSettings
    inputs: SceneInputs | None

    @classmethod
    def of(cls, found: ScanpathSet, folder: Path, settings: AppearanceSettings) -> ObjectAppearance:
        """Decide, from what is asked for and what there is.

        Args:
            found: Scenes and trials of the data set.
            folder: Folder of the data set.
            settings: Settings asked for.

        Raises:
            ConfigError: Vectors are named where crops are asked for.
            DataError: Vectors are unreadable, or searches lack a target of their own.
        """
        features = settings.features
        find = vectors_of(None if features is None else folder / features)
        scenes = [found.scenes[name] for name in sorted({trial.scene for trial in found.trials})]
        vectors = bool(features) or all(scene.features for scene in scenes)
        objects: Objects = settings.objects or ("features" if vectors else "crops")
        if objects == "crops" and features is not None:
            raise ConfigError(f"features={features!r} with objects=crops: give one of them")
        width = read_vectors(find(scenes[0]), 2).shape[1] if objects == "features" else None
        searches = [trial for trial in found.trials if trial.condition is not Condition.FREE]
        apart = [bool(trial.target_features if objects == "features" else trial.target_image) for trial in searches]
        usual: TargetFrom = "given" if apart and all(apart) and found.layout not in GRIDS else "object"
        target = settings.target_from or usual
        if target == "given" and not all(apart):
            raise DataError(
                f"target_from=given, but {apart.count(False)} of {len(apart)} searches have no target "
                f"{'vector' if objects == 'features' else 'picture'} of their own: pass --data.target_from object"
            )
        crops = settings.crops
        inputs = SceneInputs(crops if objects == "crops" else None, find, settings.keep)
        return cls(objects, width, target, crops, inputs)

    def read(self, scenes: list[Scene], trials: list[Trial]) -> None:
        """Read everything once, so that damaged files show before training.

        Raises:
            DataError: A file is missing or damaged, or vectors differ in width.
        """
        assert self.inputs is not None
        for scene in scenes:
            width = self.inputs.objects(scene).shape[-1]
            if self.width is not None and width != self.width:
                raise DataError(f"scene {scene.name!r} has vectors of width {width}, others {self.width}")
        if self.target_from == "given":
            for trial in trials:
                self.inputs.target(trial, [3, *self.crops.size] if self.width is None else [self.width])

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Steps from objects to the network's input, in plain values."""
        if self.objects == "features":
            return {"objects": "features", "in_channels": self.width, "target_from": self.target_from}
        crops = self.crops
        return {
            "objects": "crops",
            "crop_size": list(crops.size),
            "mean": list(crops.mean),
            "std": list(crops.std),
            "target_from": self.target_from,
        }
