"""The results of a test: one table on the terminal, ``metrics.json``, and pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger, WandbLogger
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn

from vision_suite import __version__
from vision_suite.callbacks.ema import EMA
from vision_suite.callbacks.report.base import ReportView, Shown, view_of
from vision_suite.callbacks.report.training import panels
from vision_suite.callbacks.run_dir import run_dir
from vision_suite.datasets.base import BaseData
from vision_suite.drafts import drafted, write_whole
from vision_suite.errors import ConfigError
from vision_suite.lit_modules.base import LitBase, datamodule_of
from vision_suite.runs.log import read_log
from vision_suite.types import Report
from vision_suite.viz.training import training_curves


class ReportWriter(Callback):
    """Prints and stores the report that a module leaves after testing or validating; rank zero only.

    Files go to ``test`` (or ``validate``) in the run's folder: ``metrics.json``, and the pictures of the report's view.
    These are ``cmc.png``, ``gallery_random.png`` and ``gallery_hardest.png`` for retrieval, ``confusions.png`` for
    classification, and timelines, curves and an analysis of errors for detection. Training leaves ``training.png``,
    drawn from the CSV logger's ``metrics.csv``, also where it ends early. Pictures go to Weights & Biases too when it
    logs the run.

    Args:
        queries: Number of ranked galleries in a strip, and of timelines or trials drawn.
        pairs: Number of rows in the picture of confused classes.
        validation_pictures: Draw pictures after ``validate`` too.
        seed: Seed for the choice of queries in ``gallery_random.png``.
    """

    def __init__(self, queries: int = 8, pairs: int = 8, validation_pictures: bool = False, seed: int = 0) -> None:
        if queries < 1 or pairs < 1:
            raise ConfigError(f"queries={queries}, pairs={pairs}: a picture needs at least one row")
        self.queries, self.pairs, self.validation_pictures, self.seed = queries, pairs, validation_pictures, seed
        self._training = False

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier report: a test that leaves none must not show that one."""
        if isinstance(pl_module, LitBase):
            pl_module.report = None

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier report."""
        if isinstance(pl_module, LitBase):
            pl_module.report = None

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the report of a test."""
        self._write(trainer, pl_module, "test", pictures=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the report of ``validate``; validation within training is the logger's business."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._write(trainer, pl_module, "validate", pictures=self.validation_pictures)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take note that training has begun."""
        self._training = True

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the curves of a training run."""
        self._training = False
        self._draw_training(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Draw the curves of a run that ends early, as far as it got."""
        if self._training:
            try:
                self._draw_training(trainer, pl_module)
            except Exception as error:  # whatever it is, it must not hide what ended the run
                rank_zero_warn(f"training.png is not drawn ({type(error).__name__}: {error})")

    def _draw_training(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw what the CSV logger's files of this run hold."""
        loggers = [logger for logger in trainer.loggers if isinstance(logger, CSVLogger)]
        if not trainer.is_global_zero or not loggers:
            return
        loggers[0].save()
        declared = pl_module.panels if isinstance(pl_module, LitBase) else ()
        log = read_log(Path(loggers[0].log_dir))
        report = pl_module.report if isinstance(pl_module, LitBase) else None
        # Before the first report of this part nothing tells the numbers of the table from others.
        tables = set(log) if report is None else {f"val/{name}" for name in report.metrics}
        averaged = any(isinstance(callback, EMA) for callback in trainer.callbacks)  # type: ignore[attr-defined]
        drawn = panels(log, declared, tables if declared else (), averaged=averaged)
        if drawn:
            folder = run_dir(trainer)
            folder.mkdir(parents=True, exist_ok=True)
            self._show(trainer, training_curves(drawn, title=str(loggers[0].name)), "training", folder)

    def _write(self, trainer: Trainer, pl_module: LightningModule, stage: str, *, pictures: bool) -> None:
        report = pl_module.report if isinstance(pl_module, LitBase) else None
        if not trainer.is_global_zero or report is None:
            return
        folder = run_dir(trainer) / stage
        folder.mkdir(parents=True, exist_ok=True)
        data = datamodule_of(trainer)
        protocol = data.protocol if isinstance(data, BaseData) else {}
        title = f"{_name(protocol, stage)}, {stage}"
        view = view_of(report)
        record = metrics_record(report, view.task, stage, protocol)
        record |= {"checkpoint": None if trainer.ckpt_path is None else str(trainer.ckpt_path)}
        record |= {"vision_suite": __version__}
        text = json.dumps(record, indent=2, allow_nan=False)
        write_whole(folder / "metrics.json", text + "\n")
        files = view.files(report)
        for name, contents in files.items():
            write_whole(folder / name, contents)
        print_table(view, report, title)
        # This table is the one; Lightning would print all the numbers again.
        (trainer.test_loop if stage == "test" else trainer.validate_loop).verbose = False
        written = ["metrics.json", *files]
        if pictures and isinstance(data, BaseData):
            shown = Shown(self.queries, self.pairs, self.seed)
            for name, picture in view.pictures(report, data, stage, title, shown).items():
                self._show(trainer, picture, name, folder)
                written.append(f"{name}.png")
        elif pictures:
            rank_zero_info("no pictures: the trainer was given loaders, not a data module of the suite")
        rank_zero_info(f"report: {', '.join(written)} in {folder}")

    def _show(self, trainer: Trainer, picture: Image.Image, name: str, folder: Path) -> None:
        """Save a picture and hand it to Weights & Biases."""
        with drafted(folder / f"{name}.png") as draft:
            picture.save(draft, format="PNG")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image(key=f"{folder.name}/{name}" if name != "training" else name, images=[picture])


def metrics_record(report: Report, task: str, stage: str, data: Mapping[str, object]) -> dict[str, object]:
    """The contents of ``metrics.json`` in plain containers; numbers that are not finite become null.

    Args:
        report: Report; metrics are fractions of one.
        task: Word for the task.
        stage: ``test`` or ``validate``.
        data: Protocol of the datamodule, kept apart under ``data``.
    """
    # The report's warnings include those of the data.
    own = {key: value for key, value in report.protocol.items() if key not in data or key == "warnings"}
    return {
        "stage": stage,
        "task": task,
        "metrics": plain(report.metrics),
        "protocol": plain(own),
        "data": plain(data),
    }


def plain(value: object) -> Any:
    """The value as JSON can hold it."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def print_table(view: ReportView[Any], report: Report, title: str) -> None:
    """Print the metrics of a report, in percent."""
    from rich.console import Console
    from rich.table import Table

    headings, rows = view.table(report)
    table = Table()
    for number, heading in enumerate(headings):  # where the terminal is narrow a name is broken, and nothing is cut
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console()
    # Not as the table's own title, which is broken to the table's width.
    console.print(f"{title} (%)", style="bold", highlight=False)
    console.print(table)
    console.print(view.note(report), style="dim", highlight=False)


def _name(protocol: Mapping[str, Any], stage: str) -> str:
    """A name of the data: the layout, and the stage's sources or the end of the path, which tells protocols apart."""
    layout, sources = protocol.get("layout", "data"), protocol.get("sources", {}).get(stage)
    if sources:
        return f"{layout} {' + '.join(sources)}"
    if "root" not in protocol:
        return "data"
    return f"{layout} {'/'.join(Path(protocol['root']).parts[-2:])}"
