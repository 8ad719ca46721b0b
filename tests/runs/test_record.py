"""What a run's folder tells."""

import json
import os
import subprocess
import sys

import pytest

from vision_suite.runs.record import RunFile, process_identity, read_run, slurm_job


def record(**entries):
    return {
        "command": "fit",
        "command_line": ["vision-suite", "fit"],
        "status": "running",
        "started": "2026-01-01",
        **entries,
    }


def checkpoint(folder, name, time):
    path = folder / "checkpoints" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (time, time))
    return path


def test_a_record_is_read_as_it_was_written(tmp_path):
    file = RunFile(tmp_path, record(experiment="dcal/x", seed=3), "a: 1\n")
    file.update({"status": "finished", "epoch": 4, "best": "checkpoints/b.ckpt"})
    run = read_run(tmp_path)
    assert (run.experiment, run.status, run.record["epoch"], run.record["seed"]) == ("dcal/x", "finished", 4, 3)
    assert run.config.read_text() == "a: 1\n"
    assert run.best == tmp_path / "checkpoints/b.ckpt"
    assert str(run) == f"{tmp_path} (finished, epoch 4)"


def test_a_second_command_leaves_the_first_record_alone(tmp_path):
    RunFile(tmp_path, record(status="stopped", epoch=1), "first")
    RunFile(tmp_path, record(status="finished", epoch=2), "second")
    RunFile(tmp_path, record(command="test", status="failed"), "third")
    run = read_run(tmp_path)
    assert (run.status, run.record["epoch"], run.config.read_text()) == ("finished", 2, "second")
    assert json.loads((tmp_path / "run.json").read_text())["epoch"] == 1
    assert (tmp_path / "config-3.yaml").read_text() == "third"


def test_only_training_runs_count(tmp_path):
    RunFile(tmp_path / "x", record(command="test"), "") if (tmp_path / "x").mkdir() else None
    RunFile(tmp_path / "x", record(command="test"), "")
    checkpoint(tmp_path / "x", "last.ckpt", 1)
    assert read_run(tmp_path / "x") is None
    assert read_run(tmp_path / "nowhere") is None


def test_runs_of_earlier_versions(tmp_path):
    """They called the command the stage, and kept the command line and the checkpoint used under other names."""
    old = {
        "stage": "fit",
        "started": "2025-05-05T10:00:00+00:00",
        "command": ["vision-suite", "fit"],
        "checkpoint": None,
    }
    (tmp_path / "run.json").write_text(json.dumps(old))
    (tmp_path / "config.yaml").touch()
    last = checkpoint(tmp_path, "last.ckpt", 5)
    run = read_run(tmp_path)
    assert (run.experiment, run.status, run.checkpoints(), run.config.name) == (None, "unknown", [last], "config.yaml")
    (tmp_path / "run.json").write_text(json.dumps({**old, "stage": "test"}))
    assert read_run(tmp_path) is None
    (tmp_path / "run.json").unlink()
    assert read_run(tmp_path).checkpoints() == [last]


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"command": "fi', "[" * 100_000])
def test_a_torn_record_counts_as_missing(tmp_path, text):
    RunFile(tmp_path, record(epoch=1), "")
    (tmp_path / "run-2.json").write_text(text)
    assert read_run(tmp_path).record["epoch"] == 1


def test_checkpoints_from_the_recorded_to_the_oldest(tmp_path):
    files = [checkpoint(tmp_path, name, time) for name, time in (("a.ckpt", 3), ("last.ckpt", 1), ("b.ckpt", 2))]
    checkpoint(tmp_path, "last.ckpt.draft", 9)
    a, last, b = files
    file = RunFile(tmp_path, record(checkpoint=None), "")
    assert read_run(tmp_path).checkpoints() == [last, a, b]
    file.update({"checkpoint": file.relative(b)})
    assert read_run(tmp_path).checkpoints() == [b, last, a]
    b.unlink()
    assert read_run(tmp_path).checkpoints() == [last, a]


def test_a_moved_folder_takes_its_checkpoints_along(tmp_path):
    (tmp_path / "old").mkdir()
    file = RunFile(tmp_path / "old", record(), "")
    file.update({"checkpoint": file.relative(checkpoint(tmp_path / "old", "last.ckpt", 1))})
    (tmp_path / "old").rename(tmp_path / "new")
    assert read_run(tmp_path / "new").checkpoints() == [tmp_path / "new/checkpoints/last.ckpt"]


def test_a_killed_process_is_told_from_a_running_one(tmp_path):
    RunFile(tmp_path, record(process=process_identity()), "")
    assert read_run(tmp_path).is_alive
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    RunFile(tmp_path, record(process=process_identity(child.pid)), "")
    assert read_run(tmp_path).status == "running"
    child.kill()
    child.wait()
    assert read_run(tmp_path).status == "killed"
    # Another process of the same number began at another time.
    RunFile(tmp_path, record(process={**process_identity(), "start": "1"}), "")
    assert not read_run(tmp_path).is_alive


def test_the_job_of_an_array_has_its_task(monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    assert slurm_job() is None
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert slurm_job() == "12"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "10")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert slurm_job() == "10_2"
