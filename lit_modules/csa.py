"""CSA detectors as a Lightning module, for temporal action detection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Literal

import torch
from torch import Tensor

from vision_suite.errors import ConfigError, check_choice, check_number
from vision_suite.lit_modules.base import SPLITS, EvalStage, LitBase, PerStage
from vision_suite.lit_modules.thresholds import check_tiou
from vision_suite.lit_modules.words import precision_labels
from vision_suite.losses.tad.detection import DetectionLoss, segment_classification, video_classification
from vision_suite.losses.tad.targets import detection_targets
from vision_suite.metrics.rows import SequenceRows
from vision_suite.metrics.tad.operating_point import check_point, choose_thresholds, measures_at
from vision_suite.metrics.tad.report import detection_report
from vision_suite.metrics.tad.scoring import ACTIVITYNET
from vision_suite.models.csa import CSAConfig, CSADetector, DetectorOutput
from vision_suite.models.csa.detections import detect, extended, position_curve, proposal_rows, video_rows, video_scores
from vision_suite.models.csa.masking import zeroed
from vision_suite.models.csa.network import annotated_logits, another_video, video_logits
from vision_suite.models.csa.postprocess import PostProcess
from vision_suite.optim import OptimConfig
from vision_suite.records import as_record
from vision_suite.renamed import takes_old_names
from vision_suite.types import DetectionReport, Report, TADBatch
from vision_suite.types.curves import CurvePanel
from vision_suite.types.data import EvaluationStage
from vision_suite.types.tad import FeatureBatch, TADSource

OPTIM = OptimConfig(name="adam", lr=1e-3, weight_decay=1e-4, decay_all=True, schedule="constant")
CURVES = 16  # videos whose boundary curves are kept for drawing


class LitCSA(LitBase):
    """Class-semantics attention (Sridhar et al., ICCV 2021) in BMN or G-TAD.

    Args:
        num_classes: Number of action classes; comes from the data on the command line.
        in_channels: Width of the snippet features; comes from the data on the command line.
        num_cells: Time steps of a sequence; comes from the data on the command line.
        optim: Optimiser and schedule.
        csa: Open points of CSA.
        post: Settings that make detections of the network's output.
        tiou: Thresholds at which mean average precision is reported, ascending, above 0 and up to 1.
        reg_weight: Factor on the overlap regression, at least 0.
        cls_weight: Factor on the overlap classification, at least 0.
        low_with_zero: Put proposals without any overlap into the low band of the regression.
        class_weight: Factor on the loss of the classifier, at least 0.
        semantics: Features from which CSA learns its gates: the sequence's ``own``, or those of another video of the
            batch (``shuffled``), a control that must remove its gain.
        compile: Compile the network with torch.compile.
        network: Arguments of `vision_suite.models.csa.CSADetector`.
    """

    data: TADSource
    start_only = ("xavier", "csa.init")

    @takes_old_names
    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        num_cells: int = 100,
        *,
        optim: OptimConfig = OPTIM,
        csa: CSAConfig = CSAConfig(),  # noqa: B008  (a plain record, never changed)
        post: PostProcess = PostProcess(),  # noqa: B008
        tiou: tuple[float, ...] = ACTIVITYNET,
        reg_weight: float = 10.0,
        cls_weight: float = 1.0,
        low_with_zero: bool = False,
        class_weight: float = 1.0,
        semantics: Literal["own", "shuffled"] = "own",
        compile: bool = False,
        **network: Any,
    ) -> None:
        super().__init__(optim)
        self.save_settings()
        check_choice("semantics", semantics, ("own", "shuffled"))
        check_number("class_weight", class_weight, low=0)
        csa = as_record(CSAConfig, csa, "csa")
        self.post = as_record(PostProcess, post, "post")
        self.model = CSADetector(in_channels, num_classes, num_cells, csa=csa, **network)
        self.loss = DetectionLoss(reg_weight, cls_weight, low_with_zero)
        self.tiou, self.class_weight, self.semantics = check_tiou(tiou), class_weight, semantics
        if semantics == "shuffled" and (self.model.attention.csa is None or csa.source != "semantics"):
            raise ConfigError(
                "semantics=shuffled changes nothing without CSA's gates of the semantics: give self_attention csa or "
                "csa_se, and csa.source semantics"
            )
        self.proposals = PerStage({stage: SequenceRows() for stage in ("val", "test")})
        self.class_rows = PerStage({stage: SequenceRows() for stage in ("val", "test")})
        self.curves: dict[int, Tensor] = {}
        if compile:
            # In place, so that names in checkpoints stay the same.
            self.model.compile()

    @property
    def panels(self) -> Sequence[CurvePanel]:
        """Precision of detections, recall of proposals, and losses."""
        recall = {f"val/AR@{count}": f"AR@{count}" for count in (1, 10, 100)}
        words = {"boundary": "boundary", "iou": "tIoU", "confidence": "confidence", "class": "class"}
        losses = {f"train/loss_{name}": label for name, label in words.items()}
        return (
            CurvePanel("Detections", precision_labels(self.tiou), share=True),
            CurvePanel("Proposals", {"val/AUC": "AUC", **recall}, share=True),
            CurvePanel("Classes of videos", {"val/video_top1": "top-1"}, share=True),
            CurvePanel("Training loss", {"train/loss": "total", **losses}, "loss"),
        )

    def forward(self, features: Tensor, valid: Tensor | None = None) -> DetectorOutput:
        """Logits of sequences (B, C, T)."""
        out: DetectorOutput = self.model(features, valid)
        return out

    def training_step(self, batch: TADBatch, batch_idx: int) -> Tensor:
        """Detection and classification losses."""
        output = self._detect(batch)
        present = batch["label"] >= 0
        targets = detection_targets(
            batch["segments"], present, self.model.proposals, self.model.convention, batch["valid"]
        )
        total, losses = self.loss(output.start, output.end, output.iou, output.confidence, targets)
        if self.post.class_scope == "segment":
            logits = annotated_logits(output.snippet, batch["segments"], present)
            losses["class"] = segment_classification(logits, batch["label"][present])
        else:
            losses["class"] = video_classification(video_logits(output.snippet, batch["valid"]), batch["label"])
        total = total + self.class_weight * losses["class"]
        self.log_losses(losses, total, len(batch["features"]))
        out: Tensor = total
        return out

    def validation_step(self, batch: TADBatch, batch_idx: int) -> None:
        """Collect proposals."""
        self._collect("val", batch)

    def test_step(self, batch: TADBatch, batch_idx: int) -> None:
        """Collect proposals, and the boundary curves of some videos."""
        self._collect("test", batch)

    def predict_step(self, batch: FeatureBatch, batch_idx: int) -> dict[str, Tensor]:
        """Proposals of each sequence, its class scores, and its boundary probabilities (B, 2, T)."""
        output = self._detect(batch)
        sequence, values = proposal_rows(self.model, output, batch, self.post, self._name_of("predict"))
        index, classes = video_rows(output, batch)
        curves = torch.sigmoid(torch.stack([output.start, output.end], dim=1).float())
        found = {"sequence": sequence, "values": values, "index": index, "classes": classes, "curves": curves.cpu()}
        gate = output.gates.temporal
        return found if gate is None else {**found, "gates": gate.float().cpu()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the thresholds of a checkpoint too; see `LitBase`."""
        super().on_load_checkpoint(checkpoint)
        check_point(self.operating_point)

    def choose_operating_point(self, report: Report) -> dict[str, Any]:
        """The threshold of each class for the short lists of predictions."""
        assert isinstance(report, DetectionReport)
        return choose_thresholds(report.ground_truth, report.predictions["results"])

    def make_report(self, stage: EvalStage) -> DetectionReport:
        """Mean average precision of detections, recall of proposals, and in testing the scores of the short lists."""
        data, split = self.data, SPLITS[stage]
        videos = data.videos(split)
        names, durations = [video.name for video in videos], [video.duration for video in videos]
        proposals, windows = self.proposals[stage].compute(), self.class_rows[stage].compute()
        scores = video_scores(windows[1], len(videos), self._outside)
        found, bare = detect(proposals, windows, scores, names, durations, data.class_names, self.post)
        truth = data.ground_truth(split)
        report = detection_report(
            truth,
            found,
            bare,
            self.tiou,
            class_scores=dict(zip(names, scores, strict=True)),
            class_names=data.class_names,
            protocol={**data.protocol, "stage": stage, "post": asdict(self.post), "semantics": self.semantics},
            curves={names[video]: curve.numpy() for video, curve in self.curves.items()},
        )
        if stage == "test":
            report.protocol["operating_point"] = self.operating_point
            if self.operating_point:
                report.metrics.update(measures_at(truth, found, self.operating_point))
        return report

    def reset_collected(self, stage: EvalStage) -> None:
        """Empty the metrics of a stage, and the curves."""
        super().reset_collected(stage)
        self.curves = {}

    def _detect(self, batch: FeatureBatch) -> DetectorOutput:
        valid = batch["valid"]
        features = zeroed(batch["features"], valid)  # another sequence of the batch has its own padding
        if self.semantics == "own":
            out: DetectorOutput = self(features, valid)
        else:
            out = self.model(features, valid, features[another_video(batch["video"])])
        return out

    def _name_of(self, split: EvaluationStage | Literal["predict"]) -> Callable[[int], str]:
        return lambda index: repr(self.data.videos(split)[index].name)  # type: ignore[arg-type]

    def _collect(self, stage: EvalStage, batch: TADBatch) -> None:
        output = self._detect(batch)
        self.proposals[stage].update(*proposal_rows(self.model, output, batch, self.post, self._name_of(SPLITS[stage])))
        self.class_rows[stage].update(*video_rows(output, batch))
        self._outside = "video_scores" in batch
        for row, video in enumerate(batch["video"].tolist()):
            if video < CURVES:
                self.curves[video] = extended(self.curves.get(video), position_curve(output, batch, row))
