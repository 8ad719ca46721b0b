"""A recogniser of time steps as a Lightning module: the extractor of class semantics, and a baseline detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vision_suite.errors import ConfigError
from vision_suite.lit_modules.base import SPLITS, EvalStage, LitBase, PerStage
from vision_suite.lit_modules.thresholds import check_tiou
from vision_suite.lit_modules.words import precision_labels
from vision_suite.metrics.rows import SequenceRows
from vision_suite.metrics.tad.report import detection_report
from vision_suite.metrics.tad.scoring import ACTIVITYNET
from vision_suite.models.csa.recognizer import SequenceRecognizer, averaged, runs, step_labels
from vision_suite.optim import OptimConfig
from vision_suite.types import DetectionReport, TADBatch
from vision_suite.types.arrays import Floats
from vision_suite.types.curves import CurvePanel
from vision_suite.types.tad import TADSource

OPTIM = OptimConfig(lr=3e-3)
# Columns of the collected rows, one row a time step: video, seconds of step 0, seconds of a step, label, probabilities.
VIDEO, ORIGIN, STEP, LABEL, CLASSES = range(5)


class LitRecognizer(LitBase):
    """Classes of time steps; runs of the same class are its detections.

    Args:
        num_classes: Number of action classes; comes from the data on the command line.
        in_channels: Width of the input; comes from the data on the command line.
        num_cells: Time steps of a sequence; comes from the data on the command line.
        optim: Optimiser and schedule.
        tiou: Thresholds at which mean average precision is reported, ascending, above 0 and up to 1.
        network: Arguments of `vision_suite.models.csa.recognizer.SequenceRecognizer`.
    """

    data: TADSource

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        num_cells: int = 100,
        *,
        optim: OptimConfig = OPTIM,
        tiou: tuple[float, ...] = ACTIVITYNET,
        **network: Any,
    ) -> None:
        super().__init__(optim)
        self.save_settings()
        self.model = SequenceRecognizer(in_channels, num_classes, **network)
        self.tiou, self.background = check_tiou(tiou), num_classes
        self.rows = PerStage({stage: SequenceRows() for stage in ("val", "test")})

    @property
    def panels(self) -> Sequence[CurvePanel]:
        """Accuracy of time steps, precision of the runs made of them, and the loss."""
        return (
            CurvePanel("Time steps", {"val/step_accuracy": "accuracy"}, share=True),
            CurvePanel("Detections", precision_labels(self.tiou), share=True),
            CurvePanel("Training loss", {"train/loss": "cross-entropy of time steps", "train/loss_step": ""}, "loss"),
        )

    def forward(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        """Logits (B, K + 1, T) of sequences (B, C, T), valid where ``valid`` (B, T) is True."""
        out: Tensor = self.model(features, valid)
        return out

    def training_step(self, batch: TADBatch, batch_idx: int) -> Tensor:
        """Cross-entropy of every valid time step."""
        logits, labels = self(batch["features"], batch["valid"]), self._labels(batch)
        loss = F.cross_entropy(logits, labels, ignore_index=-1)
        self.log_losses({"step": loss}, loss, len(labels))
        return loss

    def validation_step(self, batch: TADBatch, batch_idx: int) -> None:
        """Collect probabilities."""
        self._collect("val", batch)

    def test_step(self, batch: TADBatch, batch_idx: int) -> None:
        """Collect probabilities."""
        self._collect("test", batch)

    def on_predict_start(self) -> None:
        """Refuse: detections for users are a detector's work."""
        raise ConfigError(
            "LitRecognizer does not predict: test it, or make features of it (vision-suite features --sequences ... "
            "--checkpoint ...), train LitCSA on those and predict with that"
        )

    def make_report(self, stage: EvalStage) -> DetectionReport:
        """Mean average precision of runs of the same class; logs the accuracy of single steps."""
        data, split = self.data, SPLITS[stage]
        videos = data.videos(split)
        sequence, values = (column.numpy() for column in self.rows[stage].compute())
        windows: dict[int, list[Floats]] = {}
        for part in np.split(values, np.flatnonzero(np.diff(sequence)) + 1):
            windows.setdefault(int(part[0, VIDEO]), []).append(part)
        found, scores = {}, {}
        for index, parts in windows.items():
            video, step = videos[index], float(parts[0][0, STEP])
            origin, probability = averaged([(float(part[0, ORIGIN]), part[:, CLASSES:].T) for part in parts], step)
            found[video.name] = runs(probability, data.class_names, origin, step, video.duration)
            scores[video.name] = probability[:-1].mean(axis=1)
        accuracy = float((values[:, CLASSES:].argmax(axis=1) == values[:, LABEL]).mean())
        self.log(f"{stage}/step_accuracy", accuracy, rank_zero_only=False)
        return detection_report(
            data.ground_truth(split), found, found, self.tiou, class_scores=scores, class_names=data.class_names,
            protocol={**data.protocol, "stage": stage}, curves={},
        )  # fmt: skip

    def _labels(self, batch: TADBatch) -> Tensor:
        length = batch["features"].shape[2]
        return step_labels(batch["segments"], batch["label"], length, self.background).where(batch["valid"], -1)

    def _collect(self, stage: EvalStage, batch: TADBatch) -> None:
        probability = torch.softmax(self(batch["features"], batch["valid"]).float(), dim=1)
        facts = torch.stack([batch["video"].double(), batch["origin"].double(), batch["cell_seconds"].double()], dim=1)
        steps = [facts[:, None].expand(-1, probability.shape[2], -1), self._labels(batch)[..., None].double()]
        values = torch.cat([*steps, probability.transpose(1, 2).double()], dim=2)[batch["valid"]]
        self.rows[stage].update(batch["index"][:, None].expand(batch["valid"].shape)[batch["valid"]], values)
