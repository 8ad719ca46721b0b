"""Batches of scanpaths: objects and fixations of different number, padded and masked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vision_suite.datasets.loading import BatchKey
from vision_suite.datasets.scanpath.augment import SceneAugment
from vision_suite.datasets.scanpath.scenes import SceneInputs
from vision_suite.types import PADDING, Scene, Trial


class ScanpathBatches(Dataset[dict[str, Tensor]]):
    """Turns a `BatchKey` into a `vision_suite.types.ScanpathBatch`.

    Args:
        trials: Trials that batches are made of.
        scenes: Scenes by name.
        inputs: Crops or vectors.
        target_given: Whether the target comes from its own file, not from an object of the scene.
        augment: Changes to the scenes.
        seed: Seed of these changes, with the epoch and the trials of a batch.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        scenes: Mapping[str, Scene],
        inputs: SceneInputs,
        *,
        target_given: bool,
        augment: SceneAugment | None = None,
        seed: int = 0,
    ) -> None:
        self._trials, self._scenes, self._inputs, self._given = trials, scenes, inputs, target_given
        self._augment, self._seed = augment, seed

    def __len__(self) -> int:
        return len(self._trials)

    def __getitem__(self, key: BatchKey) -> dict[str, Tensor]:
        batch = self._batch(key)
        if self._augment is None or not self._augment.active:
            return batch
        return self._augment.apply(batch, [self._seed, key.epoch, *key.indices])

    def _batch(self, key: BatchKey) -> dict[str, Tensor]:
        trials = [self._trials[index] for index in key.indices]
        scenes = [self._scenes[trial.scene] for trial in trials]
        batch = pad_trials(trials, scenes, key.indices)
        objects = pad([self._inputs.objects(scene) for scene in scenes], 0)
        crops = self._inputs.crops
        targets = torch.stack([self._inputs.target(t, objects.shape[2:]) for t in trials]) if self._given else None
        if crops is None:
            batch["features"] = objects
            if targets is not None:
                batch["target_features"] = targets
            return batch
        batch["crops"] = crops.normalise(objects) * batch["present"][:, :, None, None, None]
        if targets is not None:
            batch["target_crop"] = crops.normalise(targets)
        return batch


def pad_trials(trials: Sequence[Trial], scenes: Sequence[Scene], indices: Sequence[int]) -> dict[str, Tensor]:
    """Everything of a `vision_suite.types.ScanpathBatch` but the crops or vectors of objects.

    Args:
        trials: B trials.
        scenes: Scene of each trial.
        indices: Indices of the trials in their list.
    """
    present = pad([torch.ones(len(scene.boxes), dtype=torch.bool) for scene in scenes], False)
    targets = torch.zeros_like(present)
    for row, trial in enumerate(trials):
        targets[row, list(trial.targets)] = True
    return {
        "boxes": pad([torch.from_numpy(scene.boxes) for scene in scenes], 0.0),
        "present": present,
        "position": pad([torch.from_numpy(scene.positions()) for scene in scenes], 0.0),
        "start": torch.tensor([scene.start() for scene in scenes], dtype=torch.float32),
        "image_size": torch.tensor([scene.size for scene in scenes], dtype=torch.float32),
        "target": torch.tensor([trial.target for trial in trials], dtype=torch.int64),
        "targets": targets,
        "condition": torch.tensor([int(trial.condition) for trial in trials], dtype=torch.int64),
        "sequence": pad([torch.from_numpy(trial.sequence) for trial in trials], PADDING),
        "xy": pad([torch.from_numpy(trial.xy) for trial in trials], np.nan),
        "duration": pad([torch.from_numpy(trial.duration) for trial in trials], np.nan),
        "given": torch.tensor([trial.given for trial in trials], dtype=torch.int64),
        "terminated": torch.tensor([trial.terminated for trial in trials], dtype=torch.bool),
        "index": torch.tensor(list(indices), dtype=torch.int64),
    }


def pad(rows: Sequence[Tensor], value: float) -> Tensor:
    """Tensors (n_i, ...) of equal further dimensions as one (B, max n, ...), filled up with a value."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)
