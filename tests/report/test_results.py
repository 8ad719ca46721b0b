"""Tables of results against statistics by NumPy, and the comparison of settings."""

import math

import numpy as np
import pytest
from run_folders import config, write_fit, write_metrics, write_test

from vision_suite.report.compare import common, differences
from vision_suite.report.results import LOGGED, all_results
from vision_suite.report.runs import collect
from vision_suite.report.words import duration_text, number_text, shortened, spread_text, value_text

MAP = (0.52, 0.55, 0.5)


@pytest.fixture
def runs(tmp_path):
    """Three seeds of one setting, of which two were tested in folders of their own, and a run of another setting."""
    for seed, value in enumerate(MAP):
        folder = write_fit(tmp_path / f"version_{seed}", seed=seed)
        metrics = {"mAP": value, "glca/mAP": value / 2, "rank1": None}
        if seed:
            write_test(tmp_path / f"version_{3 + seed}", folder, metrics)
        else:
            write_metrics(folder, metrics, checkpoint="x/last.ckpt")
    write_metrics(write_fit(tmp_path / "version_3", lr=0.3), {"mAP": 0.1}, checkpoint="x/last.ckpt")
    return collect([tmp_path])


def test_means_are_over_runs_that_differ_only_in_the_seed(runs):
    logged = all_results(runs)[-1]
    assert logged.heading == LOGGED
    (table,) = logged.tables
    assert [(row.runs, row.note) for row in table.rows] == [
        ((1,), ""), ((2,), ""), ((3,), ""), ((1, 2, 3), "mean of 3 seeds"), ((4,), ""),
    ]  # fmt: skip
    assert [row.cells[0].value for row in table.rows] == pytest.approx([0.529] * 5)


def test_tests_in_other_folders_count_for_their_run(runs):
    test = all_results(runs)[0]
    assert test.heading == "test, reid"
    assert test.without == ("rank1",)
    whole, part = test.tables
    assert (whole.part, part.part) == ("", "glca")
    spread = {row.runs: row.cells[0] for row in whole.rows}
    mean = spread[1, 2, 3]
    assert mean.value == pytest.approx(np.mean(MAP))
    assert mean.text == f"{np.mean(MAP):.3f} ± {np.std(MAP, ddof=1):.3f}"
    assert spread[4,].text == "0.1000"
    assert part.rows[-1].cells[0].text == "-", "run 4 has no such metric"


def test_a_test_whose_training_is_not_there_is_in_no_mean(tmp_path):
    for number in range(2):
        write_test(tmp_path / f"version_{number}", tmp_path / f"gone/version_{number}", {"mAP": 0.5})
    (table,) = all_results(collect([tmp_path]))[0].tables
    assert [row.runs for row in table.rows] == [(1,), (2,)]


def test_checkpoints_of_different_kinds_are_in_no_mean(tmp_path):
    for seed, name in enumerate(("best", "last")):
        write_metrics(write_fit(tmp_path / f"version_{seed}", seed=seed), {"mAP": 0.5}, checkpoint=f"x/{name}.ckpt")
    (table,) = all_results(collect([tmp_path]))[0].tables
    assert [row.note for row in table.rows] == ["best.ckpt", "last.ckpt"]


@pytest.mark.parametrize(("second", "notes"), [
    ({"seed": 1}, ["x.ckpt", "x.ckpt", "mean of 2 runs, 1 known seed"]),
    ({"seed": None}, ["x.ckpt", "x.ckpt", "mean of 2 runs, 1 known seed"]),
    ({"seed": 2, "git": {"commit": "f" * 40}}, ["x.ckpt", "x.ckpt", "mean of 2 seeds, 2 commits"]),
    ({"seed": 2, "data": {"fingerprint": {"sha256": "bb"}}}, ["x.ckpt", "x.ckpt"]),
])  # fmt: skip
def test_a_mean_tells_what_it_is_over(tmp_path, second, notes):
    for number, entries in enumerate(({"seed": 1}, second)):
        folder = write_fit(tmp_path / f"version_{number}", settings=config(number), **entries)
        write_metrics(folder, {"mAP": 0.5}, checkpoint="runs/x.ckpt")
    for result in all_results(collect([tmp_path])):
        (table,) = result.tables
        assert [row.note for row in table.rows] == (notes if result.heading != LOGGED else ["", "", *notes[2:]])


def test_many_metrics_are_rows(tmp_path):
    folder = write_fit(tmp_path / "version_0")
    for count, upright in ((8, False), (9, True)):
        write_metrics(folder, {f"m{number}": 1.0 for number in range(count)})
        assert all_results(collect([folder]))[0].tables[0].upright is upright


def test_a_value_that_is_missing_makes_no_mean(tmp_path):
    for seed, value in enumerate((0.5, None)):
        write_metrics(write_fit(tmp_path / f"version_{seed}", seed=seed), {"mAP": value})
    (table,) = all_results(collect([tmp_path]))[0].tables
    assert [row.cells[0].text for row in table.rows] == ["0.5000", "-", "-"]
    assert math.isnan(table.rows[-1].cells[0].value)


def test_settings_that_differ_stand_out_from_the_usual_value(tmp_path):
    for number, (seed, lr) in enumerate(((1, 0.1), (2, 0.1), (2, 0.3))):
        write_fit(tmp_path / f"version_{number}", seed=seed, lr=lr)
    rows = differences([run.contents.settings for run in collect([tmp_path])])
    assert {row.key: [(value.text, value.stands_out) for value in row.values] for row in rows} == {
        "seed_everything": [("1", True), ("2", False), ("2", False)],
        "trainer.default_root_dir": [("runs1", True), ("runs2", False), ("runs2", False)],
        "model.optim.lr": [("0.1", False), ("0.1", False), ("0.3", True)],
    }


def test_a_run_without_settings_differs_in_nothing():
    columns = [{"a": "1", "b": "2"}, None, {"a": "1"}]
    (row,) = differences(columns)
    assert [(value.text, value.stands_out) for value in row.values] == [("2", False), ("?", False), ("-", True)]
    assert common(columns) == {"a": "1"}
    assert (differences([None, None]), common([None])) == ([], {})


def test_where_each_run_has_its_own_value_none_stands_out():
    (row,) = differences([{"a": "1"}, {"a": "2"}, {"a": "3"}])
    assert not any(value.stands_out for value in row.values)


def test_the_class_is_a_setting(tmp_path):
    other = config()
    other["model"]["class_path"] = "toy.LitOther"
    write_fit(tmp_path / "a")
    write_fit(tmp_path / "b", settings=other)
    assert [row.key for row in differences([run.contents.settings for run in collect([tmp_path])])] == ["model"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *(("a", "a"), ("1", '"1"'), (1, "1"), (1.0, "1"), (3e-05, "3e-05"), (None, "null"), ("null", '"null"')),
        *((True, "true"), ([64, None], "[64, null]"), ({}, "{}"), ("", '""'), ("a\nb\u202e\ud800", "a?b??")),
    ],
)
def test_settings_as_text(value, text):
    assert value_text(value) == text


@pytest.mark.parametrize(
    ("mean", "deviation", "text"),
    [
        *(
            (0.5287, 0.0123, "0.529 ± 0.012"),
            (12.5, 3.21, "12.5 ± 3.2"),
            (1.0, 0.0, "1 ± 0"),
            (150.0, 20.0, "150 ± 20"),
        ),
        *((1e9, 1e8, "1e+09 ± 1e+08"), (math.nan, math.nan, "-"), (0.00002, 0.00001, "2e-05 ± 1e-05")),
    ],
)
def test_means_as_text(mean, deviation, text):
    assert spread_text(mean, deviation) == text


def test_numbers_times_and_long_texts():
    assert [number_text(value) for value in (0.98, 3.0, 0.00012346, 123456.7, math.nan, math.inf)] == [
        "0.9800", "3", "0.0001235", "1.235e+05", "-", "inf",
    ]  # fmt: skip
    assert [duration_text(seconds) for seconds in (0, 59.6, 3601, 90000)] == ["0 s", "1 min", "1 h 1 s", "1 d 1 h"]
    assert len(shortened("x" * 10_000)) == 400
