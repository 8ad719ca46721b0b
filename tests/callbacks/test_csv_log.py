"""The CSV log against Lightning's own, and runs that are killed at random moments against one that is not."""

import csv
import errno
import os
import random
import re
import signal
import time
from pathlib import Path

import children
import lit_training
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from synthetic import write_market

from vision_suite.callbacks.csv_log import CSVLog, LogKeeper, RowWriter, kept
from vision_suite.runs.log import read_log

STEPS = 4  # of an epoch


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_file_is_that_of_lightnings_logger(tmp_path):
    loggers = [kind(tmp_path / kind.__name__, name="x", version=0) for kind in (CSVLogger, CSVLog)]
    values = [{"a/b": 1.0}, {"a/b": float("nan")}, {"c": torch.tensor(3), "a/b": 2}, {"d": 1e-30}, {"c": float("inf")}]
    for logger in loggers:
        for step, metrics in enumerate(values):
            logger.log_metrics(metrics, step)
            logger.save()
        logger.finalize("success")
    one, two = (Path(logger.log_dir, "metrics.csv").read_bytes() for logger in loggers)
    assert one == two


def test_a_row_logged_again_is_there_once(tmp_path):
    log = CSVLog(tmp_path, version=0)
    for value in (1.0, 1.0, float("nan"), float("nan"), 1.0):
        log.log_metrics({"a": value}, 3)
        log.save()
    log.log_metrics({"a": 1.0}, 4)
    log.save()
    assert [row["a"] for row in rows(Path(log.log_dir, "metrics.csv"))] == ["1.0", "nan", "1.0", "1.0"]


def test_an_earlier_file_stays_until_there_is_something_to_write(tmp_path):
    folder = tmp_path / "lightning_logs/version_0"
    for part in ("first", "second", "third"):
        log = CSVLog(tmp_path, version=0)
        log.log_hyperparams({"part": part})
        before = sorted(path.name for path in folder.glob("*.csv"))
        log.log_metrics({part: 1.0}, 0)
        log.save()
    assert before == ["metrics-1.csv", "metrics.csv"]
    assert [min(rows(folder / f"metrics{n}.csv")[0]) for n in ("-1", "-2", "")] == ["first", "second", "step"]


def test_a_full_disk_leaves_whole_lines_and_loses_no_row(tmp_path, monkeypatch):
    log = CSVLog(tmp_path, version=0)
    log.log_metrics({"a": 1.0}, 0)
    log.save()
    path = Path(log.log_dir, "metrics.csv")
    opened = Path.open

    def half(self, *args, **kwargs):
        file = opened(self, *args, **kwargs)
        if args[0] != "r+b":
            return file

        class Full:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                file.close()

            def __getattr__(self, name):
                return getattr(file, name)

            def write(self, data):
                file.write(data[: len(data) // 2])
                raise OSError(errno.ENOSPC, "No space left on device")

        return Full()

    log.log_metrics({"a": 2.0}, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", half)
        with pytest.raises(OSError, match="No space"):
            log.save()
    assert not path.read_bytes().endswith(b"\n")
    np.testing.assert_array_equal(read_log(path.parent)["a"], [[0], [1]])
    log.log_metrics({"a": 3.0}, 2)
    log.save()
    assert [row["a"] for row in rows(path)] == ["1.0", "2.0", "3.0"]


def test_a_full_disk_does_not_hide_how_a_run_failed(tmp_path, monkeypatch):
    def full(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    log = CSVLog(tmp_path, version=0)
    log.log_metrics({"a": 1.0}, 0)
    monkeypatch.setattr(RowWriter, "save", full)
    with pytest.warns(UserWarning, match="last rows of metrics.csv are not written"):
        log.finalize("failed")
    with pytest.raises(OSError, match="No space"):
        log.finalize("success")


def test_a_line_with_more_fields_than_columns_is_read(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,step,x\n0,0,1\n0,1,2,3,4\n")
    np.testing.assert_array_equal(read_log(tmp_path)["x"], [[0, 1], [1, 2]])


def test_a_new_column_replaces_the_file_in_one_step(tmp_path, monkeypatch):
    log = CSVLog(tmp_path, version=0)
    log.log_metrics({"a": 1.0}, 0)
    log.save()
    path = Path(log.log_dir, "metrics.csv")
    good = path.read_bytes()

    def killed(source, target):
        raise KeyboardInterrupt

    log.log_metrics({"b": 1.0}, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            log.save()
    assert path.read_bytes() == good
    log.save()
    assert [(row["a"], row["b"]) for row in rows(path)] == [("1.0", ""), ("", "1.0")]


def test_kept_replaces_lightnings_csv_loggers_alone(tmp_path):
    log, board = CSVLogger(tmp_path, "n", 3, "p", 7), TensorBoardLogger(tmp_path)
    one, two = kept([log, board])
    assert type(one) is CSVLog
    assert (one.log_dir, one._prefix, one._flush_logs_every_n_steps) == (log.log_dir, "p", 7)
    assert two is board
    assert kept(True) is True
    own = CSVLog(tmp_path)
    assert kept(own) is own
    assert type(kept(CSVLogger("memory://logs"))) is CSVLogger


def fit(root, folder, seconds=None):
    """Train, or go on from the newest checkpoint that can be read; a timer kills the process if told."""
    folder = Path(folder)
    pl.seed_everything(5, verbose=False)
    data = lit_training.market_data(root)
    step = lambda path: int(re.search(r"(\d+)", path.stem)[1])  # noqa: E731
    resume = None
    for path in sorted((folder / "keep").glob("*.ckpt"), key=step, reverse=True):
        try:
            torch.load(path, weights_only=True)
        except Exception:  # cut off by the kill
            continue
        resume = path
        break
    keep = {"save_top_k": -1, "enable_version_counter": False}
    trainer = pl.Trainer(
        **lit_training.QUIET, logger=CSVLog(folder, name="", version="log"), log_every_n_steps=1, max_epochs=3,
        num_sanity_val_steps=0, callbacks=[
            LogKeeper(), ModelCheckpoint(folder / "keep", "s{step}", every_n_train_steps=5, **keep),
            ModelCheckpoint(folder / "keep", "s{step}", save_on_train_epoch_end=True, **keep),
        ],
    )  # fmt: skip
    started = time.perf_counter()
    if seconds is not None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)
    trainer.fit(lit_training.module(data.num_classes), datamodule=data, ckpt_path=resume)
    signal.setitimer(signal.ITIMER_REAL, 0)
    (folder / "seconds").write_text(str(time.perf_counter() - started))


@pytest.mark.long
def test_killed_at_random_moments_the_log_is_that_of_an_uninterrupted_run(tmp_path):
    root = write_market(tmp_path / "market", train_ids=6, test_ids=3, val_ids=3)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    assert children.run(fit, root, tmp_path / "whole") == [0]
    seconds = float((tmp_path / "whole/seconds").read_text())
    draw = random.Random(7)
    kills = 0
    while children.run(fit, root, tmp_path / "killed", draw.uniform(0.1, 0.9) * seconds if kills < 12 else None) != [0]:
        kills += 1
    one, two = (read_log(tmp_path / name / "log") for name in ("whole", "killed"))
    assert kills >= 2
    assert len(one["train/loss"][0]) == 3 * STEPS
    assert len(one["val/mAP"][0]) == 3
    assert one.keys() == two.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], two[key], err_msg=key)


class DieAt(Callback):
    """Dies right behind the checkpoint of a step, before Lightning logs the step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        # Checkpoints come last, so this one writes its own.
        if trainer.global_step == self.step:
            trainer.save_checkpoint(Path(trainer.logger.log_dir, "die.ckpt"))
            os._exit(9)


def die(root, folder, step, resume=None):
    pl.seed_everything(5, verbose=False)
    data = lit_training.market_data(root)
    trainer = pl.Trainer(
        **lit_training.QUIET, logger=CSVLog(folder, name="", version="log"), log_every_n_steps=1, max_epochs=1,
        num_sanity_val_steps=0, limit_val_batches=0, callbacks=[LogKeeper(), DieAt(step)], enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(lit_training.module(data.num_classes), datamodule=data, ckpt_path=resume)


def test_a_step_is_logged_before_its_checkpoint(tmp_path):
    root = write_market(tmp_path / "market", train_ids=6, test_ids=3, val_ids=3)
    assert children.run(die, root, tmp_path, 2) == [9]
    assert [row["step"] for row in rows(tmp_path / "log/metrics.csv")] == ["0", "1"]
    assert children.run(die, root, tmp_path, 99, resume=str(tmp_path / "log/die.ckpt")) == [0]
    log = rows(tmp_path / "log/metrics.csv")
    assert [(row["step"], bool(row["train/loss"])) for row in log] == [("2", False), ("2", True), ("3", True)]
    assert list(read_log(tmp_path / "log")["train/loss"][0]) == [0, 1, 2, 3]


def test_later_parts_replace_the_steps_that_they_repeat(tmp_path):
    (tmp_path / "metrics-1.csv").write_text("epoch,step,val/a,x\n0,0,,1\n0,1,5,2\n0,2,,3\n0,4,7,\n0,5,,9\n0,6,,9")
    assert list(read_log(tmp_path)["x"][0]) == [0, 1, 2, 5], "the last line is cut off"
    (tmp_path / "metrics.csv").write_text("epoch,step,val/a,x\n0,2,,\n0,2,,30\n0,3,,40\n")  # resumed at step 2
    log = read_log(tmp_path)
    np.testing.assert_array_equal(log["x"], [[0, 1, 2, 3], [1, 2, 30, 40]])
    np.testing.assert_array_equal(log["val/a"], [[1], [5]])
    (tmp_path / "metrics-2.csv").write_text("epoch,step,x\n0,1,20\n")  # of an older version, without the mark
    np.testing.assert_array_equal(read_log(tmp_path)["val/a"], [[1], [5]])
    (tmp_path / "metrics.csv").write_text("")
    np.testing.assert_array_equal(read_log(tmp_path)["x"], [[0, 1], [1, 20]])
