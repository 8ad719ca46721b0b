"""Parts that scanpath datamodules share: scenes and trials by stage, and the appearance of objects."""

from __future__ import annotations

from typing import Any, get_args

from vision_suite.datasets.base import BaseData, Stage
from vision_suite.datasets.samplers import ShuffledBatchSampler
from vision_suite.datasets.saved import SavedPreprocessing
from vision_suite.datasets.scanpath.appearance import ObjectAppearance, Objects, TargetFrom
from vision_suite.datasets.scanpath.predict.pictures import PictureScenes
from vision_suite.datasets.scanpath.scenes import crop_settings
from vision_suite.types import Scene, Trial


class ScanpathBase(BaseData):
    """Scenes and trials by stage, read from a data set or from pictures given to predict.

    Attributes:
        num_objects: Largest number of objects in a scene.
        num_classes: The same number, for a model that tells objects apart.
        in_channels: Width of the objects' vectors, 0 for crops.
        num_positions: Rows or columns of the largest grid, whichever is more; 0 where objects stand freely.
        max_length: Longest path of the training part, behind which a prediction stops.
        appearance: Form in which a network sees objects and targets.
        pictures: Pictures given to predict, None for a data set.
    """

    facts = ("num_classes", "in_channels", "num_positions", "max_length")
    # Sizes only: the network's own count in evaluation, and rows and columns mean the same in every set.
    free_facts = frozenset({"num_classes", "num_positions", "max_length"})
    num_classes = in_channels = num_positions = max_length = 0
    items = "trials"
    task = "scanpath"
    appearance: ObjectAppearance

    def __init__(self, *, batch_size: int, eval_batch_size: int, num_workers: int, seed: int | None) -> None:
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, num_workers=num_workers, seed=seed)
        self.num_objects = 0
        self.pictures: PictureScenes | None = None
        self._scenes: dict[str, Scene] = {}
        self._recordings: dict[str, list[Trial]] = {"fit": [], "validate": [], "test": [], "predict": []}
        self._trials = dict(self._recordings)
        self._beginning = {"given": False, "background": False}

    @property
    def objects(self) -> Objects:
        """Kind of input that the network gets for an object: crops or vectors (features)."""
        return self.appearance.objects

    @property
    def target_from(self) -> TargetFrom:
        """Source of the target token: a copy of an object, or given apart."""
        return self.appearance.target_from

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Steps from objects to the network's input, in plain values."""
        return self.appearance.preprocessing

    @classmethod
    def _settings(cls, saved: SavedPreprocessing) -> dict[str, Any]:
        saved.whole("in_channels", 1)  # the width of the data's vectors, which no setting changes
        return {
            "objects": saved.choice("objects", get_args(Objects)),
            "target_from": saved.choice("target_from", get_args(TargetFrom)),
            **crop_settings(saved),
        }

    def size(self, stage: Stage) -> int:
        """Number of trials (pieces, where recordings are cut) in a stage's list."""
        return len(self._trials[stage])

    def trials(self, stage: Stage) -> list[Trial]:
        """The trials of a stage, in the order that batches number them; pieces where recordings are cut."""
        return self._trials[stage]

    def recordings(self, stage: Stage) -> list[Trial]:
        """The whole recordings of a stage; a piece's ``recording`` is an index into them."""
        return self._recordings[stage]

    def scenes(self, stage: Stage) -> dict[str, Scene]:
        """The scenes of a stage by name."""
        return {name: self._scenes[name] for name in sorted({trial.scene for trial in self._recordings[stage]})}

    def _follow(self, other: ScanpathBase) -> None:
        """Take over the lists and facts of a datamodule that this one stands for."""
        self.pictures, self.appearance, self.protocol = other.pictures, other.appearance, other.protocol
        self._scenes, self._recordings, self._trials = other._scenes, other._recordings, other._trials
        self._beginning = other._beginning
        self.num_objects, self.num_classes, self.num_positions = (
            other.num_objects, other.num_classes, other.num_positions
        )  # fmt: skip

    def _train_sampler(self, rank: int, world_size: int) -> ShuffledBatchSampler:
        return ShuffledBatchSampler(self.size("fit"), self.batch_size, seed=self.seed, rank=rank, world_size=world_size)
