"""Presence of named objects as a Lightning module: a small detector, trained in minutes on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from vision_suite.errors import CheckpointError
from vision_suite.lit_modules.base import EvalStage, LitBase, PerStage
from vision_suite.metrics.presence import presence_report
from vision_suite.metrics.rows import SequenceRows
from vision_suite.models.presence import PresenceNet
from vision_suite.optim import OptimConfig
from vision_suite.types import ImageBatch, Report
from vision_suite.types.curves import CurvePanel
from vision_suite.types.data import Data
from vision_suite.types.presence import PresenceBatch, PresenceReport

OPTIM = OptimConfig(lr=3e-3, warmup=0.05)


class LitPresence(LitBase):
    """Training of a network that tells which names a picture shows.

    Validation chooses the score from which a name counts as present, and the checkpoint keeps it.

    Args:
        num_classes: Number of names; comes from the data on the command line.
        width: Channels of the network's features.
        optim: Optimiser and schedule.
    """

    data: Data

    def __init__(self, num_classes: int, width: int = 96, *, optim: OptimConfig = OPTIM) -> None:
        super().__init__(optim)
        self.save_settings()
        self.model = PresenceNet(num_classes, width)
        self.rows = PerStage({stage: SequenceRows() for stage in ("val", "test")})

    @property
    def panels(self) -> Sequence[CurvePanel]:
        """Average precision, rates at the threshold, and the loss."""
        return (
            CurvePanel("Presence", {"val/mAP": "mAP", "val/AP": "AP of all pairs"}, share=True),
            CurvePanel("At the threshold", {"val/tpr": "true positives", "val/fpr": "false positives"}, share=True),
            CurvePanel("Training loss", {"train/loss": "binary cross-entropy of a picture"}, "loss"),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K) of names in pictures (B, 3, H, W)."""
        logits: Tensor = self.model(image)
        return logits

    def training_step(self, batch: PresenceBatch, batch_idx: int) -> Tensor:
        """Binary cross-entropy, summed over names and averaged over pictures."""
        logits = self(batch["image"])
        loss = F.binary_cross_entropy_with_logits(logits, batch["present"], reduction="sum") / len(logits)
        self.log_losses({}, loss, len(logits))
        return loss

    def validation_step(self, batch: PresenceBatch, batch_idx: int) -> None:
        """Collect probabilities."""
        self._collect("val", batch)

    def test_step(self, batch: PresenceBatch, batch_idx: int) -> None:
        """Collect probabilities."""
        self._collect("test", batch)

    def predict_step(self, batch: ImageBatch, batch_idx: int) -> dict[str, Tensor]:
        """Mean feature, and the probability of each name."""
        features = self.model.features(batch["image"])
        return {
            "index": batch["index"],
            "role": batch["role"],
            "feature": features.mean(dim=(2, 3)).float(),
            "probability": self.model.pooled(features).float().sigmoid(),
        }

    def make_report(self, stage: EvalStage) -> PresenceReport:
        """Scores of a stage's pictures; a test uses the threshold of the validation, if the checkpoint has one."""
        _, values = self.rows[stage].compute()
        present, score = (half.numpy() for half in values.chunk(2, dim=1))
        protocol = {**self.data.protocol, "stage": stage}
        threshold = None if stage == "val" else _threshold(self.operating_point)
        return presence_report(score, present > 0, self.data.class_names, protocol, threshold)

    def choose_operating_point(self, report: Report) -> dict[str, Any]:
        """The threshold at which true positives exceed false ones by most."""
        return cast("PresenceReport", report).operating_point

    def _collect(self, stage: EvalStage, batch: PresenceBatch) -> None:
        probability = self(batch["image"]).float().sigmoid()
        self.rows[stage].update(batch["index"], torch.cat([batch["present"], probability], dim=1).double())


def _threshold(point: dict[str, Any]) -> float | None:
    """The threshold of a checkpoint's operating point; None where it has none.

    Raises:
        CheckpointError: It is no share.
    """
    value = point.get("threshold")
    if value is None:
        return None
    if not isinstance(value, float) or not 0 <= value <= 1:
        raise CheckpointError(f"operating_point: threshold={value!r} is no number from 0 to 1: validate it again")
    return value
