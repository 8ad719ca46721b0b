"""Readers of covers, shelves and COCO scanpaths on generated sets in the layouts of the real ones."""

import json
import math
import zipfile

import numpy as np
import pytest
from PIL import Image
from scanpath_fixture import (
    COCO_BOX,
    SHELF_HEADER,
    amazon,
    coco,
    picture,
    shelf_rows,
    table,
    trial,
    write_csv,
    write_xlsx,
)

from vision_suite.datasets.scanpath.assign import AssignRule
from vision_suite.datasets.scanpath.readers.amazon_covers import read_amazon_covers
from vision_suite.datasets.scanpath.readers.coco_search import read_coco_scanpaths
from vision_suite.datasets.scanpath.readers.files import read_spreadsheet
from vision_suite.datasets.scanpath.readers.shelf_sheets import SHELVES, read_shelf_sheets
from vision_suite.datasets.scanpath.readers.table import read_scanpath_table
from vision_suite.errors import DataError
from vision_suite.types import BACKGROUND, Condition


def real(problems):
    return {name: count for name, count in problems.items() if count}


def test_covers_without_masks_and_pictures(tmp_path):
    found = read_amazon_covers(amazon(tmp_path))
    found.check()
    assert list(found.scenes)[:2] == ["1.jpg", "2.jpg"], "10 comes last"
    assert found.scenes["1.jpg"].grid == (6, 14)
    assert found.trials[0].sequence.tolist() == [0, 15, 21]
    assert (found.trials[0].target, found.trials[0].task) == (21, "target_1")
    assert found.notes["boxes"].startswith("uniform 6 x 14 grid")
    assert found.notes["pictures"] == "absent: grey crops"
    assert np.isnan(found.trials[0].duration).all()


def test_subjects_of_one_collage_keep_their_own_paths(tmp_path):
    """OAT's preprocessing gave all of them the last one's."""
    first = [t for t in read_amazon_covers(amazon(tmp_path)).trials if t.scene == "1.jpg"]
    assert [t.subject for t in first] == ["1", "2", "3"]
    assert [t.xy[1, 0] for t in first] == [16, 17, 18]


def test_covers_in_the_layout_of_oat(tmp_path):
    amazon(tmp_path / "amazon_data", masks=True, pictures=True, name="amazon_data.json")
    picture(tmp_path / "amazon_data" / "target" / "target_0.jpg", (9, 15))
    found = read_amazon_covers(tmp_path)
    scene = found.scenes["1.jpg"]
    assert scene.boxes[15].tolist() == [11, 11, 18, 19], "from left to right, row by row, whatever the jitter of edges"
    assert scene.image.endswith("images/1.jpg")
    assert found.notes == {"boxes": "outlines of masks", "pictures": "present"}
    assert {bool(t.target_image) for t in found.trials if t.task == "target_0"} == {True}
    assert found.trials[0].sequence.tolist() == [0, 15, 21]


def test_broken_covers_are_one_line(tmp_path):
    with pytest.raises(DataError, match=r"does not hold amazon_data.json or Amazon.json"):
        read_amazon_covers(tmp_path)
    amazon(tmp_path, masks=True)
    Image.new("L", (140, 60), 0).save(tmp_path / "binarymask" / "14x6-3.jpg")
    with pytest.raises(DataError, match="shows 0 covers where 84 are expected"):
        read_amazon_covers(tmp_path)
    (tmp_path / "Amazon.json").write_text('{"1.jpg": {"size": {}}}')
    with pytest.raises(DataError, match=r"collage '1.jpg' lacks or garbles 'width'"):
        read_amazon_covers(tmp_path)
    amazon(tmp_path / "own")
    contents = json.loads((tmp_path / "own" / "Amazon.json").read_text())
    box = {"xmin": 900, "ymin": 0, "xmax": 930, "ymax": 5}
    for changes, message in (
        ({"ground_truth": [box]}, r"target box \[900.*of collage '1.jpg' is on none of its covers"),
        ({"ground_truth": [{**box, "xmin": math.nan}]}, "is on none of its covers"),
        ({"fixations": {"1": None}}, r"subject 1 of collage '1.jpg' has a fixation that is no \[x, y\]"),
        ({"size": {"width": 0, "height": 60}}, r"scene '1.jpg' has size \(0.0, 60.0\)"),
    ):
        changed = {**contents, "1.jpg": {**contents["1.jpg"], **changes}}
        (tmp_path / "own" / "Amazon.json").write_text(json.dumps(changed))
        with pytest.raises(DataError, match=message):
            read_amazon_covers(tmp_path / "own")
    (tmp_path / "Amazon.json").write_text("{")
    with pytest.raises(DataError, match="is not JSON"):
        read_amazon_covers(tmp_path)


def test_shelves_fill_the_screen():
    assert [shelf.top for shelf in SHELVES.values()] == [152, 165, 135]
    assert all(shelf.columns * shelf.width <= 1680 for shelf in SHELVES.values())


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_shelf_spreadsheets(tmp_path, suffix):
    write = write_csv if suffix == ".csv" else write_xlsx
    write(tmp_path / f"fixations{suffix}", SHELF_HEADER, shelf_rows())
    picture(tmp_path / "images" / "Q3_1.png", (1680, 1050))
    found = read_shelf_sheets(tmp_path)
    found.check()
    assert len(found.trials) == 6
    one = next(t for t in found.trials if t.scene == "Q3_1")
    assert one.sequence.tolist() == [0, 1, 1, 13], "slots count from 1"
    assert (one.target, one.task, one.subject) == (13, "T3_1", "1")
    yogurt, wine = found.scenes["Q3_1"], found.scenes["Q1_1"]
    assert (yogurt.grid, wine.grid, wine.start()) == ((3, 9), (2, 11), (1, 5))
    middle = (yogurt.boxes[13, :2] + yogurt.boxes[13, 2:]) / 2
    assert middle.tolist() == [4 * 186 + 93, 135 + 305 + 152.5]
    assert bool(yogurt.image)
    assert not wine.image


def test_shelf_traps(tmp_path):
    rows = shelf_rows()
    rows[0][5], rows[1][5] = "", 99
    rows[4][4:5] = [28]
    rows[5][4], rows[6][4], rows[7][4] = 28, 28, 28
    write_csv(tmp_path / "a.csv", [*SHELF_HEADER, "T"], [[*row, 250] for row in rows])
    found = read_shelf_sheets(tmp_path)
    assert real(found.problems) == {"fixations_on_no_such_object": 2, "trials_without_target_slot": 1}
    assert found.trials[0].duration[0] == pytest.approx(0.25)
    rows[0][4] = 3
    write_csv(tmp_path / "a.csv", SHELF_HEADER, rows)
    with pytest.raises(DataError, match="trial 0 of subject 1 has 2 values of T_Package"):
        read_shelf_sheets(tmp_path)
    write_csv(tmp_path / "a.csv", SHELF_HEADER[1:], [row[1:] for row in shelf_rows()])
    with pytest.raises(DataError, match="has no column 'ID': it has Sub_ID"):
        read_shelf_sheets(tmp_path)
    write_csv(tmp_path / "a.csv", SHELF_HEADER, [[0, 1, "Q9_1", "T", 1, 1, 0, 0]])
    with pytest.raises(DataError, match="Question='Q9_1' begins with none of Q1, Q2, Q3"):
        read_shelf_sheets(tmp_path)


def test_a_choice_that_is_no_whole_number_is_no_slot(tmp_path):
    rows = shelf_rows()
    rows[0][5], rows[1][5] = "inf", 2.5
    write_csv(tmp_path / "a.csv", SHELF_HEADER, rows)
    assert real(read_shelf_sheets(tmp_path).problems) == {"fixations_on_no_such_object": 2}


def test_workbooks_are_data(tmp_path):
    path = tmp_path / "a.xlsx"
    path.write_bytes(b"no zip")
    with pytest.raises(DataError, match="not a readable archive"):
        read_spreadsheet(path, ())
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/worksheets/sheet1.xml", '<!DOCTYPE x [<!ENTITY a "b">]><worksheet/>')
    with pytest.raises(DataError, match="holds a document type, which is refused"):
        read_spreadsheet(path, ())
    with pytest.raises(DataError, match=r"must be a .csv or .xlsx file: save an .xls"):
        read_spreadsheet(tmp_path / "a.xls", ())
    write_xlsx(path, ["a", "b", "c"], [["x", "", 3]])
    assert read_spreadsheet(path, ("a",)) == [{"a": "x", "b": "", "c": "3"}]


def test_coco_objects_are_on_the_screen(tmp_path):
    found = read_coco_scanpaths(coco(tmp_path), "coco_search18")
    found.check()
    scene = found.scenes["000000000001.jpg"]
    assert scene.labels == ("plate", "cup"), "neither the crumb nor the crowd"
    np.testing.assert_allclose(scene.boxes[1], [286.5625, 249.375, 457.1875, 341.25])
    assert scene.placement == (140, 0, 2.1875)
    one = found.trials[0]
    assert one.sequence.tolist() == [BACKGROUND, 0, 1], "the cup lies on the plate: the smallest box counts"
    assert (one.target, one.targets, one.given, one.subset) == (1, (1,), 1, "train")
    np.testing.assert_allclose(one.duration, [0.2, 0.15, 0.4], rtol=1e-6)
    assert real(found.problems) == {"objects_too_small": 1}


def test_coco_conditions(tmp_path):
    trials = [
        trial(),
        trial(subject=2, split="validation", X=[-10, 600, 9999], Y=[10, 400, 10]),
        trial(subject=3, condition="absent", task="fork", bbox=None),
        trial(subject=4, condition="absent", task="cup"),
        trial(subject=5, condition="freeview", task="none", T=[200, 150]),
        trial(subject=6, task="fork"),
        trial(subject=7, X=[1.0], length=3),
        trial(subject=8, name="000000000003.jpg"),
    ]
    found = read_coco_scanpaths(coco(tmp_path, trials), "coco_search18")
    by_subject = {t.subject: t for t in found.trials}
    assert sorted(by_subject) == ["1", "2", "3", "4", "5"]
    assert by_subject["2"].xy.tolist() == [[840, 525], [600, 400]]
    assert by_subject["2"].subset == "valid"
    for subject in ("3", "4"):
        assert (by_subject[subject].condition, by_subject[subject].targets) == (Condition.ABSENT, ())
    assert by_subject["5"].condition is Condition.FREE
    assert by_subject["5"].task == ""
    assert np.isnan(by_subject["5"].duration).all()
    assert real(found.problems) == {
        "objects_too_small": 2 - 1,
        "pictures_without_object": 1,
        "fixations_outside": 2,
        "first_fixations_moved_to_the_middle": 1,
        "absent_trials_with_target_object": 1,
        "trials_with_durations_of_other_number": 1,
        "trials_without_target_object": 1,
        "trials_of_other_length_than_stated": 1,
        "trials_with_unequal_x_and_y": 1,
        "trials_on_pictures_without_object": 1,
    }


def test_a_coco_trial_of_two_files_counts_once(tmp_path):
    """The set is distributed in parts, and once more with its training part dealt anew."""
    coco(tmp_path, [trial(), trial(subject=2)])
    (tmp_path / "coco_search18_fixations_TP_train_split1.json").write_text(json.dumps([trial(subject=2)]))
    found = read_coco_scanpaths(tmp_path, "coco_search18")
    assert [t.subject for t in found.trials] == ["1", "2"]
    assert found.problems["trials_read_twice"] == 1
    (tmp_path / "coco_search18_fixations_TP_train_split1.json").write_text(json.dumps([trial(split="valid")]))
    with pytest.raises(DataError, match="is in the parts 'train' and 'valid' of two files: name those to read"):
        read_coco_scanpaths(tmp_path, "coco_search18")


def test_what_was_given_and_left_out_is_not_given(tmp_path):
    """Else the first fixation on an object, which the subject chose, would count as given."""
    found = read_coco_scanpaths(coco(tmp_path), "coco_search18", rule=AssignRule("smallest_box", unassigned="drop"))
    assert (found.trials[0].sequence.tolist(), found.trials[0].given) == ([0, 1], 0)
    assert "left out" in found.notes["first_fixation"]
    table(tmp_path / "own")
    row = {"image": "s1.png", "objects": [9, 0, 2], "target": 2, "given": 2}
    (tmp_path / "own" / "trials.jsonl").write_text(json.dumps(row) + "\n")
    assert read_scanpath_table(tmp_path / "own").trials[0].given == 1


def test_coco_keeps_the_hundred_largest(tmp_path):
    notes = [{"image_id": 1, "category_id": 5, "bbox": COCO_BOX, "iscrowd": 0}]
    notes += [{"image_id": 1, "category_id": 6, "bbox": [0, 0, 20 + n, 20], "iscrowd": 0} for n in range(120)]
    found = read_coco_scanpaths(coco(tmp_path, notes=notes), "coco_search18")
    assert len(found.scenes["000000000001.jpg"].boxes) == 100
    assert real(found.problems) == {"objects_beyond_the_largest": 21}


def test_coco_in_other_coordinates_is_refused(tmp_path):
    small = trial(bbox=[87.3, 76, 52, 28])
    with pytest.raises(DataError, match=r"target boxes of 1 of 1 trials are no instance on the screen of 1680 x 1050"):
        read_coco_scanpaths(coco(tmp_path, [small]), "coco_search18")
    coco(tmp_path, [trial(name="000000000009.jpg")])
    with pytest.raises(DataError, match=r"1 of 1 pictures are in no instance file \(first: '000000000009.jpg'\)"):
        read_coco_scanpaths(tmp_path, "coco_search18")
    coco(tmp_path, [trial(condition="asleep")])
    with pytest.raises(DataError, match="condition 'asleep': choose of present, absent, freeview"):
        read_coco_scanpaths(tmp_path, "coco_search18")
    for key, value in (("X", 5), ("T", "200"), ("bbox", 7)):
        coco(tmp_path, [trial(**{key: value})])
        with pytest.raises(DataError, match=f"'000000000001.jpg' has {key}={value!r} where a list is expected"):
            read_coco_scanpaths(tmp_path, "coco_search18")
    with pytest.raises(DataError, match="holds no fixation file"):
        read_coco_scanpaths(tmp_path / "nowhere", "coco_freeview")
