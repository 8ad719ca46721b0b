"""A method whose answers are known beforehand, for tests of what is written about answers."""

import numpy as np
import torch

from vision_suite.lit_modules.base import LitBase
from vision_suite.optim import OptimConfig

WIDTH = 6


def table(count: int, width: int = WIDTH) -> np.ndarray:
    """Unit features by index; every fifth equals the one before it, so that there are ties."""
    rows = np.random.default_rng(5).normal(size=(count, width)).astype(np.float32)
    rows[4::5] = rows[3::5][: len(rows[4::5])]
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class LitStub(LitBase):
    """Gives back rows of a table, and a report that was made by hand."""

    def __init__(self, features=None, probability=None, made=None, rollout=(2, 3)):
        super().__init__(OptimConfig())
        self.table = None if features is None else torch.from_numpy(features)
        self.probability = None if probability is None else torch.from_numpy(probability)
        self.made, self.grid = made, rollout
        self.model = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        loss = self.model(torch.ones(1, 1)).square().mean()
        self.log_losses({"sa": loss}, loss, 1)
        self.log("train/weight_sa", 0.5)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/mAP", 0.25, batch_size=1)

    def test_step(self, batch, batch_idx):
        self.log("test/mAP", 0.25, batch_size=1)

    def on_validation_epoch_end(self):
        self.report = self.made

    def on_test_epoch_end(self):
        self.report = self.made

    def predict_step(self, batch, batch_idx):
        index = batch["index"]
        result = {"index": index, "role": batch["role"], "feature": self.table[index]}
        rollout = torch.zeros(len(index), *self.grid)
        rollout[:, 0, 0] = 1.0
        result["rollout"] = rollout
        if self.probability is not None:
            result["probability"] = self.probability[index]
        return result
