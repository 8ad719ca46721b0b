"""The log of a trial: what survives a torn line, and which values count."""

import json

import pytest

from vision_suite.runs.trial_log import VARIABLE, last_epoch, log_values, read_values, trial_folder, values_of


@pytest.fixture
def log(tmp_path, monkeypatch):
    path = tmp_path / "values.jsonl"
    monkeypatch.setenv(VARIABLE, str(path))
    return path


def test_nothing_is_written_outside_a_sweep(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    log_values({"loss": 1.0}, 1, 0)
    assert trial_folder() is None
    assert not list(tmp_path.iterdir())


def test_values_come_back_in_order(log):
    log_values({"val/a": 0.5, "val/b": float("nan")}, 4, 0)
    log_values({"train/loss": 2.0}, 4, 0)
    log_values({"val/a": 0.75}, 8, 1)
    lines = read_values(log)
    assert trial_folder() == log.parent
    assert [tuple(each) for each in values_of(lines, "val/a")] == [(4, 0, 0.5), (8, 1, 0.75)]
    assert values_of(lines, "val/b")[0].value is None
    assert values_of(lines, "val/c") == []
    assert last_epoch(lines) == 1
    assert last_epoch([]) == -1


def test_a_repeated_step_counts_once(log):
    for value in (0.5, 0.25):
        log_values({"a": value}, 4, 0)
    assert [each.value for each in values_of(read_values(log), "a")] == [0.25]


def test_a_torn_line_takes_nothing_with_it(log):
    log_values({"a": 1.0}, 1, 0)
    with log.open("a") as file:
        file.write('{"step": 2, "met')
    assert len(read_values(log)) == 1
    log_values({"a": 3.0}, 3, 2)
    assert [each.step for each in values_of(read_values(log), "a")] == [1, 3]


def test_lines_of_another_form_are_left_out(log):
    log.write_text("".join(f"{json.dumps(line)}\n" for line in [3, {"step": "a"}, {"step": 1, "metrics": {"a": True}}]))
    assert [each.value for each in values_of(read_values(log), "a")] == [None]
