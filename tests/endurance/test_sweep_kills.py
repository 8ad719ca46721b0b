"""Sweeps and trials killed with SIGKILL at random moments: nothing is left over, lost or done twice."""

import contextlib
import os
import random
import signal
import time

import pytest
from endurance import moments
from light_sweeps import (
    ends,
    events,
    kill,
    start,
    sweep,
    table,
    trials_of,
    wait_until_none_is_left,
    write_sweep,
)
from long_tests import long

SEED = int(os.environ.get("SEED", "0"))
SLOW = {"pause": {"value": 0.15}, "child": {"value": 1}}
SWEEPS = {
    "grid": ({}, ["--slots=2"]),
    "random": ({"method": "random", "run_cap": 5, "parameters": {"x": {"min": 0.0, "max": 1.0}}}, ["--slots=2"]),
    # Values decide the proposals, and with several slots the order of the ends does too.
    "bayes": ({"method": "bayes", "run_cap": 6, "parameters": {"x": {"min": 0.0, "max": 1.0}}}, []),
}


def prepared(folder, method):
    folder.mkdir()
    entries, flags = SWEEPS[method]
    write_sweep(folder, **{**entries, "parameters": {**SLOW, **entries.get("parameters", {})}})
    return flags


def undisturbed(folder, method):
    """Table and duration of a sweep that nothing disturbs."""
    flags = prepared(folder, method)
    began = time.monotonic()
    done = sweep(folder, "run", "light.yaml", *flags)
    assert done.returncode == 0, done.stderr
    return table(folder), time.monotonic() - began


def check(folder, expected, told):
    """A sweep that was disturbed and came to its end equals one that was not."""
    wait_until_none_is_left(folder)
    assert table(folder) == expected, told
    proposed = [event["trial"] for event in events(folder) if event["event"] == "propose"]
    assert proposed == list(range(1, len(proposed) + 1)), told
    assert set(ends(folder).values()) == {"finished"}, told
    finished = [event["trial"] for event in events(folder) if event.get("state") == "finished"]
    assert sorted(finished) == proposed, f"{told}: a trial ended twice"
    lines = (folder / "ledger.txt").read_text().splitlines()
    whole = [line for line in lines if line.startswith("end")]
    assert len(whole) == len(set(whole)) == len(proposed), f"{told}: a point was lost, or run to its end twice"


def killed_sweeps(tmp_path, method, count):
    expected, seconds = undisturbed(tmp_path / "whole", method)
    for number, moment in enumerate(moments(count, seconds, SEED)):
        told = f"SEED={SEED}, {method}, kill {number} after {moment:.2f} of {seconds:.1f} s"
        folder = tmp_path / f"sweep{number}"
        flags = prepared(folder, method)
        process = start(folder, "run", "light.yaml", *flags)
        time.sleep(moment)
        kill(process)
        wait_until_none_is_left(folder, 5.0)
        known = (folder / "runs/sweeps/light/trials.jsonl").exists()
        done = sweep(folder, "resume" if known else "run", "light.yaml", *flags)
        assert done.returncode == 0, f"{told}\n{done.stderr}"
        check(folder, expected, told)


def killed_trials(tmp_path, method, count):
    expected, seconds = undisturbed(tmp_path / "calm", method)
    draw, struck = random.Random(SEED), 0
    for number, moment in enumerate(moments(3 * count, seconds, SEED + 1)):
        if struck == count:
            break
        told = f"SEED={SEED}, {method}, trial killed {number} after {moment:.2f} of {seconds:.1f} s"
        folder = tmp_path / f"trial{number}"
        flags = prepared(folder, method)
        process = start(folder, "run", "light.yaml", *flags)
        time.sleep(moment)
        # Half of a short sweep is the start of its process: then the first trial is the one.
        while not (victims := trials_of(folder)) and process.poll() is None:
            time.sleep(0.01)
        if victims:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(draw.choice(victims), signal.SIGKILL)
                struck += 1
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, f"{told}\n{err}"
        check(folder, expected, told)
    return struck


@pytest.mark.parametrize(("method", "count"), [("grid", 1), long("grid", 20), long("random", 20), long("bayes", 20)])
def test_a_killed_sweep_goes_on(tmp_path, method, count):
    killed_sweeps(tmp_path, method, count)


@pytest.mark.parametrize(("method", "count"), [("grid", 1), long("grid", 20), long("bayes", 20)])
def test_a_killed_trial_goes_on(tmp_path, method, count):
    struck = killed_trials(tmp_path, method, count)
    assert count == 1 or struck == count, "too many moments met no trial"
