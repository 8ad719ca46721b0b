"""Ends of one trial under its keeper: asked to end, deaf to it, or left by a keeper that was killed."""

import json
import os
import signal
import sys
import time

import pytest
from light_sweeps import (
    PROGRAM,
    command_of,
    events,
    start,
    wait_for_text,
    wait_until_none_is_left,
    write_sweep,
)

from vision_suite.runs.trial_log import NAME
from vision_suite.sweeps import keeper
from vision_suite.sweeps.launch import TrialEnd, TrialSlot, exit_of, launch

GRACE = 1.0
LOG = "runs/sweeps/light/trials.jsonl"


def launched(folder, term):
    """A long trial that works in its own folder and has begun."""
    words = [sys.executable, PROGRAM, "--steps=2000", "--pause=0.05", f"--term={term}"]
    child = launch(folder, 1, 1, words, TrialSlot(0, {}), folder)
    wait_for_text(folder / NAME, "step")
    return child


def end_of(child):
    deadline = time.monotonic() + 60
    while (end := child.ended()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return end


def test_a_trial_that_ignores_sigterm_is_killed_after_the_grace(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "GRACE", GRACE)
    child = launched(tmp_path, "ignore")
    began = time.monotonic()
    child.ask_to_end()
    child.ask_to_end()
    assert end_of(child) == TrialEnd(-signal.SIGKILL, "", stopped=True)
    assert time.monotonic() - began >= GRACE
    assert (tmp_path / "ledger.txt").read_text() == "told to end: ignore\n", "once"


@pytest.mark.parametrize("status", [0, 3])
def test_a_trial_that_was_asked_to_end_was_stopped_whatever_its_status(status, tmp_path):
    child = launched(tmp_path, status)
    child.ask_to_end()
    assert end_of(child) == TrialEnd(status, "", stopped=True)


def test_a_trial_that_ends_with_an_interrupted_sweep_has_no_end_of_its_own(tmp_path):
    child = launched(tmp_path, 0)
    child.ask_to_end(keeper.LEAVE)
    child.process.wait(timeout=60)
    assert (tmp_path / "ledger.txt").read_text() == "told to end: 0\n"
    assert exit_of(tmp_path, 1) is None


def test_nothing_is_left_of_a_trial_whose_keeper_was_killed(tmp_path):
    """Its worker has a session of its own, and the sweep goes on."""
    slow = {"steps": {"value": 8}, "pause": {"value": 0.2}, "child": {"value": 1}}
    write_sweep(tmp_path, parameters={"x": {"value": 0.1}, **slow})
    process = start(tmp_path, "run", "light.yaml")
    wait_for_text(tmp_path / LOG, '"step": 1')
    worker = int((tmp_path / "ledger.txt").read_text().split()[1])
    assert command_of(worker)
    os.kill(json.loads((tmp_path / "runs/sweeps/light/trial-0001/keeper.json").read_text())["pid"], signal.SIGKILL)
    wait_for_text(tmp_path / LOG, '"attempt": 2')
    assert not command_of(worker)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    found = [(event["state"], event["reason"]) for event in events(tmp_path) if event["event"] == "end"]
    assert found == [("preempted", "killed together with its keeper"), ("finished", "")]
    wait_until_none_is_left(tmp_path)
