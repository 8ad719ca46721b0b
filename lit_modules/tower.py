"""The small convolutional tower as a Lightning module: trained to tell identities apart, scored by retrieval."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from vision_suite.errors import check_number
from vision_suite.lit_modules.base import EvalStage, LitBase, PerStage
from vision_suite.metrics.reid_metric import ReIDMetric
from vision_suite.models.dcal.heads import BNNeck, CosineClassifier
from vision_suite.models.mllm.conv_tower import ConvTower
from vision_suite.optim import OptimConfig
from vision_suite.types import ImageBatch, ReIDBatch, RetrievalReport
from vision_suite.types.curves import CurvePanel


class LitTower(LitBase):
    """A small tower for language models, trained on identities.

    The first token, the mean of the map, goes through a BNNeck to a cosine classifier of the training identities. A
    language model takes the tower alone: neck and classifier belong to training.

    Args:
        num_classes: Number of training identities; comes from the data on the command line.
        width: Channels of a token.
        image_size: Height and width of the pictures in pixels.
        scale: Factor on the cosine logits.
        label_smoothing: Label smoothing of the cross-entropy.
        optim: Optimiser and schedule.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        width: int = 128,
        image_size: tuple[int, int] = (64, 64),
        scale: float = 16.0,
        label_smoothing: float = 0.0,
        optim: OptimConfig = OptimConfig(),  # noqa: B008  (a plain record, never changed)
    ) -> None:
        super().__init__(optim)
        self.save_settings()
        check_number("scale", scale, above=0)
        check_number("label_smoothing", label_smoothing, low=0, below=1)
        self.model = ConvTower(width, image_size)
        self.neck = BNNeck(width)
        self.classifier = CosineClassifier(width, num_classes, scale)
        self.label_smoothing = label_smoothing
        self.metrics: PerStage[ReIDMetric] = PerStage({"val": ReIDMetric(), "test": ReIDMetric()})

    @property
    def panels(self) -> Sequence[CurvePanel]:
        """Scores of retrieval, and the loss."""
        return (
            CurvePanel("Retrieval", {"val/mAP": "mAP", "val/rank1": "R1"}, share=True),
            CurvePanel("Training loss", {"train/loss": "cross-entropy"}, "loss"),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Features (B, width) of pictures (B, 3, H, W), by which they are compared."""
        feature: Tensor = self.neck(self.model(image)[:, 0])
        return feature

    def training_step(self, batch: ReIDBatch, batch_idx: int) -> Tensor:
        """Cross-entropy over the training identities."""
        identity = batch["identity"]
        loss = F.cross_entropy(self.classifier(self(batch["image"])), identity, label_smoothing=self.label_smoothing)
        self.log_losses({}, loss, len(identity))
        return loss

    def validation_step(self, batch: ReIDBatch, batch_idx: int) -> None:
        """Collect features."""
        self._collect("val", batch)

    def test_step(self, batch: ReIDBatch, batch_idx: int) -> None:
        """Collect features."""
        self._collect("test", batch)

    def predict_step(self, batch: ImageBatch, batch_idx: int) -> dict[str, Tensor]:
        """Feature of each picture."""
        return {"index": batch["index"], "role": batch["role"], "feature": self(batch["image"]).float()}

    def make_report(self, stage: EvalStage) -> RetrievalReport:
        """Retrieval of the stage's pictures."""
        protocol = {} if self.data is None else self.data.protocol
        return self.metrics[stage].report({**protocol, "stage": stage})

    def _collect(self, stage: EvalStage, batch: ReIDBatch) -> None:
        self.metrics[stage].update(
            self(batch["image"]), batch["identity"], batch["camera"], batch["role"], batch["index"]
        )
