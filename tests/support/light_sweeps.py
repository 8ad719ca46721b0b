"""Sweeps whose trials are light programs, run as a user runs them, for tests of what goes on around the trials."""

import json
import os
import signal
import subprocess
import sys
import time

import yaml
from folders import SUPPORT

PROGRAM = str(SUPPORT / "sweep_trial.py")
GRID = {
    "name": "light",
    "method": "grid",
    "metric": {"name": "loss"},
    "program": PROGRAM,
    "parameters": {"x": {"values": [0.1, 0.2, 0.3, 0.4]}, "steps": {"value": 3}, "pause": {"value": 0.0}},
}


def write_sweep(folder, **entries):
    """Write ``light.yaml``; entries replace those of `GRID`, parameters one by one."""
    parameters = {**GRID["parameters"], **entries.pop("parameters", {})}
    (folder / "light.yaml").write_text(yaml.safe_dump({**GRID, **entries, "parameters": parameters}))


def start(folder, *argv):
    """Start ``vision-suite sweep`` in a folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "vision_suite", "sweep", *argv],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def sweep(folder, *argv):
    """Run ``vision-suite sweep`` to its end."""
    process = start(folder, *argv)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def events(folder, name="light"):
    """Events of a sweep; a torn last line is left out."""
    text = (folder / f"runs/sweeps/{name}/trials.jsonl").read_text()
    return [json.loads(line) for line in text.rpartition("\n")[0].splitlines()]


def ends(folder, name="light"):
    """State of each trial's last end, by number."""
    return {event["trial"]: event["state"] for event in events(folder, name) if event["event"] == "end"}


def table(folder, name="light"):
    return (folder / f"runs/sweeps/{name}/table.csv").read_text()


def processes_of(folder):
    """Numbers of living processes whose working folder is this one, the caller's own left out."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and int(entry) != os.getpid():
            try:
                state = open(f"/proc/{entry}/stat").read().rpartition(")")[2].split()[0]
                if os.readlink(f"/proc/{entry}/cwd") == os.path.realpath(folder) and state != "Z":
                    found.append(int(entry))
            except OSError:
                continue
    return found


def command_of(pid):
    """Words of a process's command; none if it is gone."""
    try:
        return open(f"/proc/{pid}/cmdline").read().split("\0")[:-1]
    except OSError:
        return []


def trials_of(folder, word=PROGRAM):
    """Numbers of the running trials' own processes, without keepers; their commands hold the word."""
    found = [(pid, command_of(pid)) for pid in processes_of(folder)]
    return [pid for pid, words in found if word in words and "keeper.py" not in str(words)]


def wait_until_none_is_left(folder, seconds=5.0):
    """Wait until no process of the sweep lives any more.

    Raises:
        AssertionError: One still does after this time.
    """
    deadline = time.monotonic() + seconds
    while left := processes_of(folder):
        assert time.monotonic() < deadline, [command_of(pid) for pid in left]
        time.sleep(0.02)


def wait_for_text(path, text, seconds=120.0):
    """Wait until a file holds a text."""
    deadline = time.monotonic() + seconds
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


def kill(process):
    """Kill a sweep's own process alone, as a full machine would, and collect it."""
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
