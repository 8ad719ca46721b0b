"""WINGS, its baselines and plain language models that read pictures, as a Lightning module."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from vision_suite.errors import ConfigError, check_number
from vision_suite.lit_modules.base import SPLITS, EvalStage, PerStage, plain_containers
from vision_suite.lit_modules.instruct_evaluation import AnswerConfig, InstructEvaluation
from vision_suite.lit_modules.mllm_base import LitMllm
from vision_suite.metrics.instruct.report import instruct_report, mean_losses
from vision_suite.metrics.instruct_metric import InstructMetric
from vision_suite.metrics.rows import SequenceRows
from vision_suite.models.mllm import ProjectorConfig, TowerConfig
from vision_suite.models.mllm.lora import LoraSettings
from vision_suite.models.mllm.parts import cut_batch
from vision_suite.models.wings.build import (
    DecoderConfig,
    Part,
)
from vision_suite.models.wings.config import WingsConfig
from vision_suite.models.wings.untouched import Untouched
from vision_suite.ops.logprobs import supervised_nll
from vision_suite.optim import OptimConfig
from vision_suite.records import as_record
from vision_suite.types import Report
from vision_suite.types.curves import CurvePanel
from vision_suite.types.instruct import IGNORED, InstructBatch, InstructPrediction, InstructReport, Row

TASKS_DRAWN = 6  # curves of single tasks
OPTIM = OptimConfig(lr=1e-3, weight_decay=0.0, schedule="cosine", warmup=0.03)


class LitWings(LitMllm[InstructBatch]):
    """Wings (Zhang et al., NeurIPS 2024): a language model learns to see beside its text, in two stages.

    Without ``wings`` it trains the usual models: the projector alone, the whole decoder (LLaVA), or LoRA in it. The
    loss is the next-token cross-entropy of supervised ids, averaged over the optimiser step.

    Args:
        vocabulary_size: Number of ids; comes from the data on the command line.
        image_tokens: Tokens of one picture, 0 without pictures; comes from the data on the command line.
        decoder: Language model.
        tower: Vision tower; unset for a model of text.
        projector: Projector from the tower's tokens to the decoder's.
        wings: Wings; unset for none.
        lora: LoRA in the decoder; unset for none.
        train: Parts that are trained: tower, projector, visual, textual, router, lora, decoder. Unset for those of
            Wings' stage; without wings projector and decoder, or projector and LoRA.
        replay_kl: Weight of KL(untouched decoder || network) on supervised ids of conversations without pictures.
        interpolate: Share of the way from the untouched decoder's weights to the trained ones, in tests and
            predictions; 1 for the trained ones.
        answers: Scoring of questions and texts.
        save_frozen: Store frozen weights in checkpoints too. Without, those of a frozen decoder, and of a frozen tower
            of timm, open_clip or CenterNet, come from where the run had them; a checkpoint knows the decoder again.
        recover_memory: When memory runs short, go on with batches in smaller parts, in all processes.
        optim: Optimiser and schedule; ``lr_factors`` gives parts rates of their own.
    """

    evaluated_at_start = True

    def __init__(
        self,
        vocabulary_size: int = 0,
        image_tokens: int = 0,
        *,
        decoder: DecoderConfig | None = None,
        tower: TowerConfig | None = None,
        projector: ProjectorConfig | None = None,
        wings: WingsConfig | None = None,
        lora: LoraSettings | None = None,
        train: tuple[Part, ...] | None = None,
        replay_kl: float = 0.0,
        interpolate: float = 1.0,
        answers: AnswerConfig | None = None,
        save_frozen: bool = False,
        recover_memory: bool = True,
        optim: OptimConfig = OPTIM,
    ) -> None:
        super().__init__(optim, recover_memory)
        self.save_settings()
        check_number("replay_kl", replay_kl, low=0)
        check_number("interpolate", interpolate, low=0)
        self.assemble(
            vocabulary_size, image_tokens, decoder=decoder, tower=tower, projector=projector, wings=wings, lora=lora,
            train=train, save_frozen=save_frozen,
        )  # fmt: skip
        tuned = "decoder" in self.train_parts
        sourced = bool(self.decoder.source)
        if not sourced and (replay_kl or interpolate != 1):
            raise ConfigError("replay_kl and interpolate compare with a decoder.source, and this decoder is new")
        if interpolate != 1 and not tuned:
            raise ConfigError(f"interpolate={interpolate} needs a tuned decoder: add decoder to train, or leave it out")
        self.untouched = Untouched(self.model, self.decoder.source, copy=tuned) if sourced else None
        self.replay_kl, self.interpolate = replay_kl, interpolate
        self.answers = as_record(AnswerConfig, answers or {}, "answers")
        self.found = PerStage({stage: InstructMetric() for stage in ("val", "test")})
        self.losses = PerStage({stage: SequenceRows() for stage in ("val", "test")})
        self._evaluations: dict[str, InstructEvaluation] = {}
        self._rows: dict[str, list[Row]] = {}

    @property
    def panels(self) -> Sequence[CurvePanel]:
        """Loss of right answers and texts, accuracy, drift from the untouched model, and the training loss."""
        return (
            CurvePanel(
                "Loss of right answers and texts",
                {"val/loss": "all", "val/loss_answers": "answers", "val/loss_text": "text"},
                "nats per id",
            ),
            CurvePanel("Right answers", accuracy_curves(self.report), share=True),
            CurvePanel("Drift on text", {"val/kl": "validation", "train/drift_kl": "guard"}, "nats per id"),
            CurvePanel(
                "Likeliest id as before", {"val/agreement": "validation", "train/drift_agreement": "guard"}, share=True
            ),
            CurvePanel("Attention shift", {"val/attention_shift": "validation", "train/attention_shift": "guard"}),
            CurvePanel(
                "Training loss", {"train/loss": "answers", "train/kl": "KL of text", "train/targets": ""}, "nats per id"
            ),
        )

    def setup(self, stage: str) -> None:
        """Compare the data with the network, and forget the rows of an earlier stage."""
        super().setup(stage)
        self._evaluations, self._rows = {}, {}

    def training_step(self, batch: InstructBatch, batch_idx: int) -> Tensor:
        """Cross-entropy of the supervised ids, as a share of the optimiser step's."""
        if "step_targets" not in batch:  # of loaders that plan no steps
            count = (batch["labels"][:, 1:] != IGNORED).sum().clamp_min(1)
            batch = {**batch, "step_targets": count * self.trainer.accumulate_grad_batches * self.trainer.world_size}
        return super().training_step(batch, batch_idx)

    def part_loss(self, batch: InstructBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a part of a batch, and the sums that are logged."""
        # Where processes exchange gradients or weights on the way, all of them run the same modules.
        hidden = self.model.hidden(batch, dummy=self.trainer.world_size > 1 and not self._recovers)
        nll, count = supervised_nll(hidden, self.model.head_weight, batch["labels"])
        sums = {"nll": nll.detach(), "count": count.detach()}
        if self.replay_kl:
            assert self.untouched is not None
            kl, replayed = self.untouched.divergence(batch, hidden)
            sums |= {"kl": kl.detach(), "replayed": replayed}
            nll = nll + self.replay_kl * kl
        if not nll.requires_grad:  # text alone trains no projector
            nll = nll + 0.0 * next(each for each in self.parameters() if each.requires_grad).sum()
        processes = self.trainer.accumulate_grad_batches * self.trainer.world_size
        return nll * (processes / batch["step_targets"]), sums

    def cut(self, batch: InstructBatch, parts: int) -> Sequence[InstructBatch]:
        """Parts of whole conversations."""
        return cut_batch(batch, parts)

    def log_step(self, batch: InstructBatch, loss: Tensor, sums: Mapping[str, Tensor]) -> None:
        """Log the loss of the batch's supervised ids, and how many the optimiser step has."""
        size = len(batch["input_ids"])
        mean = sums["nll"] / sums["count"].clamp_min(1)
        self.log("train/loss", mean, prog_bar=True, batch_size=size)
        self.log("train/targets", batch["step_targets"].float(), batch_size=size)
        if self.replay_kl:
            self.log("train/kl", sums["kl"] / sums["replayed"].clamp_min(1), batch_size=size)

    def validation_step(self, batch: InstructBatch, batch_idx: int) -> None:
        """Collect likelihoods and answers."""
        self._evaluation("val").collect(batch, self.found["val"], self.losses["val"])

    def test_step(self, batch: InstructBatch, batch_idx: int) -> None:
        """Collect likelihoods and answers."""
        self._evaluation("test").collect(batch, self.found["test"], self.losses["test"])

    def predict_step(self, batch: InstructBatch, batch_idx: int) -> InstructPrediction:
        """Written answers, and how much each wing took part in them."""
        return self._evaluation("predict").predict(batch)

    def make_report(self, stage: EvalStage) -> InstructReport:
        """Scores of tasks, drift from the untouched decoder and attention shift."""
        report = instruct_report(
            self._split_rows(SPLITS[stage]),
            self.found[stage].collected(),
            decode=self.data.chat.decode,
            protocol={
                **self.data.protocol,
                "stage": stage,
                "trained": list(self.train_parts),
                "interpolate": self.interpolate,
                "answers": plain_containers(self.answers),
            },
        )
        losses = mean_losses(self._split_rows(SPLITS[stage]), *self.losses[stage].compute())
        self.report = InstructReport(
            {**losses, **report.metrics},
            report.protocol,
            report.tasks,
            report.answers,
            report.masses,
        )
        return self.report

    def logged_metrics(self, report: Any) -> Mapping[str, float]:
        """Finite metrics; a mean of tasks of which none is above chance is for tables only."""
        return {name: value for name, value in report.metrics.items() if math.isfinite(value)}

    def reset_collected(self, stage: EvalStage) -> None:
        """Empty the metrics of a stage."""
        super().reset_collected(stage)
        self._evaluations.pop(stage, None)

    def _evaluation(self, stage: str) -> InstructEvaluation:
        if stage not in self._evaluations:
            split = SPLITS.get(stage, "predict")  # type: ignore[call-overload]
            untouched = self.reachable(self.untouched) if self.answers.drift else None
            self._evaluations[stage] = InstructEvaluation(
                self.model, self.data.chat, self._split_rows(split), self.answers, untouched, self.wings
            )
        return self._evaluations[stage]

    def _split_rows(self, split: Any) -> list[Row]:
        if split not in self._rows:
            self._rows[split] = self.data.rows(split)
        return self._rows[split]


def accuracy_curves(report: Report | None) -> dict[str, str]:
    """Curves of right answers: each task's if they are few, else the means of those above chance."""
    tasks = [task for task in report.tasks if task.kind != "text"] if isinstance(report, InstructReport) else []
    if 0 < len(tasks) <= TASKS_DRAWN:
        return {f"val/accuracy/{task.name}": task.name for task in tasks}
    return {"val/accuracy_text": "mean, text", "val/accuracy_pictures": "mean, pictures"}
