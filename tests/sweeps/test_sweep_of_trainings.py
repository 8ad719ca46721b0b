"""A sweep of real trainings: run folders, values of validations, a killed trial that goes on from its checkpoint."""

import json
import os
import signal

import pytest
import yaml
from light_sweeps import events, kill, start, sweep, table, trials_of, wait_for_text, wait_until_none_is_left

from vision_suite.runs.record import read_run

SWEEP = {
    "name": "real",
    "method": "grid",
    "metric": {"name": "val/nats_per_fixation"},
    "parameters": {"model.optim.lr": {"values": [0.001, 0.004]}},
    "command": [
        "${env}", "vision-suite", "fit", "--config", "oat/grid", "--trainer.accelerator=cpu", "--trainer.max_epochs=4",
        "--data.train_scenes=64", "--data.num_workers=0", "--model.samples=1", "${args}",
    ],
}  # fmt: skip
LOG = "runs/sweeps/real/trials.jsonl"


def prepared(folder):
    folder.mkdir()
    (folder / "real.yaml").write_text(yaml.safe_dump(SWEEP))
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = prepared(tmp_path_factory.mktemp("real") / "whole")
    done = sweep(folder, "run", "real.yaml")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.long
@pytest.mark.slow
def test_a_trial_is_an_ordinary_run(undisturbed):
    for number in (1, 2):
        folder = undisturbed / f"runs/sweeps/real/trial-{number:04d}"
        run = read_run(folder)
        assert run.status == "finished"
        assert run.experiment == "oat/grid"
        assert run.best is not None
        assert (folder / "metrics.csv").is_file()
        config = yaml.safe_load((folder / "config.yaml").read_text())
        args = json.loads((folder / "args.json").read_text())
        assert config["model"]["init_args"]["optim"]["lr"] == args["model.optim.lr"]
    values = [event for event in events(undisturbed, "real") if event["event"] == "value"]
    assert [(event["trial"], event["epoch"]) for event in values] == [(n, e) for n in (1, 2) for e in range(4)]
    assert not (undisturbed / "runs/oat").exists()


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("victim", ["trial", "sweep"])
def test_a_killed_trial_goes_on_from_its_checkpoint(undisturbed, tmp_path, victim):
    folder = prepared(tmp_path / victim)
    process = start(folder, "run", "real.yaml")
    wait_for_text(folder / LOG, '"epoch": 1', 600)
    if victim == "trial":
        os.kill(trials_of(folder, "fit")[0], signal.SIGKILL)
        process.communicate(timeout=900)
        assert process.returncode == 0
    else:
        kill(process)
        wait_until_none_is_left(folder)
        assert sweep(folder, "resume", "real.yaml").returncode == 0
    starts = [(event["trial"], event["resumes"]) for event in events(folder, "real") if event["event"] == "start"]
    assert starts == [(1, False), (1, True), (2, False)]
    assert table(folder, "real") == table(undisturbed, "real"), "bit for bit"
