"""Scanpaths of one's own as JSON lines or CSV: rows that are read, corrected, counted and refused."""

import json

import numpy as np
import pytest
from scanpath_fixture import picture, table

from vision_suite.datasets.scanpath.readers.table import read_scanpath_table
from vision_suite.errors import DataError
from vision_suite.types import BACKGROUND, Condition


def real(problems):
    return {name: count for name, count in problems.items() if count}


def test_tables_of_json_lines(tmp_path):
    found = read_scanpath_table(table(tmp_path))
    found.check()
    assert [len(scene.boxes) for scene in found.scenes.values()] == [2, 3, 4, 2, 3, 4]
    assert found.trials[2].sequence.tolist() == [0, 1, 2]
    np.testing.assert_allclose(found.trials[2].duration, [0.2, 0.3, 0.4], rtol=1e-6)
    assert (found.trials[2].target, found.trials[2].subset) == (2, "train")
    assert found.trials[2].target_features.endswith("t1.npy")


def test_tables_name_objects_and_conditions(tmp_path):
    table(tmp_path)
    rows = [
        {"image": "s1.png", "objects": [0, -2, 2, 9], "target": [0, 2], "terminated": False, "given": 1},
        {"image": "s1.png", "fixations": [[5, 5], [None, 5]], "condition": "free"},
        {"image": "s1.png", "fixations": [[85, 25]], "condition": "absent", "task": "cup"},
        {"image": "s1.png", "fixations": [], "condition": "free"},
    ]
    (tmp_path / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_scanpath_table(tmp_path)
    first, free, absent = found.trials
    assert (first.sequence.tolist(), first.target, first.targets) == ([0, BACKGROUND, 2], -1, (0, 2))
    assert (first.terminated, first.given) == (False, 1)
    assert np.isnan(first.xy).all()
    assert (free.condition, absent.condition) == (Condition.FREE, Condition.ABSENT)
    problems = {"fixations_on_no_such_object": 1, "fixations_without_place": 1, "trials_without_fixation": 1}
    assert real(found.problems) == problems


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"image": "x.png"}, "is on 'x.png', which no scene describes"),
        (
            {"image": "s0.png", "fixations": [[1, 2]]},
            "has no target: name its objects, or say condition absent or free",
        ),
        ({"image": "s0.png", "fixations": [[1]], "target": 0}, r"neither \[x, y\] nor \[x, y, duration\]"),
        ({"image": "s0.png", "fixations": [[1, 2]], "target": -1}, "has target -1: objects are numbered from 0"),
        ({"image": "s0.png", "fixations": [[1, 2]], "target": "cup"}, "is garbled"),
        ({"image": "s0.png", "fixations": [[1, 2]], "target": 1.5}, "is garbled: target 1.5 is no whole number"),
        ({"image": "s0.png", "fixations": [[1, 2]], "target": 0, "target_object": -5}, "has target -5"),
        ({"image": "s0.png", "fixations": [[1, 2]], "target": 0, "given": -1}, "has given=-1"),
        ({"image": "s0.png", "condition": "asleep"}, "condition 'asleep': choose of present, absent, free"),
        ({"image": "s0.png", "fixations": [[1, 2]], "target": 0, "target_image": "no.png"}, "names 'no.png', which is"),
    ],
)
def test_broken_table_rows_are_one_line(tmp_path, row, message):
    table(tmp_path)
    (tmp_path / "trials.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=message):
        read_scanpath_table(tmp_path)


def test_broken_tables_are_one_line(tmp_path):
    with pytest.raises(DataError, match=r"neither scenes.jsonl with trials.jsonl nor boxes.csv with fixations.csv"):
        read_scanpath_table(tmp_path)
    table(tmp_path, scenes=1)
    line = (tmp_path / "scenes.jsonl").read_text()
    (tmp_path / "scenes.jsonl").write_text(line * 2)
    with pytest.raises(DataError, match="described twice"):
        read_scanpath_table(tmp_path)
    (tmp_path / "scenes.jsonl").write_text('{"image": "s0.png", "boxes": [[0, 0, 1, 1]]}\n')
    with pytest.raises(DataError, match="so give width and height"):
        read_scanpath_table(tmp_path)
    (tmp_path / "scenes.jsonl").write_text(
        '{"image": "s0.png", "width": 40, "height": 30, "boxes": [[0, 0, 1, 1], [40, 0, 50, 1]]}\n'
    )
    with pytest.raises(DataError, match=r"scene 1: box 1 \[40.0, .*\] lies outside the picture of 40 x 30 pixels"):
        read_scanpath_table(tmp_path)
    (tmp_path / "scenes.jsonl").write_text("[]\n")
    with pytest.raises(DataError, match="row 1 is not a JSON object"):
        read_scanpath_table(tmp_path)


def test_tables_of_csv(tmp_path):
    picture(tmp_path / "shop.png", (60, 40))
    (tmp_path / "boxes.csv").write_text("image,x1,y1,x2,y2,label\nshop.png,0,0,20,20,cup\nshop.png,30,0,50,20,jug\n")
    (tmp_path / "fixations.csv").write_text(
        "image,subject,trial,x,y,duration,target\n"
        "shop.png,anna,1,5,5,200,1\nshop.png,anna,1,40,5,.,1\nshop.png,anna,2,5,5,200,0 1\nshop.png,ben,1,40,5,180,1\n"
    )
    found = read_scanpath_table(tmp_path)
    found.check()
    assert [t.sequence.tolist() for t in found.trials] == [[0, 1], [0], [1]]
    assert [t.targets for t in found.trials] == [(1,), (0, 1), (1,)]
    assert found.scenes["shop.png"].size == (60, 40)
    assert found.scenes["shop.png"].labels == ("cup", "jug")
    assert found.trials[0].duration[0] == pytest.approx(0.2)
    assert np.isnan(found.trials[0].duration[1])


def test_rows_of_one_trial_agree(tmp_path):
    (tmp_path / "boxes.csv").write_text("image,x1,y1,x2,y2,width,height\ns,0,0,20,20,60,40\ns,30,0,50,20,60,40\n")
    rows = ["image,subject,x,y,target", "s,anna,5,5,1", "s,anna,40,5,", "s,ben,5,5,0", "s,ben,40,5,1"]
    (tmp_path / "fixations.csv").write_text("\n".join(rows[:3]) + "\n")
    assert read_scanpath_table(tmp_path).trials[0].targets == (1,)
    (tmp_path / "fixations.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(DataError, match="target is '0' and '1' in rows of one trial of subject 'ben' on 's'"):
        read_scanpath_table(tmp_path)
    (tmp_path / "fixations.csv").write_text("\n".join(rows[:3]) + "\n")
    (tmp_path / "boxes.csv").write_text("image,x1,y1,x2,y2\ns,0,0,20,20\n")
    with pytest.raises(DataError, match=r"boxes.csv' scene 1: picture 's' is missing"):
        read_scanpath_table(tmp_path)


def test_durations_of_some_fixations_are_kept(tmp_path):
    table(tmp_path)
    row = {"image": "s0.png", "fixations": [[25, 45, 0.2], [105, 45]], "target": 1}
    (tmp_path / "trials.jsonl").write_text(json.dumps(row) + "\n")
    found = read_scanpath_table(tmp_path)
    np.testing.assert_allclose(found.trials[0].duration, [0.2, np.nan], rtol=1e-6)
    assert real(found.problems) == {"durations_unusable": 1}
