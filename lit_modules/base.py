"""Shared parts of the Lightning modules: optimiser, logging, evaluation, and random numbers that survive a restart."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, TypeVar, cast

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from pytorch_lightning.utilities.model_helpers import _restricted_classmethod
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import Metric

from vision_suite.errors import CheckpointError, ConfigError, DataError
from vision_suite.lit_modules.loading import with_renamed_settings
from vision_suite.lit_modules.resume import Position, Resumed, check_batches, check_start_only, lengths, saved_plan
from vision_suite.optim import OptimConfig, build_optimizer, peak_lr
from vision_suite.optim_resume import Plan, check_optimizer, regrouped
from vision_suite.records import as_record
from vision_suite.renamed import RENAMED, renamed_class
from vision_suite.types import Report
from vision_suite.types.curves import CurvePanel
from vision_suite.types.data import Data, EvaluationStage
from vision_suite.yaml_text import read_yaml

if TYPE_CHECKING:
    from vision_suite.weights import Initialised

EvalStage = Literal["val", "test"]
SPLITS: dict[EvalStage, EvaluationStage] = {"val": "validate", "test": "test"}
MetricT = TypeVar("MetricT", bound=Metric)


def plain_containers(value: object) -> Any:
    """A value in plain containers, which a checkpoint can hold and a safe loader can read."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain_containers(asdict(value))
    if isinstance(value, Mapping):
        return {key: plain_containers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_containers(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def datamodule_of(trainer: pl.Trainer) -> pl.LightningDataModule | None:
    """The datamodule of a trainer's run; None if the trainer was given loaders."""
    return trainer.datamodule  # type: ignore[attr-defined, no-any-return]  # set from outside the class, so not declared


class PerStage(nn.ModuleDict, Generic[MetricT]):
    """One metric for each of ``val`` and ``test``; `LitBase` empties the one whose epoch ends.

    Args:
        metrics: The metrics by stage.
    """

    def __init__(self, metrics: Mapping[EvalStage, MetricT] | None = None) -> None:
        super().__init__(cast("Mapping[str, nn.Module] | None", metrics))

    def __getitem__(self, stage: str) -> MetricT:
        return cast(MetricT, super().__getitem__(stage))


class LitBase(pl.LightningModule):
    """Base of the suite's Lightning modules.

    A module that is evaluated collects each batch in metrics that it keeps in `PerStage`, and overrides `make_report`.
    Scoring, logging and emptying the metrics is done here.

    Args:
        optim: Optimiser and schedule.

    Attributes:
        start_only: Dotted names of settings that count only when a run starts, such as the kind of initialisation.
            Another value than the checkpoint's is refused when a run is resumed.
        evaluated_at_start: Other commands than ``fit`` take ``--init_from`` too, for the numbers before training, where
            the file is of another module's run.
        report: Report of the last evaluation, None before the first.
        initialised_from: File and counts of `start_from` in plain containers, None before it was called.
        operating_point: Thresholds and the like that the last validation chose, in plain containers; stored in
            checkpoints under ``operating_point``, empty before the first validation.
    """

    start_only: ClassVar[tuple[str, ...]] = ()
    evaluated_at_start: ClassVar[bool] = False

    def __init__(self, optim: OptimConfig) -> None:
        super().__init__()
        self.optim = as_record(OptimConfig, optim, "optim")
        self._plan: Plan | None = None
        self._saved_plan: Plan | None = None
        self._position: Position | None = None
        self._resumed: Resumed | None = None
        self.report: Report | None = None
        self.initialised_from: dict[str, Any] | None = None
        self.operating_point: dict[str, Any] = {}
        self._warned: set[str] = set()

    def save_settings(self) -> None:
        """Record the constructor's arguments as hyper-parameters, in plain containers; call it in ``__init__``."""
        frame = inspect.currentframe()
        frame = None if frame is None else frame.f_back
        # Constructors of subclasses lie further out, and between two of them what `takes_old_names` puts there.
        while frame is not None and frame.f_locals.get("self") is self:
            if "__class__" in frame.f_locals:
                self.save_hyperparameters(frame=frame)
            frame = frame.f_back
        # A subclass that was given a former name has recorded it too, beside the record that it went into.
        former = RENAMED.get(renamed_class(type(self)), {})
        records = {dotted.split(".")[0] for dotted in former.values()}
        for name in [name for name in self.hparams if name in former and name not in records]:
            del self.hparams[name]
        self._set_hparams(plain_containers(dict(self.hparams)))
        self._hparams_initial = copy.deepcopy(self.hparams)

    @_restricted_classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **settings: Any,
    ) -> Self:
        """Build a module from a checkpoint, as Lightning does, also from one that holds settings under old names."""
        if hparams_file is not None and Path(hparams_file).suffix in (".yaml", ".yml"):
            read_yaml(Path(hparams_file))  # Lightning reads it without a bound
        if hparams_file is None and weights_only is not False:
            checkpoint_path, settings = with_renamed_settings(checkpoint_path, settings, renamed_class(cls))
        loaded: Self = super().load_from_checkpoint(
            checkpoint_path, map_location, hparams_file, strict, weights_only, **settings
        )
        return loaded

    def start_from(self, path: str | Path) -> Initialised:
        """Copy the weights of a file into the network, as `vision_suite.weights.init_from` does.

        The network is ``self.model``, or the module itself where there is none. Parts of training, such as learnt
        weights of losses, are not taken.

        Args:
            path: A checkpoint, a state dict, or a file of a layout that the network knows.

        Raises:
            CheckpointError: The file cannot be read, or nothing in it fits.
        """
        from vision_suite.weights import init_from  # loads timm, which most runs have no need of

        network = getattr(self, "model", None)
        started = init_from(network if isinstance(network, nn.Module) else self, path)
        self.initialised_from = started.record()
        return started

    @property
    def data(self) -> Data | None:
        """The datamodule of the run, None if the trainer was given loaders.

        A subclass narrows the type by annotating ``data`` with a protocol of `vision_suite.types.data`.
        """
        return cast("Data | None", datamodule_of(self.trainer))

    def takes_fact(self, name: str) -> bool:
        """Tell whether the network depends on a fact of the data, which is then an argument of the constructor."""
        return bool(self.hparams.get(name))

    @property
    def panels(self) -> Sequence[CurvePanel]:
        """Panels of ``training.png``, the main score first; what is logged besides is drawn under its own name."""
        return ()

    @property
    def main_score(self) -> tuple[str, Literal["min", "max"]] | None:
        """Score of the validation that ``--ckpt_path best`` means, and its better end; None if the module has none.

        It is the first one of `panels`: a share is better the higher it is, anything else the lower.
        """
        panel = next(iter(self.panels), None)
        name = None if panel is None else next(iter(panel.curves), None)
        if panel is None or name is None or not name.startswith("val/"):
            return None
        return name, "max" if panel.share else "min"

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimiser and schedule for the whole run.

        Raises:
            ConfigError: The rate scales with the batch, or the schedule with the run's length, and that isn't known.
        """
        trainer = self.trainer
        batch = getattr(self.data, "batch_size", None)  # the datamodule may be another package's
        if batch is None and self.optim.lr_reference_batch is not None:
            raise ConfigError("optim.lr_reference_batch needs a datamodule with a batch_size: give optim.lr itself")
        batches = int(batch or 1) * trainer.world_size
        global_batch = batches * trainer.accumulate_grad_batches
        total, per_epoch = lengths(trainer, self.optim, self._position)
        optimizer, schedule = build_optimizer(self, self.optim, total=total, global_batch=global_batch)
        rank_zero_info(
            f"{self.optim.name}: peak learning rate {peak_lr(self.optim, global_batch):.4g} at a global batch of "
            f"{global_batch if batch else 'unknown size'}, over {total or 'any number of'} {self.optim.interval}s"
        )
        self._plan = Plan(self.optim, total, global_batch if batch else None, batches if batch else None, per_epoch)
        if self._saved_plan is not None:
            check_batches(self._position, self._plan, self._saved_plan)
            self._resumed = Resumed(optimizer, schedule, self._plan, self._saved_plan)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": self.optim.interval, "name": "lr"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the operating point, and the settings and length of the schedule, which a resumed run compares."""
        if self._plan is not None:
            checkpoint["optim"] = self._plan.plain()
        if self.operating_point:
            checkpoint["operating_point"] = plain_containers(self.operating_point)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load weights; an error names the checkpoint that they are from.

        Raises:
            CheckpointError: One holds whole or complex numbers where the network takes floating-point ones.
        """
        path = None if self._trainer is None else self._trainer.ckpt_path
        for name, own in self.state_dict().items():
            given = state_dict.get(name)
            if isinstance(given, Tensor) and own.is_floating_point() and not given.is_floating_point():
                kind = str(given.dtype).removeprefix("torch.")
                raise CheckpointError(
                    f"{path or 'the checkpoint'}: {name} holds {kind} values, and the network takes floating-point "
                    "ones: use another checkpoint"
                )
        try:
            return super().load_state_dict(state_dict, strict, assign)
        except RuntimeError as error:
            if path is not None:
                error.add_note(f"the checkpoint is {path}")
            raise

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Compare the data with the checkpoint's, and the settings of a resumed run.

        Raises:
            ConfigError: A setting differs that cannot be applied to a run that has begun.
            CheckpointError: The checkpoint's optimiser is of other parameters, or its operating point is damaged.
        """
        restore = None if self._trainer is None else getattr(self.data, "restore", None)  # maybe another package's data
        if restore is not None:
            restore(checkpoint)  # where Lightning finds no state of its class
        point = checkpoint.get("operating_point", {})
        if not isinstance(point, dict):
            raise CheckpointError(f"operating_point is {type(point).__name__}, not a mapping: write it again")
        self.operating_point = dict(point)
        self._saved_plan = self._position = None
        if self._trainer is None or self._trainer.state.fn != TrainerFn.FITTING:
            return
        check_start_only(self, checkpoint)
        # A module with an optimiser of its own looks after its state itself.
        ours = "optim" in checkpoint or type(self).configure_optimizers is LitBase.configure_optimizers
        saved = saved_plan(checkpoint) if ours else None
        if saved is not None and checkpoint.get("optimizer_states"):
            check_optimizer(saved.optim, self.optim)
            state = regrouped(checkpoint["optimizer_states"][0], self, saved.optim, self.optim)
            checkpoint["optimizer_states"] = [state, *checkpoint["optimizer_states"][1:]]
            self._saved_plan, self._position = saved, Position.of(checkpoint)

    def on_train_start(self) -> None:
        """Apply the settings of the optimiser that differ from the checkpoint's, and tell of them."""
        if self._resumed is not None:
            line = self._resumed.apply(self.trainer.global_step, self.trainer.current_epoch)
            if line is not None:
                rank_zero_info(line)
        self._resumed = self._saved_plan = self._position = None

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        """Seed this batch by its position in the run, so that a resumed run draws the same numbers."""
        run_seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        # Not Lightning's total batch count, which a restart after a failed batch takes up one too high.
        position = (run_seed, self.global_rank, self.current_epoch, batch_idx)
        torch.manual_seed(int(np.random.SeedSequence(position).generate_state(1)[0]))

    def make_report(self, stage: EvalStage) -> Report | None:
        """Report of everything collected in an epoch of a stage; None if the module scores nothing in this way.

        Raises:
            DataError: Nothing that can be scored was collected.
        """
        return None

    def logged_metrics(self, report: Report) -> Mapping[str, float]:
        """Numbers of a report that are logged as ``<stage>/<name>``."""
        return report.metrics

    def choose_operating_point(self, report: Report) -> dict[str, Any]:
        """Thresholds and the like for predictions, chosen on a report of the validation split; none by default.

        Args:
            report: Report of the validation split.

        Returns:
            The operating point in plain containers.
        """
        return {}

    def reset_collected(self, stage: EvalStage) -> None:
        """Empty the metrics of a stage; a subclass that collects anything else empties that too."""
        for module in self.modules():
            if isinstance(module, PerStage):
                module[stage].reset()

    def on_validation_epoch_end(self) -> None:
        """Score and log ``val/...``."""
        self._score("val")

    def on_test_epoch_end(self) -> None:
        """Score and log ``test/...``."""
        self._score("test")

    def _score(self, stage: EvalStage) -> None:
        if not self.trainer.sanity_checking:
            try:
                self._log_report(stage, self.make_report(stage))
            except DataError as error:
                # The first batch may hold nothing that can be scored; a run to try every step must not fail on that.
                if not getattr(self.trainer, "fast_dev_run", 0):  # set from outside the class, so not declared
                    raise
                rank_zero_warn(f"fast_dev_run: {stage} is not scored ({error})")
        self.reset_collected(stage)

    def _log_report(self, stage: EvalStage, report: Report | None) -> None:
        if report is None:
            return
        self.report = report
        for line in report.protocol.get("warnings", ()):
            if line not in self._warned:  # every validation of a run finds the same
                self._warned.add(line)
                rank_zero_warn(line)
        if stage == "val":
            self.operating_point = plain_containers(self.choose_operating_point(report))
        metrics = {f"{stage}/{name}": value for name, value in self.logged_metrics(report).items()}
        # The metrics were gathered from all processes already, so every process logs the same value.
        self.log_dict(metrics, rank_zero_only=False)

    def log_losses(self, losses: Mapping[str, Tensor], total: Tensor, batch_size: int) -> None:
        """Log ``train/loss`` and ``train/loss_<part>``."""
        parts = {f"train/loss_{name}": value.detach() for name, value in losses.items()}
        self.log_dict(parts, batch_size=batch_size)
        self.log("train/loss", total.detach(), prog_bar=True, batch_size=batch_size)
