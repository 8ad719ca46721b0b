"""Panels of training.png in the words of each method, for finished, stopped and resumed runs."""

import numpy as np
import pytest
import pytorch_lightning as pl
from lit_training import QUIET
from PIL import Image
from pytorch_lightning.callbacks import Callback, LearningRateMonitor
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from stub_method import LitStub
from synthetic import write_market

from vision_suite.callbacks.csv_log import CSVLog
from vision_suite.callbacks.ema import EMA
from vision_suite.callbacks.report import writer as report_module
from vision_suite.callbacks.report.training import panels
from vision_suite.callbacks.report.writer import ReportWriter
from vision_suite.datasets.reid.data import ReIDData
from vision_suite.lit_modules.csa import LitCSA
from vision_suite.lit_modules.dcal import LitDCAL
from vision_suite.lit_modules.oat import LitOAT
from vision_suite.lit_modules.recognizer import LitRecognizer
from vision_suite.types import Report
from vision_suite.types.curves import CurvePanel

TINY = {"backbone": "vit_micro_conv8_64", "backbone_args": {"depth": 2, "embed_dim": 32}, "image_size": (32, 16)}
MODULES = {
    "reid": lambda: LitDCAL(4, **TINY),
    "fgvc": lambda: LitDCAL(4, task="fgvc", **TINY),
    "csa": lambda: LitCSA(3, 32, 16, pem_width=8),
    "recognizer": lambda: LitRecognizer(3, 6, 16),
    "oat": lambda: LitOAT(8, 2, 10, embed_dim=32, ff_dim=8, encoder_layers=1, decoder_layers=1),
}
# What each method logs in training.
KEYS = {
    "reid": "val/mAP val/rank1 val/mINP val/sa/mAP val/glca/mAP val/glca/rank1 train/weight_sa train/log_variance_sa "
    "train/loss_sa train/loss_glca train/loss_pwca",
    "fgvc": "val/top1 val/top5 val/sa/top1 val/sa/top5 val/glca/top1 train/loss_sa",
    "csa": "val/average_mAP val/mAP@0.5 val/mAP@0.75 val/mAP@0.8 val/mAP@0.95 val/AR@1 val/AR@5 val/AR@100 val/AUC "
    "val/video_top1 train/loss_boundary train/loss_iou",
    "recognizer": "val/step_accuracy val/average_mAP val/mAP@0.5 val/AUC train/loss_step",
    "oat": "val/nats_per_fixation val/random/nats_per_fixation val/sequence_score val/human/sequence_score val/top1 "
    "val/mode/top1 val/mode/delta train/loss_fixation",
}
EXPECTED = {
    "reid": {
        "Retrieval": ("%", ["mAP", "R1", "mAP, SA only", "mAP, GLCA only"]),
        "Training loss": ("loss", ["total", "SA", "GLCA", "PWCA"]),
        "Branch weights": ("factor on the branch's loss", ["SA"]),
    },
    "fgvc": {
        "Classification": ("%", ["top-1", "top-5", "top-1, SA only", "top-1, GLCA only"]),
        "Training loss": ("loss", ["total", "SA"]),
    },
    "csa": {
        "Detections": ("%", ["mean mAP", "mAP at tIoU 0.5", "mAP at tIoU 0.75", "mAP at tIoU 0.95"]),
        "Proposals": ("%", ["AUC", "AR@1", "AR@100"]),
        "Classes of videos": ("%", ["top-1"]),
        "Training loss": ("loss", ["total", "boundary", "tIoU"]),
    },
    "recognizer": {
        "Time steps": ("%", ["accuracy"]),
        "Detections": ("%", ["mean mAP", "mAP at tIoU 0.5"]),
        "Training loss": ("loss", ["cross-entropy of time steps"]),
    },
    "oat": {
        "Likelihood of the next fixation": ("nats per fixation", ["model", "random"]),
        "Next fixation": ("%", ["is top 1"]),
        "Sequence Score": ("%", ["drawn", "people"]),
        "Delta of behaviours": ("%", ["greedy"]),
        "Training loss": ("loss", ["total", "next fixation"]),
    },
}
SERIES = (np.array([0.0, 1.0]), np.array([0.25, 0.5]))


@pytest.mark.parametrize("method", MODULES)
def test_each_method_has_its_own_words(method):
    log = {key: SERIES for key in ["train/loss", *KEYS[method].split()]}
    tables = [key for key in log if key.startswith("val/")]
    found = panels(log, MODULES[method]().panels, tables)
    assert {panel.heading: (panel.unit, list(panel.curves)) for panel in found} == EXPECTED[method]
    for panel in found:
        values = next(iter(panel.curves.values()))[1]
        assert values.tolist() == ([25, 50] if panel.unit == "%" else [0.25, 0.5])


def test_what_no_one_declared_is_drawn_under_its_own_name():
    keys = ["train/loss", "train/loss_ce", "train/gradient", "val/error/left", "val/mAP", "lr", "lr-Adam/pg2"]
    found = panels({key: SERIES for key in keys}, (), averaged=True)
    assert {panel.heading: list(panel.curves) for panel in found} == {
        "Validation (EMA)": ["error/left", "mAP"],
        "Training loss": ["total", "ce"],
        "Training": ["gradient"],
        "Learning rate": ["rate", "Adam/pg2"],
    }
    assert all(panel.unit != "%" for panel in found)
    many = panels({f"val/{number:02}": SERIES for number in range(8)}, ())
    assert [len(panel.curves) for panel in many] == [6, 2]


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """The panels that are drawn."""
    calls = []
    draw = report_module.training_curves
    monkeypatch.setattr(
        report_module, "training_curves", lambda panels, **more: (calls.append(panels), draw(panels, **more))[1]
    )
    return calls


class Stop(Callback):
    def __init__(self, step, kind):
        self.step, self.kind = step, kind

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            raise self.kind("enough")


class Worded(LitStub):
    """Declares a panel, and logs more than it shows."""

    panels = (CurvePanel("Ours", {"val/mAP": "precision"}, share=True),)

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        self.log_dict({"val/table": 1.0, "val/extra": 2.0}, batch_size=1)


def fit(folder, loggers, *more, epochs=2, module=None):
    root = write_market(folder / "market", train_ids=4, test_ids=2, val_ids=2)
    data = ReIDData("market_folder", str(root), image_size=(32, 16), batch_size=4, num_instances=2, num_workers=0)
    trainer = pl.Trainer(
        **QUIET, max_epochs=epochs, default_root_dir=folder, logger=loggers, log_every_n_steps=1,
        callbacks=[*more, ReportWriter()], num_sanity_val_steps=0, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(LitStub() if module is None else module, data)


def test_any_logger_beside_a_csv_log(tmp_path, drawn):
    loggers = [TensorBoardLogger(tmp_path, "x"), CSVLog(tmp_path, "x", "version_0")]
    fit(tmp_path, loggers, LearningRateMonitor(), EMA())
    assert Image.open(tmp_path / "x/version_0/training.png").width > 2000
    headings = [panel.heading for panel in drawn[0]]
    assert headings == ["Validation (EMA)", "Training loss", "Training", "Learning rate"]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_a_run_that_ends_early_is_drawn_as_far_as_it_got(tmp_path, drawn, kind):
    with pytest.raises((kind, SystemExit)):
        fit(tmp_path, CSVLogger(tmp_path, "x"), Stop(3, kind))
    assert (tmp_path / "x/version_0/training.png").is_file()
    assert drawn[0][0].curves["total"][0].tolist() == [0, 1]


def test_a_resumed_run_is_drawn_over_all_its_parts(tmp_path, drawn):
    folder = tmp_path / "x/same"
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text("epoch,step,train/loss\n0,-2,3.0\n0,-1,2.0\n")
    fit(tmp_path, CSVLog(tmp_path, "x", "same"), epochs=1)
    assert (folder / "metrics-1.csv").is_file()
    steps = drawn[0][1].curves["total"][0].tolist()
    assert steps[:3] == [-2, -1, 0]


def test_numbers_for_tables_are_left_out_and_others_are_not(tmp_path, drawn):
    fit(tmp_path, CSVLog(tmp_path, "x", "same"), module=Worded(made=Report({"table": 1.0, "mAP": 0.25}, {})))
    assert [(panel.heading, list(panel.curves)) for panel in drawn[0][:2]] == [
        ("Ours", ["precision"]),
        ("Validation", ["extra"]),
    ]
    # A later part that stops before its first validation knows no report.
    (tmp_path / "x/same/metrics.csv").write_text("epoch,step,val/mAP,val/table\n0,-1,0.5,1\n")
    with pytest.raises(ValueError, match="enough"):
        fit(tmp_path, CSVLog(tmp_path, "x", "same"), Stop(2, ValueError), module=Worded())
    assert [panel.heading for panel in drawn[1]] == ["Ours", "Training loss", "Training"]


def test_a_start_that_is_refused_draws_nothing(tmp_path, drawn):
    class Refused(LitStub):
        def on_fit_start(self):
            raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        fit(tmp_path, CSVLog(tmp_path, "x", "same"), module=Refused())
    assert not drawn


def test_a_full_disk_does_not_hide_why_the_run_ended(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report_module.ReportWriter, "_show", full)
    with pytest.raises(ValueError, match="enough"):
        fit(tmp_path, CSVLogger(tmp_path, "x"), Stop(3, ValueError))


def test_a_number_that_is_never_defined_has_no_panel():
    steps = np.arange(3.0)
    log = {
        "train/a": (steps, np.full(3, np.nan)),
        "val/b": (steps, np.array([np.nan, 1.0, 2.0])),
        "val/c": (steps, steps * np.nan),
    }
    found = panels(log, [CurvePanel("A", {"train/a": "a"}), CurvePanel("B", {"val/b": "b", "val/c": "c"})])
    assert [(each.heading, list(each.curves)) for each in found] == [("B", ["b"])]
