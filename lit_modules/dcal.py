"""DCAL as a Lightning module, for re-identification and fine-grained classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor

from vision_suite.lit_modules.base import EvalStage, LitBase, PerStage
from vision_suite.lit_modules.settings import BranchLossConfig, RetrievalConfig, TripletConfig
from vision_suite.losses.multi_branch import MultiBranchLoss
from vision_suite.metrics.classification import ClassificationMetric
from vision_suite.metrics.reid_metric import ReIDMetric
from vision_suite.models.dcal import DCAL, DCALOutput
from vision_suite.models.dcal.network import Task
from vision_suite.models.dcal.outputs import Branch
from vision_suite.optim import OptimConfig
from vision_suite.records import as_record
from vision_suite.renamed import takes_old_names
from vision_suite.types import ClassificationReport, FGVCBatch, ImageBatch, ReIDBatch, RetrievalReport
from vision_suite.types.curves import CurvePanel


class LitDCAL(LitBase):
    """Dual cross-attention learning (Zhu et al., CVPR 2022).

    Args:
        num_classes: Number of training classes or identities; comes from the data on the command line.
        task: ``reid`` or ``fgvc``.
        optim: Optimiser and schedule.
        loss: Cross-entropy and weights of the branches.
        triplet: Triplet loss of re-identification.
        retrieval: Scoring of re-identification.
        compile: Compile the network with torch.compile.
        network: Arguments of `vision_suite.models.dcal.DCAL`.
    """

    start_only = ("pretrained", "glca.copy", "loss.initial_log_variance")

    @takes_old_names
    def __init__(
        self,
        num_classes: int,
        *,
        task: Task = "reid",
        optim: OptimConfig = OptimConfig(),  # noqa: B008  (a plain record, never changed)
        loss: BranchLossConfig = BranchLossConfig(),  # noqa: B008
        triplet: TripletConfig = TripletConfig(),  # noqa: B008
        retrieval: RetrievalConfig = RetrievalConfig(),  # noqa: B008
        compile: bool = False,
        **network: Any,
    ) -> None:
        super().__init__(optim)
        self.save_settings()
        loss = as_record(BranchLossConfig, loss, "loss")
        triplet = as_record(TripletConfig, triplet, "triplet")
        retrieval = as_record(RetrievalConfig, retrieval, "retrieval")
        self.model = DCAL(num_classes, task=task, **network)
        branches = ["sa", *(["glca"] if self.model.glca is not None else [])]
        self.loss = MultiBranchLoss(
            [*branches, *(["pwca"] if self.model.use_pwca else [])],
            triplet=task == "reid",
            label_smoothing=loss.label_smoothing,
            triplet_margin=triplet.margin,
            triplet_normalize=triplet.normalize,
            triplet_weight=triplet.weight,
            weighting=loss.weighting,
            initial_log_variance=loss.initial_log_variance,
            log_variance_limit=loss.log_variance_limit,
        )
        self.task, self.triplet_feature = task, triplet.feature
        self.metrics: PerStage[ClassificationMetric | ReIDMetric] = PerStage()
        for stage in ("val", "test"):
            if task == "fgvc":
                self.metrics[stage] = ClassificationMetric(branches if len(branches) > 1 else [])
            else:
                width = self.model.feature_dim // len(branches)
                columns = {name: (i * width, (i + 1) * width) for i, name in enumerate(branches)}
                self.metrics[stage] = ReIDMetric(
                    columns if len(branches) > 1 else None, retrieval.protocol, retrieval.ap,
                    rerank=retrieval.rerank and stage == "test", k1=retrieval.rerank_k1, k2=retrieval.rerank_k2,
                    lambda_=retrieval.rerank_lambda, draws=retrieval.draws, top_k=retrieval.top_k,
                )  # fmt: skip
        if compile:
            # In place, so that names in checkpoints stay the same.
            self.model.compile()

    def takes_fact(self, name: str) -> bool:
        """Tell whether the network depends on a fact of the data; cameras and views only as side information."""
        side = {"num_cameras": "camera", "num_views": "view"}.get(name, "")
        return super().takes_fact(name) and side in self.model.side.kind

    @property
    def panels(self) -> Sequence[CurvePanel]:
        """Scores of the task, the loss of each branch, and the weight that it has learnt."""
        scores = {"top1": "top-1", "top5": "top-5"} if self.task == "fgvc" else {"mAP": "mAP", "rank1": "R1"}
        heading = "Classification" if self.task == "fgvc" else "Retrieval"
        fused = {f"val/{name}": label for name, label in scores.items()}
        main, label = next(iter(scores.items()))
        alone = {f"val/{branch}/{main}": f"{label}, {branch.upper()} only" for branch in ("sa", "glca")}
        names = {branch: branch.upper() for branch in ("sa", "glca", "pwca")}
        losses = {f"train/loss_{branch}": label for branch, label in names.items()}
        weights = {f"train/weight_{branch}": label for branch, label in names.items()}
        logarithms = {f"train/log_variance_{branch}": "" for branch in names}  # the weights in another form
        return (
            CurvePanel(heading, {**fused, **alone}, share=True),
            CurvePanel("Training loss", {"train/loss": "total", **losses}, "loss"),
            CurvePanel("Branch weights", {**weights, **logarithms}, "factor on the branch's loss"),
        )

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Features, attention map and, for classification, probabilities of pictures (B, 3, H, W)."""
        return self.model.inference(image)

    def training_step(self, batch: ReIDBatch | FGVCBatch, batch_idx: int) -> Tensor:
        """Loss of all branches."""
        label = cast(ReIDBatch, batch)["identity"] if self.task == "reid" else cast(FGVCBatch, batch)["label"]
        output = self.model(batch["image"], camera=batch.get("camera"), view=batch.get("view"), label=label)
        branches, before = _branches(output), self.triplet_feature == "before"
        total, losses = self.loss(
            {name: branch.feature if before else branch.neck for name, branch in branches.items()},
            {name: branch.logits for name, branch in branches.items()},
            label,
            {"pwca": output.pwca_rows},
        )
        self.log_losses(losses, total, len(label))
        self.log_dict({f"train/{name}": value for name, value in self.loss.weights().items()}, batch_size=len(label))
        out: Tensor = total
        return out

    def validation_step(self, batch: ReIDBatch | FGVCBatch, batch_idx: int) -> None:
        """Collect what the validation metric needs."""
        self._collect("val", batch)

    def test_step(self, batch: ReIDBatch | FGVCBatch, batch_idx: int) -> None:
        """Collect what the test metric needs."""
        self._collect("test", batch)

    def predict_step(self, batch: ImageBatch, batch_idx: int) -> dict[str, Tensor]:
        """Feature, attention map and, for classification, probabilities of each picture."""
        result = self(batch["image"])
        return {"index": batch["index"], "role": batch["role"], **{k: v.float() for k, v in result.items()}}

    def make_report(self, stage: EvalStage) -> ClassificationReport | RetrievalReport:
        """Report of the task's metric."""
        protocol = {} if self.data is None else self.data.protocol
        readout = None if self.model.glca is None else self.model.glca.readout
        return self.metrics[stage].report({**protocol, "stage": stage, "glca_readout": readout})

    def _collect(self, stage: EvalStage, batch: ReIDBatch | FGVCBatch) -> None:
        output = self.model(batch["image"], camera=batch.get("camera"), view=batch.get("view"))
        metric = self.metrics[stage]
        if isinstance(metric, ClassificationMetric):
            logits = {name: branch.logits for name, branch in _branches(output).items()}
            label = cast(FGVCBatch, batch)["label"]
            metric.update(self.model.probabilities(output), label, batch["index"], logits)
        else:
            reid, features = cast(ReIDBatch, batch), self.model.embeddings(output)
            metric.update(features, reid["identity"], reid["camera"], reid["role"], reid["index"])


def _branches(output: DCALOutput) -> dict[str, Branch]:
    named = {"sa": output.sa, "glca": output.glca, "pwca": output.pwca}
    return {name: branch for name, branch in named.items() if branch is not None}
