"""Start of a sweep: its lock, what it keeps for a later command, and the shares of the machine."""

import argparse
import os

import pytest
from ends import last_words
from light_sweeps import GRID, ends, events, sweep, write_sweep

from vision_suite.cli.commands.sweep import _devices, _settings
from vision_suite.sweeps.events import TrialEvents
from vision_suite.sweeps.folder import locked
from vision_suite.sweeps.launch import environment_of, slots
from vision_suite.sweeps.settings import parse_sweep


def test_nothing_is_written_before_the_lock(tmp_path):
    """Another command has the folder and has not yet written its first event."""
    write_sweep(tmp_path)
    folder = tmp_path / "runs/sweeps/light"
    with locked(folder):
        done = sweep(tmp_path, "run", "light.yaml")
    assert done.returncode == 2
    assert f"process {os.getpid()}" in last_words(done)
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_flags_are_kept_for_a_later_command(tmp_path):
    light, none = parse_sweep(GRID), argparse.Namespace(seed=None, count=None, retries=None)

    def settings(given):
        return _settings(given, light, TrialEvents(tmp_path / "trials.jsonl"))

    assert settings(none) == {"seed": 1, "count": None, "retries": 0}
    assert settings(argparse.Namespace(seed=3, count=5, retries=2)) == {"seed": 3, "count": 5, "retries": 2}
    assert settings(none) == {"seed": 3, "count": 5, "retries": 2}
    assert settings(argparse.Namespace(seed=None, count=None, retries=0))["retries"] == 0


@pytest.mark.parametrize(("devices", "per_trial", "idle"), [("0,1,2", 2, "so 2 stays idle"), ("0,1,2,3", 2, "")])
def test_idle_devices_are_told(devices, per_trial, idle, capsys):
    found = _devices(argparse.Namespace(devices=devices, slots=None, per_trial=per_trial))
    assert found == devices.split(",")
    err = capsys.readouterr().err
    assert (idle in err) if idle else not err


@pytest.mark.parametrize(("count", "threads"), [(1, "8"), (3, "2"), (16, "1")])
def test_trials_share_the_cores(count, threads, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    shares = slots(count, [], 1)
    assert len(shares) == count
    assert {environment_of(tmp_path, share)["OMP_NUM_THREADS"] for share in shares} == {threads}
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert environment_of(tmp_path, slots(count, [], 1)[0])["OMP_NUM_THREADS"] == "5", "the user's own"


def test_no_more_trials_at_once_than_slots(tmp_path):
    write_sweep(tmp_path, parameters={"x": {"min": 1, "max": 5}, "pause": {"value": 0.2}})
    done = sweep(tmp_path, "run", "light.yaml", "--slots=2")
    assert done.returncode == 0, done.stderr
    running, most = 0, 0
    for event in events(tmp_path):
        running += (event["event"] == "start") - (event["event"] == "end")
        most = max(most, running)
    assert most == 2
    assert len(ends(tmp_path)) == 5
