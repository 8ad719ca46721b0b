"""DCAL as a Lightning module, for re-identification and fine-grained classification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, cast

from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from vision_suite.errors import ConfigError, check_number
from vision_suite.lit_modules.base import SPLITS, EvalStage, LitBase, PerStage
from vision_suite.lit_modules.hub_start import start_from_backbone, use_hub_backbone
from vision_suite.lit_modules.settings import BranchLossConfig, RetrievalConfig, TripletConfig
from vision_suite.losses.multi_branch import MultiBranchLoss
from vision_suite.metrics.classification import ClassificationMetric
from vision_suite.metrics.reid.decisions import KEY, Search, Verification, few_pairs, thresholds_for
from vision_suite.metrics.reid.expansion import Expansion
from vision_suite.metrics.reid.reranking import check_rerank_pictures
from vision_suite.metrics.reid_metric import ReIDMetric
from vision_suite.models.dcal import DCAL, DCALOutput
from vision_suite.models.dcal.network import Task
from vision_suite.models.dcal.outputs import Branch
from vision_suite.optim import OptimConfig
from vision_suite.records import as_record
from vision_suite.renamed import takes_old_names
from vision_suite.types import ClassificationReport, FGVCBatch, ImageBatch, ReIDBatch, Report, RetrievalReport
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
        fpr: False positive rate at which re-identification decides that two pictures are the same identity: the share
            of pairs of different identities that may be called the same. Validation chooses the threshold.
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
        fpr: float = 0.001,
        compile: bool = False,
        **network: Any,
    ) -> None:
        start = use_hub_backbone(network)
        super().__init__(optim)
        self.save_settings()
        loss = as_record(BranchLossConfig, loss, "loss")
        triplet = as_record(TripletConfig, triplet, "triplet")
        retrieval = as_record(RetrievalConfig, retrieval, "retrieval")
        check_number("fpr", fpr, above=0, below=1)
        self.model = DCAL(num_classes, task=task, **network)
        start_from_backbone(self, start)
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
        self.fpr, self.flip, self._retrieval = fpr, retrieval.flip, retrieval
        self.expansion = Expansion(retrieval.expansion_k, retrieval.expansion_alpha)
        self._notes: list[str] = []  # why a test has no thresholds
        self._step: int | None = None  # of the checkpoint that was loaded
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
                    fpr=(fpr,), expansion=self.expansion,
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
        result = self.model.inference(batch["image"], flip=True) if self.flip else self(batch["image"])
        return {"index": batch["index"], "role": batch["role"], **{k: v.float() for k, v in result.items()}}

    @property
    def search(self) -> Search | None:
        """Settings by which features are compared; None for classification."""
        if self.task != "reid":
            return None
        model, obstacle = self.model, ""
        if self._retrieval.protocol == "multi_query":
            obstacle = "queries of protocol multi_query are averages of several pictures, those of predict single ones"
        elif model.side.kind != "none":
            obstacle = f"validation knows the {model.side.kind} of a picture, predict does not"
        settings: dict[str, Any] = {
            "image_size": list(model.image_size), "flip": self.flip, "fusion": asdict(model.fusion),
            "readout": None if model.glca is None else model.glca.readout, "selected": model.num_queries,
            "candidates": model.glca_candidates, "input": model.glca_input, "rollout_heads": model.rollout_heads,
            "rollout_depth": model.rollout_depth,
        }  # fmt: skip
        return Search(self.fpr, self.expansion, settings, obstacle)

    @property
    def loaded_step(self) -> int | None:
        """Training step of the checkpoint that was loaded; None if the weights are not from one."""
        return self._step

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note the step of the weights, after everything that the base compares."""
        super().on_load_checkpoint(checkpoint)
        step = checkpoint.get("global_step")
        self._step = step if isinstance(step, int) else None

    def on_fit_start(self) -> None:
        """Check the settings of validation against the numbers of pictures."""
        self._check_numbers("val")

    def on_validation_start(self) -> None:
        """Check the settings of validation against the numbers of pictures."""
        self._check_numbers("val")

    def on_test_start(self) -> None:
        """Check the settings of testing against the numbers of pictures, and find the thresholds of validation."""
        self._check_numbers("test")
        metric, search = self.metrics["test"], self.search
        if isinstance(metric, ReIDMetric) and search is not None:
            try:
                found, self._notes = thresholds_for(self.operating_point, search, self._step)
            except ConfigError as error:  # a rate too small for the validation, which the test's own curve may tell
                found, self._notes = None, [str(error)]
            metric.thresholds = None if found is None else (found.accept, found.reject)

    def make_report(self, stage: EvalStage) -> ClassificationReport | RetrievalReport:
        """Report of the task's metric."""
        protocol = {} if self.data is None else self.data.protocol
        readout = None if self.model.glca is None else self.model.glca.readout
        facts = {**protocol, "stage": stage, "glca_readout": readout}
        metric, search = self.metrics[stage], self.search
        if isinstance(metric, ClassificationMetric) or search is None:
            return metric.report(facts)
        report = metric.report({**facts, "flip": self.flip})
        lines: list[str] = []
        found, notes = None, self._notes
        if stage == "val" and report.roc:
            chosen, pairs = self._choose(report, search), report.protocol["pairs"]
            report = replace(report, operating_point={KEY: chosen.plain()})
            found = chosen.at()
            lines += filter(None, [few_pairs(self.fpr, pairs["negative"])])
        elif metric.thresholds is not None and report.roc:
            found, lines = thresholds_for(self.operating_point, search, self._step)
        report.protocol["decision"] = None if found is None else asdict(found)
        if found is None and stage == "test":
            report.protocol["no_decision"] = notes
        if lines:
            report.protocol["warnings"] = [*report.protocol.get("warnings", []), *lines]
        return report

    def choose_operating_point(self, report: Report) -> dict[str, Any]:
        """Points of the ROC curve of the validation split, by which predictions decide; none for classification."""
        return report.operating_point if isinstance(report, RetrievalReport) else {}

    def _choose(self, report: RetrievalReport, search: Search) -> Verification:
        fitting = self.trainer.state.fn == TrainerFn.FITTING
        step = self.trainer.global_step if fitting else self._step or 0
        return Verification.choose(report.roc, self.fpr, report.protocol["pairs"], search.facts, step)

    def _check_numbers(self, stage: EvalStage) -> None:
        """Refuse settings of retrieval that need more pictures than there are, before any of them is run.

        Raises:
            ConfigError: Re-ranking or query expansion needs more.
        """
        count = getattr(self.data, "retrieval_counts", None)
        metric = self.metrics[stage]
        if count is None or not isinstance(metric, ReIDMetric):
            return
        numbers: dict[str, int] = count(SPLITS[stage])
        drawn = metric.protocol == "vehicleid"
        gallery = numbers["identities" if drawn else "gallery"]
        if not gallery or not (drawn or numbers["query"]):
            return  # no such split, or evaluation names what is missing
        self.expansion.check(gallery)
        if metric.rerank:
            check_rerank_pictures(metric.k1, metric.k2, numbers["query"] + numbers["gallery"])

    def _collect(self, stage: EvalStage, batch: ReIDBatch | FGVCBatch) -> None:
        camera, view = batch.get("camera"), batch.get("view")
        output = self.model(batch["image"], camera=camera, view=view)
        metric = self.metrics[stage]
        if isinstance(metric, ClassificationMetric):
            logits = {name: branch.logits for name, branch in _branches(output).items()}
            label = cast(FGVCBatch, batch)["label"]
            metric.update(self.model.probabilities(output), label, batch["index"], logits)
        else:
            reid, features = cast(ReIDBatch, batch), self.model.embeddings(output)
            if self.flip:
                mirrored = self.model(batch["image"].flip(-1), camera=camera, view=view)
                features = (features + self.model.embeddings(mirrored)) / 2
            metric.update(features, reid["identity"], reid["camera"], reid["role"], reid["index"])


def _branches(output: DCALOutput) -> dict[str, Branch]:
    named = {"sa": output.sa, "glca": output.glca, "pwca": output.pwca}
    return {name: branch for name, branch in named.items() if branch is not None}
