"""What objects and targets of a scanpath data set look like to a network: crops of the picture or given vectors."""

from __future__ import annotations

from dataclasses import dataclass
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
class Looks:
    """How the network sees objects and targets.

    Attributes:
        objects: Crops or vectors. width: Of the vectors. target_from: A copy of an object, or given apart.
        crops: How crops are cut. inputs: Where they come from, None for pictures of your own.
    """

    objects: Objects
    width: int | None
    target_from: TargetFrom
    crops: CropSettings
    inputs: SceneInputs | None

    @classmethod
    def of(
        cls,
        found: ScanpathSet,
        folder: Path,
        objects: Objects | None,
        features: str | None,
        target_from: TargetFrom | None,
        crops: CropSettings,
        keep: bool,
    ) -> Looks:
        """Decide, from what is asked for and what there is.

        Raises:
            ConfigError: Vectors are named where crops are asked for.
            DataError: Vectors are unreadable, or searches lack a target of their own.
        """
        find = vectors_of(None if features is None else folder / features)
        scenes = [found.scenes[name] for name in sorted({trial.scene for trial in found.trials})]
        chosen = objects or ("features" if features or all(scene.features for scene in scenes) else "crops")
        if chosen == "crops" and features is not None:
            raise ConfigError(f"features={features!r} with objects=crops: give one of them")
        width = read_vectors(find(scenes[0]), 2).shape[1] if chosen == "features" else None
        searches = [trial for trial in found.trials if trial.condition is not Condition.FREE]
        apart = [bool(trial.target_features if chosen == "features" else trial.target_image) for trial in searches]
        usual: TargetFrom = "given" if apart and all(apart) and found.layout not in GRIDS else "object"
        target = target_from or usual
        if target == "given" and not all(apart):
            raise DataError(
                f"target_from=given, but {apart.count(False)} of {len(apart)} searches have no target "
                f"{'vector' if chosen == 'features' else 'picture'} of their own: pass --data.target_from object"
            )
        return cls(chosen, width, target, crops, SceneInputs(crops if chosen == "crops" else None, find, keep))

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
        """How objects become the network's input, in plain values."""
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
