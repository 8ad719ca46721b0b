"""OAT as a Lightning module, for the prediction of scanpaths over objects."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from vision_suite.errors import ConfigError, check_choice
from vision_suite.lit_modules.base import SPLITS, EvalStage, LitBase, PerStage
from vision_suite.losses.scanpath import scanpath_loss
from vision_suite.metrics.feature_warnings import feature_warnings
from vision_suite.metrics.rows import SequenceRows
from vision_suite.metrics.scanpath import Scanpath
from vision_suite.metrics.scanpath.pairwise.scores import PAIR_SCORES
from vision_suite.metrics.scanpath.paths import LONGEST_FIXATION
from vision_suite.metrics.scanpath.report.build import SCORES, scanpath_report
from vision_suite.models.oat import OAT, OATOutput, Scanpaths, greedy, sample
from vision_suite.models.oat.data_checks import check_inputs, check_trials, scene_warnings
from vision_suite.models.oat.inputs import SeenInputs
from vision_suite.models.oat.rows import PathArrays, logit_rows, path_rows, split_rows, unpack_paths
from vision_suite.optim import OptimConfig
from vision_suite.types import PADDING, Report, ScanpathBatch, ScanpathReport
from vision_suite.types.curves import CurvePanel
from vision_suite.types.data import Stage
from vision_suite.types.scanpath import ScanpathSource

OPTIM = OptimConfig(name="adam", lr=1e-4, weight_decay=0.0, schedule="constant")


class LitOAT(LitBase):
    """Object-level attention transformer (Fang et al., ECCV 2024); the defaults are the authors' settings.

    Args:
        in_channels: Width of given vectors, 0 for crops; comes from the data on the command line.
        num_positions: Rows or columns of the grid, 0 for free positions; comes from the data on the command line.
        max_length: Longest path; comes from the data on the command line.
        optim: Optimiser and schedule.
        samples: Paths drawn for each trial in tests and predictions.
        temperature: Temperature of the draws.
        scores: Comparisons with observers, see `vision_suite.metrics.scanpath.pairwise.scores.PAIR_SCORES`.
        include_given: Count given fixations as if they had been predicted.
        resamples: Bootstrap draws of the intervals.
        duration_weight: Factor on the loss of durations.
        compile: Compile the network with torch.compile.
        network: Arguments of `vision_suite.models.oat.OAT`.
    """

    data: ScanpathSource
    # Checkpoints hold the table of positions, or the learnt code that starts at sigma.
    start_only = ("pretrained", "position", "sigma")

    def __init__(
        self,
        in_channels: int = 0,
        num_positions: int = 14,
        max_length: int = 54,
        *,
        optim: OptimConfig = OPTIM,
        samples: int = 100,
        temperature: float = 1.0,
        scores: tuple[str, ...] = SCORES,
        include_given: bool = False,
        resamples: int = 1000,
        duration_weight: float = 1.0,
        compile: bool = False,
        **network: Any,
    ) -> None:
        super().__init__(optim)
        self.save_settings()
        if not max_length >= 1 or max_length % 1:
            raise ConfigError(
                f"max_length={max_length} is no whole number of 1 or more, or the data names no longest scanpath to "
                "train on: give --data.root, other parts, or the --ckpt_path of a trained model"
            )
        if samples < 1 or not 0 < temperature < math.inf or not 0 <= duration_weight < math.inf:
            raise ConfigError(
                f"samples={samples}, temperature={temperature}, duration_weight={duration_weight}: use 1 or more "
                "samples, a temperature above 0 and a weight of 0 or more, both finite"
            )
        if num_positions < 0:
            raise ConfigError(
                f"num_positions={num_positions}: give the rows or columns of the grid, 0 for free positions"
            )
        if not scores:
            raise ConfigError(f"scores={scores!r}: give one score or more, such as sequence_score")
        for name in scores:
            # Clusters come from a file that a test does not have: `vision_suite.metrics.scanpath.scanpath_scores`.
            check_choice("scores", name, (known for known in PAIR_SCORES if not known.startswith("cluster_")))
        if resamples < 1:
            raise ConfigError(f"resamples={resamples}: give 1 draw or more")
        self.model = OAT(feature_dim=in_channels or None, max_positions=max(num_positions, 2), **network)
        self.max_length, self.samples, self.temperature = max_length, samples, temperature
        self.scores, self.include_given, self.resamples = tuple(scores), include_given, resamples
        self.duration_weight = duration_weight
        self.logits = PerStage({stage: SequenceRows() for stage in ("val", "test")})
        self.drawn = PerStage({stage: SequenceRows() for stage in ("val", "test")})
        self.likeliest = PerStage({stage: SequenceRows() for stage in ("val", "test")})
        self._inputs: dict[EvalStage, SeenInputs] = {}
        if compile:
            # In place, so that names in checkpoints stay the same.
            self.model.compile()

    @property
    def panels(self) -> Sequence[CurvePanel]:
        """Scores of whole paths beside observers', the likelihood of the next fixation, and the losses."""
        who = {"": "drawn", "mode/": "greedy", "human/": "people"}
        nats = {f"val/{own}nats_per_fixation": name for own, name in {"": "model", "random/": "random"}.items()}
        losses = {"train/loss": "total", "train/loss_fixation": "next fixation", "train/loss_duration": "duration"}
        return (
            CurvePanel("Likelihood of the next fixation", nats, "nats per fixation"),
            CurvePanel("Next fixation", {"val/top1": "is top 1", "val/top5": "is top 5"}, share=True),
            CurvePanel("Sequence Score", {f"val/{own}sequence_score": name for own, name in who.items()}, share=True),
            CurvePanel("Delta of behaviours", {f"val/{own}delta": name for own, name in who.items()}, share=True),
            CurvePanel("Training loss", losses, "loss"),
        )

    def setup(self, stage: str) -> None:
        """Compare the data with the network before the first step.

        Raises:
            ConfigError: The network cannot read what the data give.
        """
        # Pictures for prediction are cut as the checkpoint says, which is read after this.
        if stage != "predict":
            self._check(*(("fit", "validate") if stage == "fit" else (TrainerFn(stage).value,)))

    def on_predict_start(self) -> None:
        """Compare the data with the network.

        Raises:
            ConfigError: The network cannot read what the data give.
        """
        self._check("predict")

    def forward(self, batch: ScanpathBatch) -> OATOutput:
        """Scores of every next fixation of recorded paths."""
        out: OATOutput = self.model(batch)
        return out

    def training_step(self, batch: ScanpathBatch, batch_idx: int) -> Tensor:
        """Cross-entropy of the next object, and the likelihood of durations."""
        output = self(batch)
        total, losses = scanpath_loss(
            output.logits, output.labels, output.timing, output.duration, duration_weight=self.duration_weight
        )
        self.log_losses(losses, total, len(batch["index"]))
        return total

    def validation_step(self, batch: ScanpathBatch, batch_idx: int) -> None:
        """Collect likelihoods and paths."""
        self._collect("val", batch)

    def test_step(self, batch: ScanpathBatch, batch_idx: int) -> None:
        """Collect likelihoods and paths."""
        self._collect("test", batch)

    def predict_step(self, batch: ScanpathBatch, batch_idx: int) -> dict[str, Tensor]:
        """Drawn paths of each trial and the one of the likeliest steps, as rows of `path_rows`."""
        trial, values = path_rows(self._draw(batch, self.samples), batch)
        _, likeliest = path_rows(greedy(self.model, batch, self.max_length), batch)
        return {"trial": trial.cpu(), "values": values.cpu(), "likeliest": likeliest.cpu()}

    def make_report(self, stage: EvalStage) -> ScanpathReport:
        """Scores of drawn paths and of the likeliest steps, beside observers and simple predictors."""
        data, split = self.data, SPLITS[stage]
        every, scenes = data.trials(split), data.scenes(split)
        rows = [metric[stage].compute() for metric in (self.logits, self.drawn, self.likeliest)]
        # A metric hands on a single row's trial as a scalar.
        seen = sorted(set(rows[0][0].reshape(-1).tolist()))
        if len(seen) < len(every):
            rank_zero_warn(f"{stage}: {len(seen)} of {len(every)} trials are scored, for the batches were limited")
        trials = [every[index] for index in seen]
        logits, *generated = (split_rows(*part) for part in rows)
        drawn, likeliest = ([unpack_paths(own) for own in part] for part in generated)
        cut = any(trial.recording >= 0 for trial in trials)
        counts = [len(scenes[trial.scene].boxes) for trial in trials]
        tables = [np.concatenate([rows[:, :n], rows[:, -2:]], axis=1) for rows, n in zip(logits, counts, strict=True)]
        capped = sum(int((paths.duration > LONGEST_FIXATION).sum()) for paths in (*drawn, *likeliest))
        timed = sum(int(np.isfinite(paths.duration).sum()) for paths in (*drawn, *likeliest))
        self.report = scanpath_report(
            trials,
            scenes,
            [_scanpaths(paths) for paths in drawn],
            logits=tables,
            greedy=[_scanpaths(paths)[0] for paths in likeliest],
            sample_log_probs=[paths.log_prob.tolist() for paths in drawn],
            training=data.recordings("fit"),
            recordings=data.recordings(split) if cut else (),
            protocol={
                **data.protocol,
                "stage": stage,
                "trials_scored": {"scored": len(seen), "of": len(every)},
                "temperature": self.temperature,
                "max_length": self.max_length,
                "durations_capped": {"at": LONGEST_FIXATION, "fixations": capped},
                "warnings": [
                    *data.protocol.get("warnings", ()),
                    *self._input_warnings(stage),
                    *scene_warnings(self.model, {trial.scene: scenes[trial.scene] for trial in trials}),
                    *duration_warnings(capped, timed),
                ],
            },
            scores=("sequence_score",) if self._fitting else self.scores,
            include_given=self.include_given,
            resamples=self.resamples,
        )
        return self.report

    def logged_metrics(self, report: Report) -> Mapping[str, float]:
        """Finite metrics; others, such as the likelihood of a path that cannot come, are for tables only."""
        return {name: value for name, value in report.metrics.items() if math.isfinite(value)}

    def _check(self, *parts: Stage) -> None:
        check_inputs(self.model, self.data.preprocessing, self.data.num_positions)
        for part in parts:
            check_trials(self.model, self.data.trials(part), part)

    def _input_warnings(self, stage: EvalStage) -> list[str]:
        """Faults of the vectors that the network read, of this process's share of the data."""
        seen = self._inputs[stage].rows() if stage in self._inputs else {}
        return [line for name, rows in seen.items() for line in feature_warnings(rows, name)]

    def reset_collected(self, stage: EvalStage) -> None:
        """Empty the metrics of a stage, and the vectors that were kept."""
        super().reset_collected(stage)
        self._inputs.pop(stage, None)

    @property
    def _fitting(self) -> bool:
        # Not `trainer.training`, which is False while a run that trains validates.
        return bool(self.trainer.state.fn == TrainerFn.FITTING)

    def _draw(self, batch: ScanpathBatch, count: int) -> Scanpaths:
        # By trial, so that neither the batch size nor the number of processes changes the paths.
        run_seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        seeds = [np.random.SeedSequence((run_seed, trial)).generate_state(1)[0] for trial in batch["index"].tolist()]
        sources = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        return sample(self.model, batch, self.max_length, count, temperature=self.temperature, generator=sources)

    def _collect(self, stage: EvalStage, batch: ScanpathBatch) -> None:
        if stage not in self._inputs:
            self._inputs[stage] = SeenInputs(self.data.trials(SPLITS[stage]))
        self._inputs[stage].add(self.model, batch)
        rows = logit_rows(self(batch), batch, self.data.num_objects, background=self.model.has_background)
        self.logits[stage].update(*rows)
        self.likeliest[stage].update(*path_rows(greedy(self.model, batch, self.max_length), batch))
        # Validation within training draws one path a trial: it is for curves, not for tables.
        self.drawn[stage].update(*path_rows(self._draw(batch, 1 if self._fitting else self.samples), batch))


def duration_warnings(capped: int, timed: int) -> list[str]:
    """A line if more than a hundredth of the predicted durations were cut at the longest.

    Args:
        capped: Number of durations that were cut.
        timed: Number of predicted durations.

    Example:
        >>> duration_warnings(1, 100), len(duration_warnings(2, 100))
        ([], 1)
    """
    if capped <= timed / 100:
        return []
    return [
        f"{capped} of {timed} predicted durations are longer than {LONGEST_FIXATION:g} s and were cut to it: the "
        "network has not learned durations, or those of the training data are not in seconds"
    ]


def _scanpaths(paths: PathArrays) -> list[Scanpath]:
    """Scanpaths of one trial; a path with an unknown duration has no durations at all."""
    lengths = (paths.sequence != PADDING).sum(axis=1)
    # A log-normal has no longest draw, and that of an untrained network none that scores would take for seconds.
    seconds = np.minimum(paths.duration, LONGEST_FIXATION)
    found = []
    for objects, duration, length, ended in zip(paths.sequence, seconds, lengths, paths.terminated, strict=True):
        known = length > 0 and not np.isnan(duration[:length]).any()
        found.append(Scanpath(objects[:length], duration=duration[:length] if known else None, terminated=bool(ended)))
    return found
