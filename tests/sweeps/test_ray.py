"""A sweep on Ray Tune, in a local cluster of two workers: the points and folders of a sweep without Ray."""

import json
import sys
import time
from types import SimpleNamespace

import pytest
from light_sweeps import (
    GRID,
    PROGRAM,
    ends,
    events,
    kill,
    start,
    sweep,
    table,
    trials_of,
    wait_for_text,
    wait_until_none_is_left,
    write_sweep,
)

from vision_suite.errors import MissingDependencyError
from vision_suite.runs.trial_log import NAME, append_line
from vision_suite.sweeps import cluster
from vision_suite.sweeps.events import LOG, TrialEvents
from vision_suite.sweeps.launch import KILLED, TrialEnd
from vision_suite.sweeps.settings import parse_sweep

PARAMETERS = {"x": {"min": 0.0, "max": 1.0}, "steps": {"value": 2}}


def entries(folder):
    """Files of each trial, without those that only a running one has."""
    return {
        path.name: {file.name for file in path.iterdir()} - {"keeper.json"}
        for path in sorted((folder / "runs/sweeps/light").glob("trial-*"))
        if path.is_dir()
    }


@pytest.mark.slow
@pytest.mark.dist
def test_points_and_folders_are_the_same(tmp_path):
    pytest.importorskip("ray")
    pytest.importorskip("ray.tune", reason="pip install 'vision-suite[ray]'")
    for name in ("here", "ray"):
        (tmp_path / name).mkdir()
        write_sweep(tmp_path / name, method="random", run_cap=4, parameters=PARAMETERS)
    done = sweep(tmp_path / "here", "run", "light.yaml")
    assert done.returncode == 0, done.stderr
    done = sweep(tmp_path / "ray", "run", "light.yaml", "--ray=local", "--slots=2")
    assert done.returncode == 0, done.stderr
    assert table(tmp_path / "ray") == table(tmp_path / "here")
    assert ends(tmp_path / "ray") == dict.fromkeys(range(1, 5), "finished")
    assert entries(tmp_path / "ray") == entries(tmp_path / "here")
    for number in range(1, 5):
        file = f"runs/sweeps/light/trial-{number:04d}/args.json"
        assert json.loads((tmp_path / "ray" / file).read_text()) == json.loads((tmp_path / "here" / file).read_text())
    lines = (tmp_path / "ray/ledger.txt").read_text().splitlines()
    assert len(lines) == 4, "trials run in the folder that the command was given in"
    order = [(event["event"], event["trial"]) for event in events(tmp_path / "ray") if "trial" in event]
    second = order.index(("start", 2))
    assert second < order.index(("end", 1)), "two workers at once"
    wait_until_none_is_left(tmp_path / "ray", 20)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.dist
def test_a_killed_sweep_goes_on_and_poor_trials_are_told_to_end(tmp_path):
    pytest.importorskip("ray.tune", reason="pip install 'vision-suite[ray]'")
    slow = {"steps": {"value": 60}, "pause": {"value": 0.3}, "term": {"value": 0}}
    write_sweep(
        tmp_path,
        parameters={"x": {"values": [0.3, 3.0]}, **slow},
        early_terminate={"type": "hyperband", "min_iter": 10},
    )
    flags = ("light.yaml", "--ray=local", "--slots=2")
    process = start(tmp_path, "run", *flags)
    wait_for_text(tmp_path / "runs/sweeps/light" / LOG, '"step": 1', 300)
    kill(process)
    deadline = time.monotonic() + 60
    while trials_of(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    done = sweep(tmp_path, "resume", *flags)
    assert done.returncode == 0, done.stderr
    assert ends(tmp_path) == {1: "finished", 2: "stopped"}
    words = sorted(line.split()[0] for line in (tmp_path / "ledger.txt").read_text().splitlines())
    assert words == ["end", "told"], "SIGTERM, and time to end"


def runner(folder, **entries):
    """A sweep on Ray, without Ray."""
    history = TrialEvents(folder / LOG)
    settings = {"seed": 1, "count": None, "retries": 0, "say": lambda line: None}
    return cluster.RayRunner(parse_sweep({**GRID, **entries}), folder, history, [], **settings)


def log(sweep_runner, number, *losses):
    for step, loss in enumerate(losses, start=1):
        line = {"step": step, "epoch": step, "metrics": {"loss": loss}}
        append_line(sweep_runner.folder / f"trial-{number:04d}" / NAME, json.dumps(line))


def asked(sweep_runner):
    """Names of the trials whose workers are asked to stop them."""
    return sorted(path.parent.name for path in sweep_runner.folder.glob(f"trial-*/{cluster.STOP}"))


def test_the_target_ends_running_trials(tmp_path):
    found = runner(tmp_path, metric={"name": "loss", "target": 0.1})
    assert [found.suggest(name)["number"] for name in "ab"] == [1, 2]
    log(found, 1, 1.0)
    found.told("a")
    assert asked(found) == []
    log(found, 2, 0.05)
    found.told("b")
    assert asked(found) == ["trial-0001"], "the one that reached it goes on"
    found.completed("a", TrialEnd(0, "", stopped=True))
    assert asked(found) == []
    assert found.suggest("c") is None
    found.completed("b", TrialEnd(0))
    trials = found.events.trials
    assert [(trials[number].state, trials[number].reason) for number in (1, 2)] == [
        ("stopped", "the target is reached"),
        ("finished", ""),
    ]
    assert not found.waits


def test_hyperband_ends_running_trials(tmp_path):
    found = runner(tmp_path, early_terminate={"type": "hyperband", "min_iter": 1})
    for number, name in enumerate("ab", start=1):
        found.suggest(name)
        log(found, number, float(number))
        found.told(name)
    assert asked(found) == ["trial-0002"]
    found.completed("b", cluster.end_of({"value": 0.0}))
    assert found.events.trials[2].state == "preempted", "its worker is gone, and another one takes it up"
    assert found.suggest("c")["number"] == 2
    assert asked(found) == []


def test_a_worker_asks_its_trial_to_end(tmp_path, monkeypatch):
    reports = []

    def report(metrics):
        reports.append(metrics)
        (tmp_path / cluster.STOP).touch()

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(tune=SimpleNamespace(report=report)))
    monkeypatch.setattr(cluster, "POLL_SECONDS", 0.05)
    words = [sys.executable, PROGRAM, "--steps=2000", "--pause=0.05", "--term=0"]
    given = {"folder": str(tmp_path), "working": str(tmp_path), "words": words, "number": 1, "attempt": 1}
    cluster.in_worker({**given, "metric": "loss"})
    assert (tmp_path / "ledger.txt").read_text() == "told to end: 0\n"
    assert cluster.end_of(reports[-1]) == TrialEnd(0, "", stopped=True)
    assert all(cluster.end_of(each).status == KILLED for each in reports[:-1])


def test_ray_is_asked_for_by_its_extra(monkeypatch):
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: None)
    with (
        pytest.raises(MissingDependencyError, match=r"vision-suite\[ray\]"),
        cluster._cluster("local", 2),
    ):
        raise AssertionError("it was entered")
