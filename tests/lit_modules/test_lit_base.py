"""The parts that all Lightning modules share: what is collected is scored, logged and emptied, stage by stage."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchmetrics import SumMetric

from vision_suite.errors import DataError
from vision_suite.lit_modules.base import LitBase, PerStage, datamodule_of
from vision_suite.optim import OptimConfig
from vision_suite.types import Report

VALUES = {"val": [1.0, 2.0, 4.0], "test": [8.0, 16.0]}


class Adder(LitBase):
    """Sums its batches; a sum of zero cannot be scored."""

    def __init__(self):
        super().__init__(OptimConfig(schedule="constant"))
        self.model = nn.Linear(1, 1)
        self.sums = PerStage({stage: SumMetric() for stage in ("val", "test")})
        self.emptied = []

    def training_step(self, batch, batch_idx):
        return self.model(batch[:, None]).sum()

    def validation_step(self, batch, batch_idx):
        self.sums["val"].update(batch)

    def test_step(self, batch, batch_idx):
        self.sums["test"].update(batch)

    def make_report(self, stage):
        total = float(self.sums[stage].compute())
        if total == 0:
            raise DataError("nothing but zeros")
        return Report({"total": total}, {"stage": stage})

    def reset_collected(self, stage):
        super().reset_collected(stage)
        self.emptied.append(stage)


class Data(pl.LightningDataModule):
    def __init__(self, val=tuple(VALUES["val"]), test=tuple(VALUES["test"])):
        super().__init__()
        self.val, self.test = val, test

    def train_dataloader(self):
        return DataLoader(torch.zeros(2))

    def val_dataloader(self):
        return DataLoader(torch.tensor(self.val))

    def test_dataloader(self):
        return DataLoader(torch.tensor(self.test))


def trainer(folder, **settings):
    usual = {"max_epochs": 1, "num_sanity_val_steps": 2, "enable_checkpointing": False, "logger": False}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(accelerator="cpu", devices=1, default_root_dir=folder, **{**usual, **quiet, **settings})


def test_each_stage_is_scored_logged_and_emptied_by_itself(tmp_path):
    module, run = Adder(), trainer(tmp_path, max_epochs=2)
    run.fit(module, Data())
    assert float(run.callback_metrics["val/total"]) == 7, "neither the sanity check nor the epoch before is in it"
    assert module.emptied == ["val", "val", "val"], "the sanity check and two epochs"
    assert module.report.protocol == {"stage": "val"}
    (logged,) = run.test(module, Data(), verbose=False)
    assert logged == {"test/total": 24.0}
    assert module.report.metrics == {"total": 24.0}


def test_only_a_run_to_try_every_step_excuses_data_that_cannot_be_scored(tmp_path):
    nothing = Data(val=(0.0,), test=(0.0,))
    module = Adder()
    with pytest.raises(DataError, match="nothing but zeros"):
        trainer(tmp_path).test(module, nothing, verbose=False)
    with pytest.warns(UserWarning, match=r"fast_dev_run: test is not scored \(nothing but zeros\)"):
        trainer(tmp_path, fast_dev_run=True).test(module, nothing, verbose=False)
    assert module.report is None
    assert module.emptied == ["test"], "the run that failed left its batches"


def test_a_module_without_a_report_scores_nothing(tmp_path):
    class Plain(Adder):
        make_report = LitBase.make_report

    run = trainer(tmp_path)
    run.fit(Plain(), Data())
    assert set(run.callback_metrics) == set()


def test_the_data_of_the_run(tmp_path):
    module, data, run = Adder(), Data(), trainer(tmp_path)
    run.test(module, DataLoader(torch.tensor([1.0])), verbose=False)
    assert module.data is None
    assert datamodule_of(run) is None
    run.test(module, data, verbose=False)
    assert module.data is data
