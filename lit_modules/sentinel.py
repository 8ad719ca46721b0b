"""C-DPO of SENTINEL and its relatives, as a Lightning module: a model learns from pairs of sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import torch
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from vision_suite.errors import ConfigError, check_choice
from vision_suite.lit_modules.captions import CaptionConfig, LitCaptions
from vision_suite.lit_modules.corrupted import with_corrupted_pictures
from vision_suite.lit_modules.pair_log import PairLog, lengths_of, pair_sums
from vision_suite.lit_modules.preference_reference import (
    ModelBefore,
    ReferenceKind,
    StoredReference,
    make_reference,
    without_dropout,
)
from vision_suite.losses.preference import PreferenceLossConfig, preference_loss
from vision_suite.models.mllm import ProjectorConfig, TowerConfig
from vision_suite.models.mllm.branches import branch_logps, check_branches, paired_logps, verify_branches
from vision_suite.models.mllm.lora import LoraSettings
from vision_suite.models.mllm.parts import select_pairs
from vision_suite.models.mllm.scoring import with_features
from vision_suite.models.wings.build import DecoderConfig, Part
from vision_suite.models.wings.config import WingsConfig
from vision_suite.optim import OptimConfig
from vision_suite.records import as_record
from vision_suite.types.curves import CurvePanel
from vision_suite.types.instruct import InstructBatch
from vision_suite.types.preference import PreferenceBatch

Prefix = Literal["auto", "on", "off"]
# Table 10 of the paper; the rate is that of LLaVA-1.5-7B.
OPTIM = OptimConfig(lr=2e-6, weight_decay=0.0, schedule="cosine")
PROBE = 2  # pairs whose reference is computed again
# Nats an id by which a log-probability that is computed twice may differ.
EXACT, HALF = 1e-3, 0.1


class LitSentinel(LitCaptions[PreferenceBatch]):
    """SENTINEL (Peng et al., ICCV 2025): a model learns to prefer sentences that name what is in the picture.

    The loss is C-DPO (eq. 2) or a relative of it, on pairs of continuations of the same beginning of an answer. All
    dropout is off, and the vision tower computes as in evaluation. The reference is the model before training. At the
    first step the model must be equal to it, and at each epoch's end it must still be what it was.

    Evaluation writes captions and answers, the likeliest id each time, and counts the objects that are made up.

    Args:
        vocabulary_size: Number of ids; comes from the data on the command line.
        image_tokens: Tokens of one picture, 0 without pictures; comes from the data on the command line.
        decoder: Language model.
        tower: Vision tower; unset for a model of text.
        projector: Projector from the tower's tokens to the decoder's.
        wings: Wings; unset for none.
        lora: LoRA in the decoder; unset for none.
        train: Parts that are trained: tower, projector, visual, textual, router, lora, decoder. Unset for LoRA alone
            where there is LoRA (Table 10), else for those of `LitWings`.
        loss: Loss on pairs.
        reference: Model before training: without its LoRA (adapter), its first weights, of which checkpoints hold a
            copy (start), or log-probabilities that are computed once before the first step (stored). auto takes the
            adapter where a new LoRA alone is trained, else the first weights.
        shared_prefix: Compute the beginning of both answers once (on), or a row for each answer (off); auto computes it
            once where the first batch shows that it is exact.
        captions: Writing of captions and answers.
        save_frozen: Store frozen weights in checkpoints too. Without, those of a frozen decoder, and of a frozen tower
            of timm, open_clip or CenterNet, come from where the run had them; a checkpoint knows the decoder again.
        recover_memory: When memory runs short, go on with batches in smaller parts, in all processes.
        optim: Optimiser and schedule; ``lr_factors`` gives parts rates of their own.
    """

    start_only = (*LitCaptions.start_only, "reference")

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
        loss: PreferenceLossConfig | None = None,
        reference: ReferenceKind = "auto",
        shared_prefix: Prefix = "auto",
        captions: CaptionConfig | None = None,
        save_frozen: bool = False,
        recover_memory: bool = True,
        optim: OptimConfig = OPTIM,
    ) -> None:
        super().__init__(optim, recover_memory)
        self.save_settings()
        check_choice("reference", reference, ("auto", "adapter", "start", "stored"))
        check_choice("shared_prefix", shared_prefix, ("auto", "on", "off"))
        self.loss = as_record(PreferenceLossConfig, loss or {}, "loss")
        if self.loss.kind == "mdpo" and reference == "stored":
            raise ConfigError("loss.kind=mdpo draws corrupted pictures at each step: use reference=start or adapter")
        self.assemble(
            vocabulary_size, image_tokens, decoder=decoder, tower=tower, projector=projector, wings=wings, lora=lora,
            train=("lora",) if train is None and lora is not None else train, save_frozen=save_frozen,
        )  # fmt: skip
        self.collect_captions(as_record(CaptionConfig, captions or {}, "captions"))
        without_dropout(self.model)
        self.reference_kind, self.shared_prefix = reference, shared_prefix
        self.reference: ModelBefore | None = None
        self._stored: Mapping[str, Any] = {}
        self._log = PairLog()
        self._shares: bool | None = None
        self._probe: tuple[PreferenceBatch, Tensor] | None = None
        self._margins: list[Tensor] = []

    @property
    def panels(self) -> Sequence[CurvePanel]:
        """Objects in captions, rewards, log-probabilities beside those before training, lengths, the training loss."""
        objects = {"val/object_f1": "F1", "val/object_precision": "precision", "val/object_recall": "recall"}
        logps = {
            f"train/{key}/{side}": f"{word}{when}"
            for side, word in (("chosen", "preferred"), ("rejected", "rejected"))
            for key, when in (("logps", ""), ("reference", ", before training"))
        }
        rewards = {"train/rewards/chosen": "preferred", "train/rewards/rejected": "rejected"}
        lengths = {"train/length/chosen": "preferred", "train/length/rejected": "rejected", "train/length_gap": ""}
        return (
            CurvePanel("Objects named against objects there", objects, share=True),
            CurvePanel("Length of captions", {"val/words": "mean"}, "words"),
            CurvePanel("Pairs in the right order", {"train/reward_accuracy": "training"}, share=True),
            CurvePanel("Rewards", {"train/reward_margin": "margin", **rewards}),
            CurvePanel("Log-probability of a continuation", logps, "nats"),
            CurvePanel("Length of continuations", lengths, "ids"),
            CurvePanel("Correlation of margin and difference of lengths", {"train/length_correlation": "last steps"}),
            CurvePanel("Training loss", {"train/loss": "pairs", "train/reference_drift": ""}),
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the reference, without which a run cannot go on."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["pair_log"] = self._log.state()
        if self.reference is not None:
            checkpoint["reference"] = self.reference.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over the reference and the running means of a run that goes on."""
        super().on_load_checkpoint(checkpoint)
        self._stored = dict(checkpoint.get("reference") or {})
        self._log.load(checkpoint.get("pair_log") or {})

    def on_train_start(self) -> None:
        """Have the reference: that of the checkpoint, or the model as it is now."""
        super().on_train_start()
        self._starts = not self._stored
        self.reference = made = make_reference(self.model, self.reference_kind, self.train_parts, self._stored)
        self._stored, self._shares, self._probe = {}, None, None
        rank_zero_info(f"reference: {made.words}")
        if isinstance(made, StoredReference):
            self.data.use_reference(self._before_training, made.weights)

    def training_step(self, batch: PreferenceBatch, batch_idx: int) -> Tensor:
        """Mean loss of the pairs."""
        pairs = torch.tensor(len(batch["branch_ids"]), device=batch["branch_ids"].device)
        self._margins = []
        return super().training_step(cast("PreferenceBatch", {**batch, "pairs": pairs}), batch_idx)

    def part_loss(self, batch: PreferenceBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a part of a batch, and the sums that are logged."""
        others = [with_corrupted_pictures(batch)] if self.loss.kind == "mdpo" else []
        batch, *others = (self._prepared(each) for each in (batch, *others))
        reference = batch.get("reference_logps")
        if reference is None:
            reference = torch.cat([self._reference_logps(each) for each in (batch, *others)], 1)
        policy = torch.cat([self._logps(each) for each in (batch, *others)], 1)
        self._check_start(batch, policy, reference)
        lengths = lengths_of(batch["branch_mask"], batch.get("branch_weights"))
        found = preference_loss(policy, reference, self.loss, lengths=lengths)
        gaps = (batch["branch_mask"][:, 0].sum(1) - batch["branch_mask"][:, 1].sum(1)).to(found.margins.dtype)
        self._margins.append(torch.stack([found.margins, gaps], 1))
        share = len(policy) / cast("dict[str, Tensor]", batch)["pairs"]
        return found.loss * share, pair_sums(found, policy, reference, batch["branch_mask"].sum(2))

    @property
    def last_margins(self) -> Tensor:
        """(B, 2) reward margin of each pair of the last training batch, and the difference of its lengths in ids."""
        # A batch that was repeated in smaller parts left its first tries behind.
        found = torch.cat(self._margins)
        return found[-self._size :]

    def cut(self, batch: PreferenceBatch, parts: int) -> Sequence[PreferenceBatch]:
        """Parts of whole pairs."""
        count = len(batch["branch_ids"])
        entries = cast("dict[str, Tensor]", batch)
        rows = torch.arange(count).tensor_split(min(parts, count))
        return [
            cast("PreferenceBatch", {**select_pairs(batch, each.tolist()), "pairs": entries["pairs"]}) for each in rows
        ]

    def log_step(self, batch: PreferenceBatch, loss: Tensor, sums: Mapping[str, Tensor]) -> None:
        """Log the means of the batch, and warn where preferred answers become much less likely."""
        self._size = size = len(batch["branch_ids"])
        means = self._log.take(sums)
        self.log("train/loss", means.pop("loss"), prog_bar=True, batch_size=size)
        self.log_dict({f"train/{name}": value for name, value in means.items()}, batch_size=size)
        if line := self._log.fall:
            rank_zero_warn(f"step {self.trainer.global_step}: {line}")

    def on_train_epoch_end(self) -> None:
        """Check that the reference is what it was."""
        if self._probe is None or isinstance(self.reference, StoredReference):
            return
        batch, before = self._probe
        drift = self._difference(batch, self._before_training(batch), before)
        self.log("train/reference_drift", drift, batch_size=len(before))
        if not drift <= self._tolerance:
            raise ConfigError(
                f"the reference has moved by {drift:.2g} nats an id since the first step: something besides the "
                "trained parts changes the network; use reference=stored"
            )

    def _prepared(self, batch: PreferenceBatch) -> PreferenceBatch:
        """The batch with a frozen tower's tokens, which model and reference share, and with weights of ids for DDPO."""
        entries = cast("dict[str, Tensor]", batch)
        if (self.loss.kind == "ddpo") != ("branch_weights" in batch):
            if self.loss.kind == "ddpo":
                raise ConfigError(
                    "loss.kind=ddpo needs weights of single ids, and the data give none: set data.changed_weight, such "
                    "as 5, or use another kind"
                )
            entries = {name: value for name, value in entries.items() if name != "branch_weights"}
        tower = self.model.tower
        if tower is not None:
            tower.eval()  # batch statistics would differ between model and reference
            if "tower" not in self.train_parts:
                entries = cast("dict[str, Tensor]", with_features(self.model, cast("InstructBatch", entries)))
        return cast("PreferenceBatch", entries)

    def _logps(self, batch: PreferenceBatch) -> Tensor:
        """Log-probabilities (B, n) of the continuations, under whatever the network is at the moment."""
        # Where processes exchange gradients or weights on the way, all of them run the same modules.
        dummy = self.trainer.world_size > 1 and not self._recovers
        if self._shares is None:
            self._shares = self._may_share(batch)
        return (branch_logps if self._shares else paired_logps)(self.model, batch, dummy=dummy)

    def _may_share(self, batch: PreferenceBatch) -> bool:
        """Tell whether beginnings are computed once for all their continuations."""
        if self.shared_prefix == "off":
            return False
        try:
            check_branches(self.model)
            verify_branches(self.model, select_pairs(batch, range(min(PROBE, len(batch["branch_ids"])))))
        except ConfigError as error:
            if self.shared_prefix == "on":
                raise
            rank_zero_info(f"each continuation is computed in a row of its own: {error}")
            return False
        return True

    def _before_training(self, batch: PreferenceBatch) -> Tensor:
        """Log-probabilities (B, n) under the reference, of a batch outside of a step."""
        with self.trainer.precision_plugin.forward_context():
            return self._reference_logps(self._prepared(batch))

    def _reference_logps(self, batch: PreferenceBatch) -> Tensor:
        """Log-probabilities (B, n) under the reference."""
        assert self.reference is not None
        with self.reference.active():
            return self._logps(batch)

    def _check_start(self, batch: PreferenceBatch, policy: Tensor, reference: Tensor) -> None:
        """Keep a few pairs for later checks; at the first step of a run the model must be its reference."""
        if self._probe is not None:
            return
        entries = cast("dict[str, Tensor]", select_pairs(batch, range(min(PROBE, len(policy)))))
        kept = cast("PreferenceBatch", {name: value.detach() for name, value in entries.items()})
        self._probe = kept, reference[:PROBE, :2].detach().clone()
        difference = self._difference(batch, policy[:, :2], reference[:, :2])
        if self._starts and not difference <= self._tolerance:
            raise ConfigError(
                f"at the first step model and reference differ by {difference:.2g} nats an id, and must be equal: the "
                "reference is of other weights, or something random is left in the network; use reference=start"
            )

    def _difference(self, batch: PreferenceBatch, one: Tensor, two: Tensor) -> float:
        """Largest difference of log-probabilities (B, n) by the number of ids."""
        gaps = (one.detach().double() - two.double()).abs()
        return float((gaps / batch["branch_mask"].sum(2).clamp_min(1)).max())

    @property
    def _tolerance(self) -> float:
        half = "16" in str(self.trainer.precision) or self.model.head_weight.dtype != torch.float32
        return HALF if half else EXACT
