"""The datamodule of the pictures given to predict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vision_suite.datasets.base import Stage, stages_of
from vision_suite.datasets.saved import MISSING, SavedPreprocessing
from vision_suite.datasets.scanpath.appearance import ObjectAppearance, TargetFrom
from vision_suite.datasets.scanpath.base import ScanpathBase
from vision_suite.datasets.scanpath.paths import begin_in_the_middle
from vision_suite.datasets.scanpath.predict.batches import PictureSceneBatches
from vision_suite.datasets.scanpath.predict.pictures import PictureScenes
from vision_suite.datasets.scanpath.predict.settings import PictureSettings
from vision_suite.datasets.scanpath.scenes import CropSettings
from vision_suite.errors import CheckpointError, DataError
from vision_suite.records import as_record


class ScanpathPictureData(ScanpathBase):
    """Pictures to predict scanpaths on, with their objects and what is searched for in them.

    Crops are made as for the data that the checkpoint was trained on. `vision_suite.datasets.scanpath.ScanpathData`
    uses this class for its flag ``--data.predict_inputs`` and those that belong to it.
    """

    pictures: PictureScenes

    def __init__(
        self,
        pictures: PictureSettings,
        crops: CropSettings | None = None,
        target_from: TargetFrom = "object",
        eval_batch_size: int = 20,
        num_workers: int = 0,
        seed: int | None = None,
    ) -> None:
        """Find the pictures; they are read when prediction begins.

        Args:
            pictures: Pictures, the source of their objects, and the target.
            crops: Size and normalisation of crops, where no checkpoint tells.
            target_from: Source of the target token, where no checkpoint tells.
            eval_batch_size: Number of pictures per step and process.
            num_workers: Worker processes of the loader.
            seed: Seed of the datamodule; by default the run's seed. Nothing is drawn here.

        Raises:
            DataError: There is no picture.
        """
        super().__init__(
            batch_size=eval_batch_size, eval_batch_size=eval_batch_size, num_workers=num_workers, seed=seed
        )
        self.pictures = PictureScenes(pictures)
        given = CropSettings() if crops is None else as_record(CropSettings, crops, "crops")
        self.appearance = ObjectAppearance("crops", None, target_from, given, None)
        self.num_classes = 1  # the network has none; 0 would mean that the data cannot tell
        self.num_positions = max(pictures.grid or (0,))
        self.protocol = {"dataset": "own pictures", "split": {"rule": "none"}, "counts": {}, "problems": {}}

    def setup(self, stage: str) -> None:
        """Read the pictures, find their objects, and choose their targets.

        Raises:
            DataError: Something else than prediction is asked for, or a picture cannot be used.
            ConfigError: The detector cannot be set up.
        """
        for name in stages_of(stage):
            if name != "predict":
                raise DataError(f"predict_inputs is given, so there is no data set to {name} on: leave it out")
        self.pictures.read()
        self._scenes = self.pictures.scenes
        self._trials["predict"] = self._recordings["predict"] = self.pictures.trials
        self.num_objects = max(len(scene.boxes) for scene in self._scenes.values())
        self.protocol["problems"] = self.pictures.known_problems()

    @classmethod
    def _settings(cls, saved: SavedPreprocessing) -> dict[str, Any]:
        found = super()._settings(saved)
        saved.whole("window", 2, unset=True)  # of recordings, which pictures have none of
        saved.whole("test_overlap")
        names = {"size": "crop_size", "mean": "mean", "std": "std"}
        crops = {new: found[old] for new, old in names.items() if found[old] is not MISSING}
        return {"crops": crops or MISSING, "target_from": found["target_from"]}

    def _load(self, state: dict[str, Any]) -> None:
        """Make crops and begin paths as for the data that the checkpoint was trained on."""
        super()._load(state)
        beginning = state.get("beginning", self._beginning)
        if not isinstance(beginning, dict) or not all(type(beginning.get(name)) is bool for name in self._beginning):
            raise CheckpointError("the checkpoint's beginning of paths is malformed: use another checkpoint")
        self._beginning = dict(beginning)
        trials = self.pictures.trials
        if self._beginning["given"]:
            background = self._beginning["background"]
            trials = [begin_in_the_middle(trial, self._scenes[trial.scene], background=background) for trial in trials]
        self._trials["predict"] = self._recordings["predict"] = trials

    def _take_over(self, preprocessing: Mapping[str, Any]) -> bool:
        found = self.evaluation_settings(preprocessing)
        crops = as_record(CropSettings, found.get("crops", self.appearance.crops), "crops")
        target_from = found.get("target_from", self.appearance.target_from)
        self.appearance = replace(self.appearance, target_from=target_from, crops=crops)
        return True

    def _batches(self, stage: Stage, rank: int) -> PictureSceneBatches:
        return PictureSceneBatches(
            self._trials["predict"],
            self._scenes,
            self.appearance.crops,
            self.pictures.settings,
            target_given=self.target_from == "given",
        )
