"""The synthetic search on a grid: scenes drawn from a rule that a small network can learn, for tests and the demo.

R x C cells hold objects of K classes; an object's vector is its class's prototype and noise. The path visits the
objects of the target's class row by row until it reaches the target, and ends there.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vision_suite.datasets.base import BaseData, Stage
from vision_suite.datasets.loading import BatchKey
from vision_suite.datasets.samplers import ShuffledBatchSampler
from vision_suite.datasets.saved import MISSING, SavedPreprocessing
from vision_suite.datasets.scanpath.batches import pad_trials
from vision_suite.datasets.scanpath.geometry import grid_boxes
from vision_suite.datasets.scanpath.records import counts
from vision_suite.errors import ConfigError
from vision_suite.records import as_record
from vision_suite.types import Condition, Scene, Trial
from vision_suite.types.arrays import Floats32

CELL = 100.0  # pixels
STREAMS = {"fit": 0, "validate": 1, "test": 2, "predict": 2}


@dataclass(frozen=True)
class GridRule:
    """Sizes of the scenes and vectors.

    Attributes:
        rows: Rows of the grid.
        columns: Columns of the grid.
        classes: Number K of appearance classes.
        width: Length of a vector.
        noise: Standard deviation around the prototypes, which are drawn from N(0, 1).
        longest: Number of fixations after which a path is cut; it then does not end by itself.
    """

    rows: int = 3
    columns: int = 4
    classes: int = 3
    width: int = 16
    noise: float = 0.3
    longest: int = 8

    def __post_init__(self) -> None:
        """Refuse grids without cells."""
        if min(self.rows, self.columns, self.classes, self.width, self.longest) < 1 or self.noise < 0:
            raise ConfigError(f"{self}: use counts of 1 or more and noise of 0 or more")


def draw_scene(rule: GridRule, prototypes: Floats32, seed: list[int], name: str) -> tuple[Scene, Trial, Floats32]:
    """One scene, its path, and its objects' vectors (N, width) float32.

    Args:
        rule: Sizes of the scenes and vectors.
        prototypes: (K, width) float32 vectors of the classes.
        seed: Seed of the scene.
        name: Name of the scene.
    """
    rng = np.random.default_rng(seed)
    count = rule.rows * rule.columns
    kinds = rng.integers(rule.classes, size=count)
    target = int(rng.integers(count))
    vectors = prototypes[kinds] + rule.noise * rng.standard_normal((count, rule.width))
    whole = np.flatnonzero((kinds == kinds[target]) & (np.arange(count) <= target))
    path = whole[: rule.longest].astype(np.int64)
    boxes = grid_boxes(rule.rows, rule.columns, cell=(CELL, CELL))
    scene = Scene(
        name=name,
        size=(rule.columns * CELL, rule.rows * CELL),
        boxes=boxes,
        labels=tuple(f"class {kind}" for kind in kinds),
        grid=(rule.rows, rule.columns),
    )
    trial = Trial(
        scene=name,
        subject="rule",
        task=f"class {kinds[target]}",
        condition=Condition.PRESENT,
        targets=(target,),
        target=target,
        sequence=path,
        xy=((boxes[path, :2] + boxes[path, 2:]) / 2).astype(np.float32),
        duration=np.full(len(path), np.nan, dtype=np.float32),
        terminated=len(path) == len(whole),
    )
    return scene, trial, vectors.astype(np.float32)


class GridScanpathData(BaseData):
    """Fresh scenes in each training epoch, the same whenever it is run; fixed ones for validation and test.

    Attributes:
        num_objects: Number of cells.
        num_classes: The same number, for a model that tells objects apart.
        in_channels: Width of the objects' vectors.
        num_positions: Number of cells on the grid's longer side.
        max_length: Longest path.
    """

    facts = ("num_classes", "in_channels", "num_positions", "max_length")
    free_facts = frozenset({"num_classes", "num_positions", "max_length"})
    items = "trials"
    task = "scanpath"

    def __init__(
        self,
        rule: GridRule | None = None,
        batch_size: int = 32,
        eval_batch_size: int = 200,
        train_scenes: int = 6400,
        validation_scenes: int = 200,
        test_scenes: int = 200,
        shuffle_targets: bool = False,
        num_workers: int = 0,
        seed: int | None = None,
    ) -> None:
        """Draw the fixed scenes; training scenes are drawn when they are asked for.

        Args:
            rule: Sizes of the scenes and vectors.
            batch_size: Number of training scenes per step and process.
            eval_batch_size: Number of scenes per step and process in evaluation.
            train_scenes: Number of scenes of an epoch.
            validation_scenes: Number of scenes to validate on.
            test_scenes: Number of scenes to test on.
            shuffle_targets: Give every scene the target of another one, in target and in targets, so that nothing
                tells what is searched for, nor marks the fixation that ends the search. This is the control; trials
                keep the true targets.
            num_workers: Worker processes of each loader.
            seed: Seed of prototypes, scenes and order; by default the run's seed.

        Raises:
            ConfigError: A number is out of range.
        """
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, num_workers=num_workers, seed=seed)
        if min(train_scenes, test_scenes) < 1 or validation_scenes < 0:
            raise ConfigError(f"train_scenes={train_scenes}, test_scenes={test_scenes}: use 1 or more")
        self.rule = GridRule() if rule is None else as_record(GridRule, rule, "rule")
        self.in_channels = self.rule.width
        self.num_objects = self.num_classes = self.rule.rows * self.rule.columns
        self.num_positions = max(self.rule.rows, self.rule.columns)
        self.max_length = self.rule.longest
        self._sizes = {"fit": train_scenes, "validate": validation_scenes, "test": test_scenes, "predict": test_scenes}
        shape = (self.rule.classes, self.rule.width)
        prototypes = np.random.default_rng([self.seed, 3]).standard_normal(shape).astype(np.float32)
        self._draws = {
            stage: GridBatches(self.rule, prototypes, self.seed, stream, self._sizes[stage], stage == "fit",
                               shuffle_targets)
            for stage, stream in STREAMS.items()
        }  # fmt: skip
        self.protocol = {
            "dataset": "grid",
            "rule": asdict(self.rule),
            "scenes": dict(self._sizes),
            "targets_shuffled": shuffle_targets,
            "seed": self.seed,
            "split": {"rule": "fresh scenes in each training epoch, fixed ones for validation and test"},
            "counts": {"validate": counts(self.trials("validate")), "test": counts(self.trials("test"))},
            "test_used_for_validation": False,
        }

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Facts of the network's input, in plain values."""
        return {
            "objects": "features",
            "in_channels": self.in_channels,
            "target_from": "object",
            "rule": asdict(self.rule),
            "seed": self.seed,  # of the prototypes, without which vectors mean nothing
        }

    @classmethod
    def _settings(cls, saved: SavedPreprocessing) -> dict[str, Any]:
        saved.fixed("objects", "features")
        saved.fixed("target_from", "object")
        rule = saved.record("rule", GridRule)
        if rule is not MISSING:
            saved.fixed("in_channels", rule.get("width"))
        saved.whole("in_channels", 1)
        return {"rule": rule, "seed": saved.whole("seed")}

    def _fact_content(self, name: str) -> Any:
        if name != "in_channels":
            return super()._fact_content(name)
        rule = self.rule
        return {"width": rule.width, "classes": rule.classes, "noise": rule.noise, "seed": self.seed}

    def size(self, stage: Stage) -> int:
        """Number of scenes, each with one trial."""
        return self._sizes[stage]

    def trials(self, stage: Stage) -> list[Trial]:
        """The trials of a stage in order; in training those of the first epoch."""
        return [self._draws[stage].scene(0, index)[1] for index in range(self.size(stage))]

    def recordings(self, stage: Stage) -> list[Trial]:
        """The same: nothing is cut."""
        return self.trials(stage)

    def scenes(self, stage: Stage) -> dict[str, Scene]:
        """The scenes of a stage by name; in training those of the first epoch."""
        drawn = (self._draws[stage].scene(0, index)[0] for index in range(self.size(stage)))
        return {scene.name: scene for scene in drawn}

    def _train_sampler(self, rank: int, world_size: int) -> ShuffledBatchSampler:
        return ShuffledBatchSampler(self.size("fit"), self.batch_size, seed=self.seed, rank=rank, world_size=world_size)

    def _batches(self, stage: Stage, rank: int) -> GridBatches:
        return self._draws[stage]


class GridBatches(Dataset[dict[str, Tensor]]):
    """Turns a `BatchKey` into a `vision_suite.types.ScanpathBatch` by drawing its scenes.

    Args:
        rule: Sizes of the scenes and vectors.
        prototypes: (K, width) float32 vectors of the classes.
        seed: Seed of the scenes, with the stream, the epoch and the index in it.
        stream: Number that tells training, validation and test apart.
        size: Number of scenes.
        fresh: Whether each epoch has other scenes.
        shuffle: Whether each target token is that of the next scene.
    """

    def __init__(
        self, rule: GridRule, prototypes: Floats32, seed: int, stream: int, size: int, fresh: bool, shuffle: bool
    ) -> None:
        self._rule, self._prototypes, self._seed, self._stream = rule, prototypes, seed, stream
        self._size, self._fresh, self._shuffle = size, fresh, shuffle

    def __len__(self) -> int:
        return self._size

    def scene(self, epoch: int, index: int) -> tuple[Scene, Trial, Floats32]:
        """The scene at an index of an epoch, its path and its objects' vectors."""
        name = f"{self._stream}-{epoch}-{index}"
        return draw_scene(self._rule, self._prototypes, [self._seed, self._stream, epoch, index], name)

    def __getitem__(self, key: BatchKey) -> dict[str, Tensor]:
        epoch = key.epoch if self._fresh else 0
        drawn = [self.scene(epoch, index) for index in key.indices]
        batch = pad_trials([trial for _, trial, _ in drawn], [scene for scene, _, _ in drawn], key.indices)
        batch["features"] = torch.from_numpy(np.stack([vectors for _, _, vectors in drawn]))
        if self._shuffle:
            others = [self.scene(epoch, (index + 1) % self._size) for index in key.indices]
            batch["target"] = torch.tensor([trial.target for _, trial, _ in others])
            batch["targets"] = torch.arange(batch["present"].shape[1]) == batch["target"][:, None]
            tokens = [vectors[trial.target] for _, trial, vectors in others]
            batch["target_features"] = torch.from_numpy(np.stack(tokens))
        return batch
