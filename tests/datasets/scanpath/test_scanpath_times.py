"""Units of durations: one a file, stated or told from all of its durations, and what no fixation can last."""

import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scanpath_fixture import SHELF_HEADER, coco, shelf_rows, table, trial, write_csv

from vision_suite.datasets.scanpath.data import ScanpathData
from vision_suite.datasets.scanpath.readers.coco_search import read_coco_scanpaths
from vision_suite.datasets.scanpath.readers.shelf_sheets import read_shelf_sheets
from vision_suite.datasets.scanpath.readers.table import read_scanpath_table
from vision_suite.datasets.scanpath.times import FileUnit, duration_column, file_unit, seconds
from vision_suite.errors import ConfigError, DataError


@given(st.lists(st.floats(0.05, 1.5), min_size=1, max_size=9), st.sampled_from(["s", "ms", "us"]))
def test_the_median_of_a_file_tells_its_unit(durations, unit):
    factor = {"s": 1, "ms": 1000, "us": 1_000_000}[unit]
    found = file_unit([math.nan, 0, *(factor * duration for duration in durations)], "f")
    assert found.unit == unit
    problems = Counter()
    np.testing.assert_allclose(seconds([factor * d for d in durations], found.unit, problems), durations, rtol=1e-5)
    assert not problems["durations_unusable"]


def test_units_that_are_stated_asked_for_or_unknown():
    assert file_unit([], "f") is None
    named = duration_column(["x", "duration_us"], ("duration",), "f")
    assert (named[0], named[1].unit) == ("duration_us", "us")
    assert duration_column(["x"], ("duration",), "f") == (None, None)
    with pytest.raises(DataError, match="in the columns duration, duration_ms: leave one"):
        duration_column(["duration", "duration_ms"], ("duration",), "f")
    with pytest.raises(DataError, match=r"median 7, which tells no unit .*: give --data.duration_unit"):
        file_unit([7, 7.5, 6], "f")
    assert str(file_unit([7, 7.5, 6], "f", asked="s")) == "s (by --data.duration_unit)"
    with pytest.raises(DataError, match=r"durations in us \(by the name .*\), but --data.duration_unit is ms"):
        file_unit([7], "f", named[1], "ms")
    with pytest.raises(DataError, match=r"the median 0.2 ms, which no fixations have"):
        file_unit([0.2, 0.3, 0.1], "f", FileUnit("ms", "as published"))


def test_durations_that_cannot_be_name_their_place():
    problems = Counter()
    found = seconds([0.2, math.nan, 0], "s", problems)
    assert np.isnan(found).tolist() == [False, True, True]
    assert problems["durations_unusable"] == 2
    with pytest.raises(DataError, match=r"f row 9: duration -1 is negative"):
        seconds([5, -1], "ms", problems, "f", (7, 9))
    with pytest.raises(DataError, match=r"trial 4 fixation 2: duration 61000 is 61 s in the file's unit ms, but no"):
        seconds([200, 61000], "ms", problems, "trial 4")
    with pytest.raises(DataError, match=r"the median 0.0003 s in the file's unit ms.*give the whole file in one unit"):
        seconds([0.2, 0.3, 0.4], "ms", problems, "f")


def write_trials(folder, durations, **changes):
    rows = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    for row, own in zip(rows, durations, strict=False):
        row["fixations"] = [[x, y, own] for x, y, _ in row["fixations"]]
        row.update(changes)
    (folder / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[: len(durations)]))


def test_a_trial_is_not_read_in_a_unit_of_its_own(tmp_path):
    """The median of each trial once told its unit: short fixations of one trial became milliseconds of another."""
    table(tmp_path)
    write_trials(tmp_path, [300, 250, 9, 200])
    found = read_scanpath_table(tmp_path)
    assert found.notes["duration_unit"] == {"trials.jsonl": "ms (by the median 200 of 10 durations of the file)"}
    assert found.trials[2].duration[0] == pytest.approx(0.009), "9 ms, not 9 s"
    write_trials(tmp_path, [0.3, 0.25, 0.2, 200])
    with pytest.raises(
        DataError, match=r"trials.jsonl' trial 4 fixation 1: duration 200 is 200 s in the file's unit s"
    ):
        read_scanpath_table(tmp_path)
    write_trials(tmp_path, [0.3, 0.25, 0.2, 0.2], duration_unit="ms")
    with pytest.raises(DataError, match="no fixations have: give the right unit"):
        read_scanpath_table(tmp_path)
    table(tmp_path)
    write_trials(tmp_path, [300000, 250000, 200000, 200000])
    micro = read_scanpath_table(tmp_path)
    np.testing.assert_allclose(micro.trials[0].duration, 0.3, rtol=1e-6)
    assert (
        read_scanpath_table(tmp_path, duration_unit="us").notes["duration_unit"]["trials.jsonl"].startswith("us (by --")
    )
    write_trials(tmp_path, [300] * 4, duration_unit="weeks")
    with pytest.raises(DataError, match="has duration_unit 'weeks': write s, ms or us"):
        read_scanpath_table(tmp_path)


def test_columns_of_every_layout_name_their_unit(tmp_path):
    folder = tmp_path / "csv"
    folder.mkdir()
    (folder / "boxes.csv").write_text("image,x1,y1,x2,y2,width,height\ns,0,0,20,20,60,40\n")
    (folder / "fixations.csv").write_text("image,subject,x,y,duration_ms,target\ns,a,5,5,9,0\ns,a,9,9,8,0\n")
    found = read_scanpath_table(folder)
    np.testing.assert_allclose(found.trials[0].duration, [0.009, 0.008], rtol=1e-6)
    assert found.notes["duration_unit"] == {"fixations.csv": "ms (by the name of the column duration_ms)"}
    (folder / "fixations.csv").write_text("image,subject,x,y,duration_s,target\ns,a,5,5,90,0\n")
    with pytest.raises(DataError, match=r"fixations.csv' row 2: duration 90 is 90 s in the file's unit s"):
        read_scanpath_table(folder)
    (tmp_path / "shelf").mkdir()
    write_csv(tmp_path / "shelf" / "a.csv", [*SHELF_HEADER, "Duration_s"], [[*row, 9] for row in shelf_rows()])
    assert read_shelf_sheets(tmp_path / "shelf").trials[0].duration[0] == 9
    rows = [[*row, 250] for row in shelf_rows()]
    rows[3][-1] = 250_000
    write_csv(tmp_path / "shelf" / "a.csv", [*SHELF_HEADER, "T"], rows)
    with pytest.raises(DataError, match=r"a.csv' row 5: duration 250000 is 250 s in the file's unit ms"):
        read_shelf_sheets(tmp_path / "shelf")
    with pytest.raises(DataError, match=r"trial 1 on '000000000001.jpg' fixation 2: duration 150000 is 150 s"):
        read_coco_scanpaths(coco(tmp_path / "coco", [trial(T=[200, 150000, 400])]), "coco_search18")
    coco(tmp_path / "coco", [trial(T=[0.2, 0.15, 0.4])])
    with pytest.raises(DataError, match=r"durations in ms \(as the set is published\) have the median 0.2 ms"):
        read_coco_scanpaths(tmp_path / "coco", "coco_search18")
    own = read_coco_scanpaths(tmp_path / "coco", "coco_search18", duration_unit="s")
    np.testing.assert_allclose(own.trials[0].duration, [0.2, 0.15, 0.4], rtol=1e-6)


def test_the_protocol_has_the_unit(tmp_path):
    data = ScanpathData("table", str(table(tmp_path)), folds=2, validation_share=0, duration_unit="s", seed=0)
    assert data.protocol["duration_unit"] == {"trials.jsonl": "s (by --data.duration_unit)"}
    with pytest.raises(ConfigError, match="duration_unit='h' is not known: choose one of s, ms, us"):
        ScanpathData("table", str(tmp_path), duration_unit="h")
