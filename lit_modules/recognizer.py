"""A recogniser of time steps as a Lightning module: the extractor of class semantics, and a baseline detector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_suite.errors import ConfigError
from vision_suite.lit_modules.base import LitBase
from vision_suite.metrics.rows import SequenceRows
from vision_suite.metrics.tad.report import detection_report
from vision_suite.metrics.tad.scoring import ACTIVITYNET
from vision_suite.models.csa.recognizer import SequenceRecognizer, averaged, runs, step_labels
from vision_suite.optim import OptimConfig
from vision_suite.types.arrays import Floats

OPTIM = OptimConfig(lr=3e-3)


class LitRecognizer(LitBase):
    """Classes of time steps; runs of the same class are its detections.

    Args:
        num_classes: Number of action classes; comes from the data on the command line.
        in_channels: Width of the input; comes from the data on the command line.
        num_cells: Time steps of a sequence; comes from the data on the command line.
        optim: Optimiser and schedule.
        tiou: Thresholds at which mean average precision is reported.
        network: Arguments of `vision_suite.models.csa.recognizer.SequenceRecognizer`.
    """

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
        self.tiou, self.background = tuple(tiou), num_classes
        self.rows = nn.ModuleDict({stage: SequenceRows() for stage in ("val", "test")})

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, K + 1, T) of sequences (B, C, T)."""
        out: Tensor = self.model(features)
        return out

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of every valid time step."""
        logits, labels = self(batch["features"]), self._labels(batch)
        loss = F.cross_entropy(logits, labels, ignore_index=-1)
        self.log_losses({"step": loss}, loss, len(labels))
        return loss

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Collect probabilities."""
        self._collect("val", batch)

    def test_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Collect probabilities."""
        self._collect("test", batch)

    def on_predict_start(self) -> None:
        """Refuse: what is predicted for users is a detector's work."""
        raise ConfigError(
            "LitRecognizer does not predict: test it, or make features of it (vision-suite features --sequences ... "
            "--checkpoint ...), train LitCSA on those and predict with that"
        )

    def on_validation_epoch_end(self) -> None:
        """Score and log ``val/...``."""
        self._score("val")

    def on_test_epoch_end(self) -> None:
        """Score and log ``test/...``."""
        self._score("test")

    def _labels(self, batch: Mapping[str, Tensor]) -> Tensor:
        length = batch["features"].shape[2]
        return step_labels(batch["segments"], batch["label"], length, self.background).where(batch["valid"], -1)

    def _collect(self, stage: Literal["val", "test"], batch: Mapping[str, Tensor]) -> None:
        probability = torch.softmax(self(batch["features"]).float(), dim=1)
        metric: Any = self.rows[stage]
        # One row a time step: video, seconds of step 0, seconds of a step, its label, its probabilities.
        facts = torch.stack([batch[name].double() for name in ("video", "origin", "cell_seconds")], dim=1)
        steps = [facts[:, None].expand(-1, probability.shape[2], -1), self._labels(batch)[..., None].double()]
        values = torch.cat([*steps, probability.transpose(1, 2).double()], dim=2)[batch["valid"]]
        metric.update(batch["index"][:, None].expand(batch["valid"].shape)[batch["valid"]], values)

    def _score(self, stage: Literal["val", "test"]) -> None:
        metric: Any = self.rows[stage]
        if not self.trainer.sanity_checking:
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            split = "validate" if stage == "val" else "test"
            sequence, values = (x.numpy() for x in metric.compute())
            found: dict[str, Any] = {}
            scores = {}
            windows: dict[int, list[Floats]] = {}
            for part in np.split(values, np.flatnonzero(np.diff(sequence)) + 1):
                windows.setdefault(int(part[0, 0]), []).append(part)
            for place, parts in windows.items():
                video, step = data.videos(split)[place], float(parts[0][0, 2])
                origin, probability = averaged([(float(part[0, 1]), part[:, 4:].T) for part in parts], step)
                found[video.name] = runs(probability, data.class_names, origin, step, video.duration)
                scores[video.name] = probability[:-1].mean(axis=1)
            self.report = detection_report(
                data.ground_truth(split), found, found, self.tiou, class_scores=scores, class_names=data.class_names,
                protocol={**data.protocol, "stage": stage}, curves={},
            )  # fmt: skip
            accuracy = float((values[:, 4:].argmax(axis=1) == values[:, 3]).mean())
            metrics = {**self.report.metrics, "step_accuracy": accuracy}
            self.log_dict({f"{stage}/{key}": value for key, value in metrics.items()}, rank_zero_only=False)
        metric.reset()
