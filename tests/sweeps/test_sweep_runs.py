"""Sweeps at work: states, ends, resuming, and what a kill leaves."""

import json
import os
import shutil
import signal
import sys

import pytest
from ends import last_words
from light_sweeps import (
    ends,
    events,
    kill,
    processes_of,
    start,
    sweep,
    table,
    trials_of,
    wait_for_text,
    wait_until_none_is_left,
    write_sweep,
)

LOG = "runs/sweeps/light/trials.jsonl"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A grid of four points that ran to its end."""
    folder = tmp_path_factory.mktemp("whole")
    write_sweep(folder)
    done = sweep(folder, "run", "light.yaml")
    assert done.returncode == 0, done.stderr
    return folder


def test_a_grid_runs_to_its_end(undisturbed):
    assert ends(undisturbed) == dict.fromkeys(range(1, 5), "finished")
    rows = table(undisturbed).splitlines()
    assert rows[0] == "trial,state,loss,last,values,pause,steps,x"
    assert rows[1].startswith("3,finished,0.333"), "the best comes first"
    folder = undisturbed / "runs/sweeps/light"
    assert {"sweep.yaml", "table.md", "parallel.png", "trial-0004"} <= {path.name for path in folder.iterdir()}
    assert json.loads((folder / "trial-0001/args.json").read_text())["x"] == 0.1
    kinds = [event["event"] for event in events(undisturbed)]
    assert kinds == ["sweep"] + ["propose", "start", "value", "value", "value", "end"] * 4


def test_a_second_run_is_refused_and_a_finished_sweep_has_nothing_left(undisturbed):
    again = sweep(undisturbed, "run", "light.yaml")
    assert again.returncode == 2
    assert "sweep resume" in last_words(again)
    before = table(undisturbed)
    done = sweep(undisturbed, "resume", "light.yaml", "--slots=2")
    assert done.returncode == 0, done.stderr
    assert table(undisturbed) == before
    assert len(events(undisturbed)) == 26, "only the settings of the second command are new"


def test_a_changed_file_is_refused_with_its_keys(undisturbed, tmp_path):
    shutil.copytree(undisturbed / "runs", tmp_path / "runs")
    write_sweep(tmp_path, parameters={"x": {"values": [0.1, 0.9]}}, run_cap=3)
    done = sweep(tmp_path, "resume", "light.yaml")
    assert done.returncode == 2
    assert "(parameters.x.values, run_cap)" in last_words(done)


def test_states(tmp_path):
    """A failed trial is repeated as often as was asked for, in a new folder."""
    write_sweep(tmp_path, parameters={"x": {"value": 1}, "fail": {"values": [0, 1]}})
    done = sweep(tmp_path, "run", "light.yaml", "--retries=1", "--slots=3")
    assert done.returncode == 0, done.stderr
    assert ends(tmp_path) == {1: "finished", 2: "failed"}
    assert [event["trial"] for event in events(tmp_path) if event["event"] == "start"] == [1, 2, 2]
    assert (tmp_path / "runs/sweeps/light/trial-0002-failed-1").is_dir()


@pytest.mark.parametrize(("steps", "ends"), [(0, 3), (2, 4)])
def test_a_trial_that_gets_nowhere_fails(steps, ends, tmp_path):
    """Status 143 is that of a preempted one; without a new epoch it would go round for ever.

    The first end comes with new epochs where steps are made.
    """
    write_sweep(tmp_path, parameters={"x": {"value": 1}, "fail": {"value": 143}, "steps": {"value": steps}})
    assert sweep(tmp_path, "run", "light.yaml").returncode == 0
    found = [event for event in events(tmp_path) if event["event"] == "end"]
    assert [event["state"] for event in found] == ["preempted"] * (ends - 1) + ["failed"]
    assert "3 times with status 143" in found[-1]["reason"]


def test_three_early_failures_stop_the_sweep(tmp_path):
    write_sweep(tmp_path, parameters={"fail": {"value": 5}})
    done = sweep(tmp_path, "run", "light.yaml")
    assert done.returncode == 2
    assert "3 trials failed within the first minute" in last_words(done)
    assert list(ends(tmp_path)) == [1, 2, 3]


def test_a_metric_that_is_not_logged_fails_the_trial(tmp_path):
    write_sweep(tmp_path, metric={"name": "accuracy"}, parameters={"x": {"values": [1, 2]}})
    done = sweep(tmp_path, "run", "light.yaml")
    assert done.returncode == 0
    assert ends(tmp_path) == {1: "failed", 2: "failed"}
    assert "no value of accuracy was logged" in done.stdout


def test_a_metric_that_is_never_finite_fails_the_trial(tmp_path):
    write_sweep(tmp_path, parameters={"x": {"value": 1}, "nan": {"value": 1}})
    done = sweep(tmp_path, "run", "light.yaml")
    assert done.returncode == 0
    assert "trial 1 failed: no finite value of loss was logged" in done.stdout


def test_a_target_ends_the_sweep(tmp_path):
    write_sweep(tmp_path, metric={"name": "loss", "target": 0.334})
    assert sweep(tmp_path, "run", "light.yaml").returncode == 0
    assert list(ends(tmp_path)) == [1, 2, 3], "the third reaches it"


def test_run_cap_counts_all_starts(tmp_path):
    write_sweep(tmp_path, run_cap=3)
    assert sweep(tmp_path, "run", "light.yaml", "--count=2").returncode == 0
    assert len(ends(tmp_path)) == 2
    assert sweep(tmp_path, "resume", "light.yaml", "--count=9").returncode == 0
    assert len(ends(tmp_path)) == 3


def test_a_random_sweep_needs_an_end_and_repeats_itself(tmp_path):
    found = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        write_sweep(folder, method="random", parameters={"x": {"min": 0.0, "max": 1.0}})
        endless = sweep(folder, "run", "light.yaml")
        assert endless.returncode == 2
        assert "has no end" in last_words(endless)
        shutil.rmtree(folder / "runs")
        assert sweep(folder, "run", "light.yaml", "--count=3", f"--slots={1 + (name == 'second')}").returncode == 0
        found.append(sorted(table(folder).splitlines()))
    assert found[0] == found[1]
    xs = {row.rpartition(",")[2] for row in found[0][:3]}
    assert len(xs) == 3


@pytest.mark.parametrize("status", [0, 143])
def test_hyperband_stops_a_poor_trial(status, tmp_path):
    """A trial that ends well on SIGTERM is stopped all the same."""
    slow = {"steps": {"value": 20}, "pause": {"value": 0.3}, "term": {"value": status}}
    write_sweep(
        tmp_path,
        parameters={"x": {"values": [0.3, 3.0]}, **slow},
        early_terminate={"type": "hyperband", "min_iter": 2},
    )
    done = sweep(tmp_path, "run", "light.yaml", "--slots=2")
    assert done.returncode == 0, done.stderr
    assert ends(tmp_path) == {1: "finished", 2: "stopped"}
    last = [event["value"] for event in events(tmp_path) if event["event"] == "value" and event["trial"] == 2][-1]
    row = next(line for line in table(tmp_path).splitlines() if line.startswith("2,stopped"))
    assert float(row.split(",")[2]) == last, "its last value counts"


def test_a_torn_last_line_is_dropped_and_told(undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path / "copy")
    with (tmp_path / "copy" / LOG).open("a") as file:
        file.write('{"event": "start", "tri')
    done = sweep(tmp_path / "copy", "resume", "light.yaml")
    assert done.returncode == 0
    assert "23 bytes of a torn last line are dropped" in done.stderr
    assert table(tmp_path / "copy") == table(undisturbed)


def test_a_damaged_line_is_refused(undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path / "copy")
    path = tmp_path / "copy" / LOG
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], "{}", *lines[3:]]) + "\n")
    done = sweep(tmp_path / "copy", "resume", "light.yaml")
    assert done.returncode == 2
    assert "trials.jsonl:4" in last_words(done)


def test_a_killed_sweep_leaves_nothing_and_goes_on_elsewhere(undisturbed, tmp_path):
    """Killed in the second trial, which has a worker in a session of its own; the folder is moved, then resumed."""
    before = tmp_path / "before"
    before.mkdir()
    write_sweep(before, parameters={"pause": {"value": 0.2}, "child": {"value": 1}})
    process = start(before, "run", "light.yaml")
    wait_for_text(before / LOG, '"trial": 2, "step": 1')
    assert trials_of(before)
    kill(process)
    wait_until_none_is_left(before)
    after = tmp_path / "after"
    before.rename(after)
    done = sweep(after, "resume", "runs/sweeps/light")
    assert done.returncode == 0, done.stderr
    assert ends(after) == dict.fromkeys(range(1, 5), "finished")
    wait_until_none_is_left(after)
    cells = [row.split(",")[:5] for row in table(after).splitlines()]
    assert cells == [row.split(",")[:5] for row in table(undisturbed).splitlines()]
    assert [event["trial"] for event in events(after) if event["event"] == "start"] == [1, 2, 2, 3, 4]


def test_a_killed_trial_is_repeated(undisturbed, tmp_path):
    write_sweep(tmp_path, parameters={"pause": {"value": 0.2}})
    process = start(tmp_path, "run", "light.yaml")
    wait_for_text(tmp_path / LOG, '"trial": 2, "step": 1')
    (trial,) = trials_of(tmp_path)
    os.kill(trial, signal.SIGKILL)
    assert process.wait(timeout=120) == 0
    states = [event["state"] for event in events(tmp_path) if event["event"] == "end"]
    assert states == ["finished", "preempted", "finished", "finished", "finished"]
    cells = [row.split(",")[:5] for row in table(tmp_path).splitlines()]
    assert cells == [row.split(",")[:5] for row in table(undisturbed).splitlines()]


def test_an_interrupted_sweep_ends_its_trials(tmp_path):
    write_sweep(tmp_path, parameters={"pause": {"value": 0.5}, "steps": {"value": 1000}})
    process = start(tmp_path, "run", "light.yaml")
    wait_for_text(tmp_path / LOG, '"step": 1')
    second = sweep(tmp_path, "resume", "light.yaml")
    assert second.returncode == 2
    assert f"process {process.pid}" in last_words(second)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not processes_of(tmp_path)
    assert ends(tmp_path) == {}, "an interruption is no end of a trial"


def test_the_environment_of_a_trial(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    code = (
        "import json, os; json.dump({name: os.environ.get(name) for name in "
        "('WANDB_MODE', 'CUDA_VISIBLE_DEVICES', 'VISION_SUITE_TRIAL_LOG')}, open('env.json', 'w'))"
    )
    entries = {"method": "grid", "parameters": {"x": {"value": 1}}, "command": [sys.executable, "-c", code, "${args}"]}
    write_sweep(tmp_path, **entries)
    text = (tmp_path / "light.yaml").read_text().replace("metric:\n  name: loss\n", "")
    (tmp_path / "light.yaml").write_text(text)
    done = sweep(tmp_path, "run", "light.yaml", "--devices=4,5,6", "--per-trial=2")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "env.json").read_text())
    assert found["WANDB_MODE"] == "offline"
    assert found["CUDA_VISIBLE_DEVICES"] == "4,5"
    assert "so 6 stays idle" in done.stderr
    assert found["VISION_SUITE_TRIAL_LOG"] == str(tmp_path / "runs/sweeps/light/trial-0001/values.jsonl")


@pytest.mark.parametrize(("flags", "message"), [
    (["--devices=0", "--slots=2"], "give one of them"),
    (["--devices=0", "--per-trial=2"], "fewer than"),
    (["--devices=0,0"], "named twice"),
    (["--retries=-1"], "at least 0"),
])  # fmt: skip
def test_flags_that_contradict(flags, message, tmp_path):
    write_sweep(tmp_path)
    done = sweep(tmp_path, "run", "light.yaml", *flags)
    assert done.returncode == 2
    assert message in last_words(done)
