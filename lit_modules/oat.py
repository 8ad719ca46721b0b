"""OAT as a Lightning module, for the prediction of scanpaths over objects."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pytorch_lightning import Callback
from torch import Tensor, nn

from vision_suite.errors import ConfigError
from vision_suite.lit_modules.base import LitBase
from vision_suite.losses.scanpath import scanpath_loss
from vision_suite.metrics.scanpath import Scanpath
from vision_suite.metrics.scanpath_report import SCORES, scanpath_report
from vision_suite.metrics.tad_metric import SequenceRows
from vision_suite.models.oat import OAT, OATOutput, greedy, sample
from vision_suite.models.oat.rows import logit_rows, path_of, path_rows, split_rows
from vision_suite.optim import OptimConfig

OPTIM = OptimConfig(name="adam", lr=1e-4, weight_decay=0.0, schedule="constant")


class LitOAT(LitBase):
    """Object-level attention transformer (Fang et al., ECCV 2024); the defaults are the authors' settings.

    Args:
        in_channels: Width of given vectors, 0 for crops; comes from the data on the command line.
        num_positions: Rows or columns of the grid, 0 for free places; comes from the data on the command line.
        max_length: Longest path; comes from the data on the command line.
        optim: Optimiser and schedule.
        samples: Paths drawn for each trial in tests.
        temperature: Of the draws.
        scores: What is compared with people, see `vision_suite.metrics.scanpath_pairs.PAIR_SCORES`.
        include_given: Count given fixations as if they had been predicted.
        resamples: Bootstrap draws of the intervals.
        duration_weight: Factor on the loss of durations.
        compile: Compile the network with torch.compile.
        network: Arguments of `vision_suite.models.oat.OAT`.
    """

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
        if max_length == 0:
            raise ConfigError(
                "the data names no longest scanpath: give --data.root, or the --ckpt_path of a trained model"
            )
        if samples < 1 or temperature <= 0 or max_length < 1:
            raise ConfigError(
                f"samples={samples}, max_length={max_length} must be at least 1 and temperature={temperature} above 0"
            )
        self.model = OAT(feature_dim=in_channels or None, max_positions=max(num_positions, 2), **network)
        self.max_length, self.samples, self.temperature = max_length, samples, temperature
        self.scores, self.include_given, self.resamples = tuple(scores), include_given, resamples
        self.duration_weight = duration_weight
        self.logits = nn.ModuleDict({stage: SequenceRows() for stage in ("val", "test")})
        self.drawn = nn.ModuleDict({stage: SequenceRows() for stage in ("val", "test")})
        self.likeliest = nn.ModuleDict({stage: SequenceRows() for stage in ("val", "test")})
        if compile:
            # In place, so that names in checkpoints stay the same.
            self.model.compile()

    def forward(self, batch: Any) -> OATOutput:
        """Scores of every next fixation of recorded paths."""
        out: OATOutput = self.model(batch)
        return out

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Cross-entropy of the next object, and the likelihood of durations."""
        output = self(batch)
        total, losses = scanpath_loss(
            output.logits, output.labels, output.timing, output.duration, duration_weight=self.duration_weight
        )
        self.log_losses(losses, total, len(batch["index"]))
        return total

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Collect likelihoods and paths."""
        self._collect("val", batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Collect likelihoods and paths."""
        self._collect("test", batch)

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """Drawn paths of each trial and the one of the likeliest steps, as rows of `path_rows`."""
        trial, values = path_rows(self._draw(batch, self.samples), batch)
        _, likeliest = path_rows(greedy(self.model, batch, self.max_length), batch)
        return {"trial": trial.cpu(), "values": values.cpu(), "likeliest": likeliest.cpu()}

    def configure_callbacks(self) -> list[Callback]:
        """A writer of scanpaths, unless the trainer has one."""
        from vision_suite.callbacks.scanpath_writer import ScanpathWriter

        there = any(isinstance(callback, ScanpathWriter) for callback in self.trainer.callbacks)  # type: ignore[attr-defined]
        return [] if there else [ScanpathWriter()]

    def on_validation_epoch_end(self) -> None:
        """Score and log ``val/...``."""
        self._score("val")

    def on_test_epoch_end(self) -> None:
        """Score and log ``test/...``."""
        self._score("test")

    def _draw(self, batch: Any, count: int) -> Any:
        return sample(self.model, batch, self.max_length, count, temperature=self.temperature)

    def _collect(self, stage: Literal["val", "test"], batch: Any) -> None:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        rows: Any = self.logits[stage]
        rows.update(*logit_rows(self(batch), batch, data.num_objects, background=self.model.has_background))
        likeliest: Any = self.likeliest[stage]
        likeliest.update(*path_rows(greedy(self.model, batch, self.max_length), batch))
        drawn: Any = self.drawn[stage]
        # Validation within training looks at one draw a trial: it is for curves, not for tables.
        drawn.update(*path_rows(self._draw(batch, 1 if self.trainer.training else self.samples), batch))

    def _score(self, stage: Literal["val", "test"]) -> None:
        metrics: tuple[Any, ...] = (self.logits[stage], self.drawn[stage], self.likeliest[stage])
        if not self.trainer.sanity_checking:
            self._report(stage, *(split_rows(*metric.compute()) for metric in metrics))
        for metric in metrics:
            metric.reset()

    def _report(self, stage: Literal["val", "test"], logits: list[Any], drawn: list[Any], likeliest: list[Any]) -> None:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        split = "validate" if stage == "val" else "test"
        trials, scenes = data.trials(split), data.scenes(split)
        cut = any(trial.recording >= 0 for trial in trials)
        counts = [len(scenes[trial.scene].boxes) for trial in trials]
        tables = [np.concatenate([rows[:, :n], rows[:, -2:]], axis=1) for rows, n in zip(logits, counts, strict=True)]
        self.report = scanpath_report(
            trials,
            scenes,
            [[_scanpath(row) for row in rows] for rows in drawn],
            logits=tables,
            greedy=[_scanpath(rows[0]) for rows in likeliest],
            sample_log_probs=[[path_of(row)[3] for row in rows] for rows in drawn],
            training=data.recordings("fit"),
            recordings=data.recordings(split) if cut else (),
            protocol={**data.protocol, "stage": stage, "temperature": self.temperature, "max_length": self.max_length},
            scores=("sequence_score",) if self.trainer.training else self.scores,
            include_given=self.include_given,
            resamples=self.resamples,
        )
        # The rows were gathered from all processes already, so every process logs the same value.
        own = {name: value for name, value in self.report.metrics.items() if np.isfinite(value)}
        self.log_dict({f"{stage}/{key}": value for key, value in own.items()}, rank_zero_only=False)


def _scanpath(row: Any) -> Scanpath:
    objects, seconds, terminated, _ = path_of(row)
    known = bool(np.isfinite(seconds).all()) and len(seconds) > 0
    return Scanpath(objects, duration=seconds if known else None, terminated=terminated)
