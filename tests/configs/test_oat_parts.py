"""Configurations of OAT on data that need no download train a step and are tested; parts of other data build."""

import csv
import json

import pytest
import torch
import yaml

from vision_suite.callbacks.run_dir import run_dir
from vision_suite.cli import main
from vision_suite.cli.commands.train import run
from vision_suite.cli.configs import named_configs
from vision_suite.types import ScanpathReport


@pytest.mark.long
def test_the_grid_search_trains_and_is_reported(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["--data.train_scenes=64", "--data.validation_scenes=4", "--data.test_scenes=6", "--model.samples=2"]
    small += ["--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.accelerator=cpu"]
    small += ["--trainer.enable_model_summary=false", "--trainer.enable_progress_bar=false"]
    cli = run(["fit", "-c", "oat/grid", *small])
    assert cli.trainer.global_step == 1
    assert torch.isfinite(cli.trainer.callback_metrics["val/nats_per_fixation"])
    cli = run(["test", "-c", "oat/grid", "--ckpt_path", "last", *[s for s in small if s != "--model.samples=2"]])
    assert isinstance(cli.model.report, ScanpathReport)
    assert cli.model.samples == 2, "from the checkpoint"
    folder = run_dir(cli.trainer) / "test"
    assert {"metrics.json", "scanpaths.json", "scores.csv", "per_trial.csv", "hit_curve.png"} <= {
        entry.name for entry in folder.iterdir()
    }
    assert len(json.loads((folder / "scanpaths.json").read_text())["trials"]) == 6
    assert len(list(csv.DictReader((folder / "per_trial.csv").open()))) == 6
    said = capsys.readouterr().out
    assert "ceiling" in said, "the protocol stands beside the table"
    assert "people" in said


@pytest.mark.parametrize("data", ["amazon_covers", "coco_search18", "coco_freeview"])
def test_parts_of_data_build_a_run(data, capsys):
    with pytest.raises(SystemExit) as leave:
        main(["fit", "--model", "LitOAT", "--data", data, "--print_config"])
    assert not leave.value.code
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["data"]["init_args"]["dataset"] == data
    assert "max_length" not in printed["model"]["init_args"], "the data decide"


def test_every_configuration_of_oat_names_its_data():
    for name, path in named_configs().items():
        if name.startswith("oat/"):
            assert path.read_text(encoding="utf-8").startswith("# "), "the line that `vision-suite configs` shows"
