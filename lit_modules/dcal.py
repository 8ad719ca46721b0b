"""DCAL as a Lightning module, for re-identification and fine-grained classification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn

from vision_suite.errors import DataError
from vision_suite.lit_modules.base import LitBase
from vision_suite.lit_modules.settings import BranchLossConfig, RetrievalConfig, TripletConfig
from vision_suite.losses.multi_branch import MultiBranchLoss
from vision_suite.metrics.classification import ClassificationMetric
from vision_suite.metrics.reid_metric import ReIDMetric
from vision_suite.models.dcal import DCAL, DCALOutput
from vision_suite.models.dcal.network import Task
from vision_suite.optim import OptimConfig
from vision_suite.records import as_record
from vision_suite.renamed import takes_old_names


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
        self.metrics = nn.ModuleDict()
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

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Features, attention map and, for classification, probabilities of pictures (B, 3, H, W)."""
        return self.model.inference(image)

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of all branches."""
        label = batch["identity"] if self.task == "reid" else batch["label"]
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

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Collect what the validation metric needs."""
        self._collect("val", batch)

    def test_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Collect what the test metric needs."""
        self._collect("test", batch)

    def predict_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Feature, attention map and, for classification, probabilities of each picture."""
        result = self(batch["image"])
        return {"index": batch["index"], "role": batch["role"], **{k: v.float() for k, v in result.items()}}

    def on_validation_epoch_end(self) -> None:
        """Score and log ``val/...``."""
        self._score("val")

    def on_test_epoch_end(self) -> None:
        """Score and log ``test/...``."""
        self._score("test")

    def _collect(self, stage: Literal["val", "test"], batch: Mapping[str, Tensor]) -> None:
        output = self.model(batch["image"], camera=batch.get("camera"), view=batch.get("view"))
        metric: Any = self.metrics[stage]
        if self.task == "fgvc":
            logits = {name: branch.logits for name, branch in _branches(output).items()}
            metric.update(self.model.probabilities(output), batch["label"], batch["index"], logits)
        else:
            features = self.model.embeddings(output)
            metric.update(features, batch["identity"], batch["camera"], batch["role"], batch["index"])

    def _score(self, stage: Literal["val", "test"]) -> None:
        metric: Any = self.metrics[stage]
        if not self.trainer.sanity_checking:
            self._report(stage, metric)
        metric.reset()

    def _report(self, stage: Literal["val", "test"], metric: Any) -> None:
        try:
            scores = metric.compute()
        except DataError as error:
            # The first batch or two hold queries only; a run that is to try every step must not fail on that.
            if not getattr(self.trainer, "fast_dev_run", 0):  # set from outside the class, so not declared
                raise
            rank_zero_warn(f"fast_dev_run: {stage} is not scored ({error})")
            return
        data = getattr(self.trainer, "datamodule", None)
        protocol = dict(data.protocol) if data is not None else {}
        self.report = metric.report({**protocol, "stage": stage, "glca_readout": self._readout()})
        # The metric gathered from all processes already, so every process logs the same value.
        self.log_dict({f"{stage}/{key}": value for key, value in scores.items()}, rank_zero_only=False)

    def _readout(self) -> str | None:
        return None if self.model.glca is None else self.model.glca.readout


def _branches(output: DCALOutput) -> dict[str, Any]:
    named = {"sa": output.sa, "glca": output.glca, "pwca": output.pwca}
    return {name: branch for name, branch in named.items() if branch is not None}
