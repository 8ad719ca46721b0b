"""DCAL killed in mid-epoch and resumed ends in the weights and losses of an uninterrupted run, bit for bit."""

import csv
import os
import signal
import subprocess
import sys

import pytest
import torch
import yaml
from folders import SUPPORT
from long_tests import long
from synthetic import write_market

from vision_suite.cli import main

CONFIG = {
    "seed_everything": 3,
    "trainer": {
        "accelerator": "cpu",
        "max_epochs": 3,
        "log_every_n_steps": 1,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "logger": {
            "class_path": "CSVLogger",
            "init_args": {"save_dir": "runs", "name": "dcal", "flush_logs_every_n_steps": 1},
        },
        # Also a checkpoint of every step, to resume in the middle of an epoch.
        "callbacks": [
            {
                "class_path": "ModelCheckpoint",
                "init_args": {"every_n_train_steps": 1, "save_top_k": -1, "filename": "{step}"},
            }
        ],
    },
    "model": {
        "class_path": "LitDCAL",
        "init_args": {
            "backbone": "vit_micro_conv8_64",
            "image_size": [32, 32],
            "backbone_args": {"depth": 2, "embed_dim": 48, "num_heads": 3},
            "drop_path": 0.2,
        },
    },
    "data": {
        "class_path": "ReIDData",
        "init_args": {
            "root": "market",
            "image_size": [32, 32],
            "batch_size": 8,
            "num_instances": 2,
            "cache": "memory",
        },
    },
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))
    write_market(tmp_path / "market", train_ids=8, test_ids=2, cameras=2, shots=3, size=(32, 32))
    (tmp_path / "dcal.yaml").write_text(yaml.safe_dump(CONFIG))
    return tmp_path


def losses(*files):
    """Training losses by step, as written; a later file wins where two hold the same step."""
    found = {}
    for file in files:
        with file.open(newline="") as lines:
            found |= {int(row["step"]): row["train/loss"] for row in csv.DictReader(lines) if row["train/loss"]}
    return found


def weights(folder):
    contents = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    return contents["state_dict"], contents["optimizer_states"][0]["state"]


@pytest.mark.slow
@pytest.mark.parametrize("resume_from", [long("last"), "middle"])
def test_killed_and_resumed_equals_uninterrupted(place, resume_from):
    assert main(["fit", "-c", "dcal.yaml", "--trainer.default_root_dir=whole", "--trainer.logger.save_dir=whole"]) == 0
    whole = place / "whole/dcal/version_0"
    reference = losses(whole / "metrics.csv")
    steps = len(reference) // 3
    assert steps >= 4
    kill_at = steps + steps // 2  # in the middle of the second epoch
    killer = ["--trainer.callbacks+=killer.KillBeforeStep", f"--trainer.callbacks.step={kill_at}"]
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "vision_suite", "fit", "-c", "dcal.yaml", *killer]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    killed = place / "runs/dcal/version_0"
    checkpoint = "last" if resume_from == "last" else str(killed / f"checkpoints/step={kill_at}.ckpt")
    # A continued run keeps its own configuration, in which the killer stands.
    disarmed = ["--trainer.callbacks.step=-1"] if resume_from == "last" else []
    assert main(["fit", "-c", "dcal.yaml", "--ckpt_path", checkpoint, *disarmed]) == 0
    resumed = killed if resume_from == "last" else place / "runs/dcal/version_1"
    before = killed / ("metrics-1.csv" if resume_from == "last" else "metrics.csv")
    assert losses(before, resumed / "metrics.csv") == reference
    assert min(losses(resumed / "metrics.csv")) == (steps if resume_from == "last" else kill_at)
    for ours, theirs in zip(weights(resumed), weights(whole), strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            parts = value.items() if isinstance(value, dict) else [(name, value)]
            for part, tensor in parts:
                other = theirs[name][part] if isinstance(value, dict) else theirs[name]
                assert torch.equal(tensor, other), f"{name} {part}"
