"""Scanpaths on two gloo processes: the numbers and paths of one, whatever process saw which trial."""

import json
from pathlib import Path

import children
import pytest
import pytorch_lightning as pl
from oat_data import lit, searches, table_lit

from vision_suite.datasets.scanpath.grid import GridScanpathData

pytestmark = pytest.mark.dist


def work(folder, devices):
    """A test, a training step and its validation; what came out, by rank."""
    pl.seed_everything(4, verbose=False)
    # 7 trials in batches of 2: dealt out to two, one comes twice.
    grid = GridScanpathData(train_scenes=8, validation_scenes=5, test_scenes=7, batch_size=2, eval_batch_size=2, seed=1)
    more = {"strategy": "ddp"} if devices > 1 else {}
    trainer = pl.Trainer(
        accelerator="cpu", devices=devices, default_root_dir=str(folder), logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, max_epochs=1,
        limit_train_batches=1, num_sanity_val_steps=0, **more,
    )  # fmt: skip
    module = lit(samples=3)
    (tested,) = trainer.test(module, grid, verbose=False)
    trials = [[sample["objects"] for sample in trial["samples"]] for trial in module.report.trials]
    # A part of a batch without durations or targets must leave no process without a gradient.
    split = searches(Path(folder, "set"), ready=True)
    every = table_lit(split, background=True, conditions=True, duration=True, target_token="given")
    trainer.fit(every, split)
    found = {"tested": tested, "trials": trials, "val": float(trainer.callback_metrics["val/nats_per_fixation"])}
    Path(folder, f"rank{trainer.global_rank}.json").write_text(json.dumps(found))


def test_two_processes_equal_one(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        searches(tmp_path / name / "set")
    assert children.run(work, tmp_path / "one", 1) == [0]
    assert children.run(work, tmp_path / "two", 2, ranks=2) == [0, 0]
    alone = json.loads((tmp_path / "one/rank0.json").read_text())
    zero, one = (json.loads((tmp_path / f"two/rank{rank}.json").read_text()) for rank in (0, 1))
    assert len(alone["trials"]) == 7
    assert zero["trials"] == one["trials"] == alone["trials"]
    assert zero["tested"] == one["tested"]
    assert alone["tested"] == pytest.approx(zero["tested"], abs=1e-6)
    assert zero["val"] == one["val"]
