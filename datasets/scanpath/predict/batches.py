"""Batches of the pictures given to predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from vision_suite.datasets.loading import BatchKey
from vision_suite.datasets.scanpath.batches import ScanpathBatches
from vision_suite.datasets.scanpath.predict.settings import PictureSettings
from vision_suite.datasets.scanpath.predict.word_vectors import word_vector
from vision_suite.datasets.scanpath.scenes import CropSettings, SceneInputs
from vision_suite.errors import ConfigError
from vision_suite.types import Scene, Trial


class PictureSceneBatches(ScanpathBatches):
    """Batches of pictures given to predict.

    A network that knows its target apart from the scene gets the vector of the word, the given picture, or the crop of
    the target's box.

    Args:
        trials: One trial a picture.
        scenes: Scenes by name.
        crops: Size and normalisation of crops.
        settings: Settings that name the target.
        target_given: Whether the network knows its target apart from the scene.

    Raises:
        ConfigError: There is a text encoder, but the network copies its target from the scene.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        scenes: Mapping[str, Scene],
        crops: CropSettings,
        settings: PictureSettings,
        *,
        target_given: bool,
    ) -> None:
        if settings.text_encoder and not target_given:
            raise ConfigError("text_encoder is given, but the network copies its target from the scene: leave it out")
        super().__init__(trials, scenes, _PictureInputs(scenes, crops), target_given=target_given)
        self._word: Tensor | None = None
        if settings.text_encoder and settings.target:
            self._word = word_vector(settings.text_encoder, settings.target)

    def __getitem__(self, key: BatchKey) -> dict[str, Tensor]:
        batch = super().__getitem__(key)
        if self._word is not None:
            batch["target_features"] = self._word.expand(len(key.indices), -1).clone()
        return batch


class _PictureInputs(SceneInputs):
    """Crops, and for targets without a picture of their own the crop of the target's box."""

    def __init__(self, scenes: Mapping[str, Scene], crops: CropSettings) -> None:
        super().__init__(crops, lambda scene: "", keep=False)
        self._scenes = scenes

    def target(self, trial: Trial, shape: Sequence[int]) -> Tensor:
        if trial.target_image or trial.target < 0:
            return super().target(trial, shape)
        return self.objects(self._scenes[trial.scene])[trial.target]
