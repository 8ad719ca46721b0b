"""Folders of runs as the page sees them: which runs there are, their states, and what is missing or damaged."""

import json
import os
import shutil

import pytest
from run_folders import config, record, write_fit, write_log, write_metrics, write_record, write_test

from vision_suite.errors import ConfigError
from vision_suite.report.notices import notices
from vision_suite.report.page import build_page
from vision_suite.report.runs import collect
from vision_suite.runs.record import process_identity


def texts(runs, number=1):
    return [notice.text for notice in notices(runs) if notice.run == number]


def badges(run):
    return [word for word, _ in run.badges]


def test_a_whole_run_brings_no_warning(tmp_path):
    (run,) = runs = collect([write_fit(tmp_path / "version_0")])
    assert notices(runs) == []
    assert badges(run) == ["finished"]
    assert (run.title, run.name) == ("toy", "version_0")
    assert run.facts == {
        "folder": str(tmp_path / "version_0"),
        "position": "epoch 3, step 30",
        "started": "2026-05-01 10:00 UTC",
        "duration": "3 min 12 s",
        "seed": "1",
    }
    assert run.commands == [["vision-suite", "fit", "-c", "toy"]]


def test_a_folder_of_runs_gives_them_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 2, 1):
        write_fit(tmp_path / f"runs/toy/version_{number}")
    runs = collect([tmp_path / "runs/toy/version_10", tmp_path / "runs"])
    assert [(run.number, run.name) for run in runs] == [(1, "version_10"), (2, "version_1"), (3, "version_2")]


@pytest.mark.parametrize(("name", "message"), [("none", "is no folder"), ("empty", "holds no run")])
def test_a_folder_without_runs_is_refused(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=message):
        collect([tmp_path / name])


def test_tests_go_with_the_run_whose_checkpoint_they_used(tmp_path):
    first, second = (write_fit(tmp_path / f"version_{number}", seed=number) for number in (0, 1))
    write_test(tmp_path / "version_2", second, {"mAP": 0.5})
    write_test(tmp_path / "version_3", tmp_path / "elsewhere/version_9", {"mAP": 0.7})
    write_metrics(first, {"mAP": 0.4})
    one, two, alone = collect([tmp_path])
    found = [[found.metrics for _, found in run.evaluations] for run in (one, two, alone)]
    assert found == [[{"mAP": 0.4}], [{"mAP": 0.5}], [{"mAP": 0.7}]]
    assert two.facts["evaluated in"] == "version_2"
    assert badges(alone) == ["finished", "no training in this folder"]


def test_tests_still_find_their_run_after_the_folders_were_moved(tmp_path):
    training = write_fit(tmp_path / "old/toy/version_0")
    write_test(tmp_path / "old/toy/version_1", training, {"mAP": 0.5})
    shutil.move(tmp_path / "old", tmp_path / "new")
    (run,) = collect([tmp_path / "new"])
    assert len(run.evaluations) == 1


def test_a_test_is_not_given_to_a_run_of_the_same_name(tmp_path):
    """A run of that name is there, but the record leads to another one, which is not on the page."""
    write_fit(tmp_path / "a/toy/version_0")
    write_test(tmp_path / "a/toy/version_1", write_fit(tmp_path / "b/toy/version_0"), {"mAP": 0.5})
    assert [len(run.evaluations) for run in collect([tmp_path / "a"])] == [0, 1]


def test_a_resumed_run_is_one_run_of_several_parts(tmp_path):
    folder = write_fit(tmp_path / "version_0", steps=20, status="stopped")
    os.rename(folder / "metrics.csv", folder / "metrics-1.csv")
    write_log(folder / "metrics.csv", 30, first=10)
    more = config(lr=0.2, data={"rule": {"rows": 3}, "seed": 5})
    write_record(folder, record(epoch=6), more)
    (run,) = runs = collect([folder])
    assert badges(run) == ["finished", "resumed, 2 parts"]
    assert (run.facts["position"], len(run.commands)) == ("epoch 6, step 30", 2)
    assert run.contents.log.series["train/loss"][0].tolist() == list(range(30))
    settings = run.contents.settings
    assert settings["model.optim.lr"] == "0.2"
    assert (settings["data.rule"], settings["data.seed"]) == ("null", "null"), "filled in from the checkpoint"
    assert "data.rule.rows" not in settings
    assert notices(runs) == []


@pytest.mark.parametrize(
    ("entries", "badge"),
    [
        ({"status": "stopped", "reason": "Stopped: stopped by SIGTERM"}, "stopped"),
        ({"status": "failed", "reason": "TrainingError: x"}, "failed"),
        ({"status": "running", "process": {**process_identity(), "start": "1"}}, "killed"),
        ({"status": "running", "process": {"host": "another", "pid": 1}}, "unfinished, or running on another machine"),
        ({"status": "running", "process": process_identity()}, "running"),
        ({"status": "of no kind"}, "unknown"),
    ],
)
def test_an_unfinished_run_is_shown_as_such(tmp_path, entries, badge):
    (run,) = runs = collect([write_fit(tmp_path / "version_0", **entries)])
    assert badges(run)[0] == badge
    reason = f" ({entries['reason']})" if "reason" in entries else ""
    assert texts(runs) == [f"not finished: {badge}{reason}"]


def damage(folder, what):
    """Damage one thing in a folder; the line that must tell it."""
    if what == "torn record":
        (folder / "run-2.json").write_text('{"comm')
        return "run-2.json is no record"
    if what == "no record":
        (folder / "run.json").unlink()
        return "run.json is missing"
    if what == "no configuration":
        (folder / "config.yaml").unlink()
        return "config.yaml is missing"
    if what == "broken configuration":
        (folder / "config.yaml").write_text("a: [")
        return "config.yaml:2: not YAML"
    if what == "no log":
        (folder / "metrics.csv").unlink()
        return "metrics.csv is missing"
    if what == "lost checkpoint":
        content = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps({**content, "best": "checkpoints/best.ckpt"}))
        return "checkpoints/best.ckpt is missing"
    text = {
        "torn metrics": '{"metrics": {',
        "metrics of another kind": '{"metrics": 3}',
        "deep metrics": '{"metrics": ' + '{"a":' * 100_000,
        "large metrics": " " * (8 * 2**20 + 1),
    }[what]
    (folder / "test").mkdir()
    (folder / "test/metrics.json").write_text(text)
    return "test/metrics.json is nested too deeply" if what == "deep metrics" else "test/metrics.json cannot be read ("


@pytest.mark.parametrize(
    "what",
    [
        *("torn record", "no record", "no configuration", "broken configuration", "no log", "lost checkpoint"),
        *("torn metrics", "metrics of another kind", "deep metrics", "large metrics"),
    ],
)
def test_damage_is_a_line_and_no_error(tmp_path, what):
    folder = write_fit(tmp_path / "version_0")
    line = damage(folder, what)
    (run,) = runs = collect([folder])
    assert "damaged or incomplete" in badges(run)
    assert [text for text in texts(runs) if text.startswith(line)], texts(runs)


@pytest.mark.parametrize(("name", "line"), [
    ("run.json", "run.json is no record"), ("config.yaml", "config.yaml cannot be read (no regular file)"),
    ("metrics.csv", "metrics.csv is missing"),
    ("test/metrics.json", "test/metrics.json cannot be read (no regular file)"),
])  # fmt: skip
def test_a_pipe_is_not_waited_for(tmp_path, name, line):
    folder = write_fit(tmp_path / "version_0")
    write_metrics(folder, {"mAP": 0.5})
    (folder / name).unlink()
    os.mkfifo(folder / name)
    runs = collect([folder])
    assert [text for text in texts(runs) if text.startswith(line)], texts(runs)


@pytest.mark.parametrize("depth", [100, 900, 960, 980, 100_000])
@pytest.mark.parametrize("key", ["status", "step", "seed", "git", "data"])
def test_values_that_are_nested_deeply_are_no_error(tmp_path, depth, key):
    folder = write_fit(tmp_path / "version_0")
    (folder / "metrics.csv").unlink()
    text = json.dumps({**record(), key: "HERE"}).replace('"HERE"', "[" * depth + "]" * depth)
    (folder / "run.json").write_text(text)
    assert build_page(collect([folder])).html


def test_code_that_was_changed_or_is_not_known_is_told(tmp_path):
    dirty = write_fit(tmp_path / "a", git={"commit": "0123456789abcdef", "dirty": True})
    unknown = write_fit(tmp_path / "b", git={"commit": None, "dirty": None})
    runs = collect([dirty, unknown])
    assert texts(runs, 1) == ["the checkout had changes that are not in commit 0123456789"]
    assert texts(runs, 2) == ["the commit of the code is not known"]


def test_runs_of_different_code_or_data_are_told(tmp_path):
    one = write_fit(tmp_path / "a")
    two = write_fit(tmp_path / "b", git={"commit": "f", "dirty": False}, data={"fingerprint": {"sha256": "bb"}})
    assert [notice.text for notice in notices(collect([one, two]))] == [
        "the runs come from different commits: see Environment",
        "the runs come from different data: see Environment",
    ]


def test_values_that_are_not_finite_and_warnings_of_a_test_are_told(tmp_path):
    folder = write_fit(tmp_path / "a")
    (folder / "metrics.csv").write_text("epoch,step,train/loss\n0,0,1\n0,1,nan\n0,2,inf\n")
    write_metrics(folder, {"mAP": 0.5}, warnings=["features collapsed"])
    assert texts(collect([folder])) == ["test: features collapsed", "train/loss: 2 of 3 values are not finite"]
