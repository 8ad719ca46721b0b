"""A method of a few lines for tests of the command line: it trains in a blink and logs what others log."""

from typing import Literal

import torch
from torch import Tensor, nn

from vision_suite.lit_modules.base import LitBase
from vision_suite.optim import OptimConfig
from vision_suite.types import ReIDBatch

OPTIM = OptimConfig(lr=0.01)


class LitToy(LitBase):
    """A linear classifier of mean colours."""

    def __init__(
        self,
        num_classes: int,
        num_cameras: int = 0,
        width: int = 8,
        readout: Literal["mean", "max"] = "mean",
        rate: float = 0.1,
        optim: OptimConfig = OPTIM,
    ) -> None:
        """Build it.

        Args:
            num_classes: Identities to tell apart.
            num_cameras: Cameras, 0 to ignore them.
            width: Width of the hidden layer.
            readout: How pixels become one vector.
            rate: A number that changes nothing.
            optim: Optimiser and schedule.
        """
        super().__init__(optim)
        self.save_hyperparameters()
        self.num_cameras = num_cameras
        self.readout = readout
        self.rate = rate
        self.hidden = nn.Linear(3, width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        pooled = image.mean((2, 3)) if self.readout == "mean" else image.amax((2, 3))
        return self.hidden(pooled).relu()

    def training_step(self, batch: ReIDBatch, batch_idx: int) -> Tensor:
        loss = nn.functional.cross_entropy(self.head(self(batch["image"])), batch["identity"])
        self.log_losses({"ce": loss}, loss, len(batch["image"]))
        return loss

    def validation_step(self, batch: ReIDBatch, batch_idx: int) -> None:
        self.log("val/norm", self(batch["image"]).norm(), batch_size=len(batch["image"]))

    def test_step(self, batch: ReIDBatch, batch_idx: int) -> None:
        self.log("test/norm", self(batch["image"]).norm(), batch_size=len(batch["image"]))

    def predict_step(self, batch: ReIDBatch, batch_idx: int) -> dict[str, Tensor]:
        feature = torch.nn.functional.normalize(self(batch["image"]))
        rollout = torch.full((len(feature), 2, 2), 0.25)
        return {"index": batch["index"], "role": batch["role"], "feature": feature, "rollout": rollout}


class LitSizedToy(LitBase):
    """A class that knows its picture size, never run."""

    def __init__(self, image_size: tuple[int, int] = (32, 16), optim: OptimConfig = OPTIM) -> None:
        super().__init__(optim)


class LitOtherToy(LitBase):
    """Another class, never run."""

    def __init__(self, depth: int = 2, optim: OptimConfig = OPTIM) -> None:
        super().__init__(optim)
