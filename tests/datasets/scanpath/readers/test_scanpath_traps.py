"""Files of fixations and boxes that cannot be this picture's, join two viewings, or hold values of a wrong kind."""

import json

import numpy as np
import pytest
from scanpath_fixture import amazon, coco, picture, table, trial

from vision_suite.datasets.scanpath.data import ScanpathData
from vision_suite.datasets.scanpath.predict.boxes import read_boxes
from vision_suite.datasets.scanpath.readers.amazon_covers import read_amazon_covers
from vision_suite.datasets.scanpath.readers.coco_search import read_coco_scanpaths
from vision_suite.datasets.scanpath.readers.table import read_scanpath_table
from vision_suite.datasets.scanpath.scenes import CropSettings, SceneInputs
from vision_suite.errors import ConfigError, DataError

BOXES = "image,x1,y1,x2,y2,label,width,height\ns,0,0,100,100,cup,400,200\ns,300,0,400,100,coffee pot,400,200\n"


def read(folder, rows, header="image,subject,x,y,target", boxes=BOXES):
    (folder / "boxes.csv").write_text(boxes)
    (folder / "fixations.csv").write_text("\n".join([header, *rows]) + "\n")
    return read_scanpath_table(folder)


def test_shares_of_the_picture_are_refused(tmp_path):
    shares = [f"s,a,{x},{y},0" for x, y in ((0.1, 0.2), (0.5, 0.5), (0.9, 1))]
    with pytest.raises(
        DataError, match=r"fixations.csv': all 3 fixations have coordinates within 0..1, but pixels .* mult"
    ):
        read(tmp_path, shares)
    with pytest.raises(DataError, match=r"all 2 fixations have coordinates within"):
        read(tmp_path, ["s,a,0.1,0.2,0", "s,b,0.5,0.5,0"])
    assert len(read(tmp_path, ["s,a,0,0,0", "s,a,1,1,0", "s,a,50,50,0"]).trials) == 1, "the corner of the picture"
    with pytest.raises(DataError, match=r"trial 1 on .*: all 3 fixations have coordinates within 0..1"):
        read_coco_scanpaths(coco(tmp_path / "c", [trial(X=[0.5, 0.4, 0.3], Y=[0.5, 0.4, 0.2])]), "coco_search18")
    contents = json.loads((amazon(tmp_path / "m") / "Amazon.json").read_text())
    contents["1.jpg"]["fixations"]["2"] = [[0.1, 0.1]] * 3
    (tmp_path / "m" / "Amazon.json").write_text(json.dumps(contents))
    with pytest.raises(DataError, match=r"subject 2 of collage '1.jpg': all 3 fixations"):
        read_amazon_covers(tmp_path / "m")
    with pytest.raises(DataError, match=r"all 2 boxes have corners within 0..1"):
        read(tmp_path, ["s,a,5,5,0"], boxes="image,x1,y1,x2,y2,width,height\ns,0,0,.5,.5,400,200\ns,.5,0,1,1,400,200\n")


def test_many_fixations_elsewhere_are_one_warning(tmp_path):
    rows = [f"s,a,{x},50,0" for x in (50, 60, 70, 80, 90, 10, 20, 30, 40)]
    assert not read(tmp_path, rows).warnings
    assert not read(tmp_path, [*rows, "s,a,500,50,0"]).warnings, "one in ten may lie outside"
    (found,) = read(tmp_path, [*rows, "s,a,500,50,0", "s,a,500,50,0"]).warnings
    assert found.startswith("2 of 11 fixations (18%) lie outside their picture")
    rows = [f"s,a,{x},150,0" for x in (50, 60, 70)] + ["s,a,50,50,0", "s,a,60,50,0"]
    (found,) = read(tmp_path, rows).warnings
    assert found.startswith("3 of 5 fixations (60%) lie in no box: are boxes and fixations in the same pixels")


def test_warnings_are_in_the_protocol_and_said_once(tmp_path):
    table(tmp_path)
    lines = (tmp_path / "trials.jsonl").read_text().replace('"subject"', '"mood": "glad", "subject"')
    (tmp_path / "trials.jsonl").write_text(lines)
    data = ScanpathData("table", str(tmp_path), folds=2, validation_share=0, seed=0)
    (line,) = data.protocol["warnings"]
    assert "trials.jsonl': not read: mood (known: image, subject, fixations" in line
    with pytest.warns(UserWarning, match="not read: mood") as caught:
        data.setup("fit")
    assert len(caught) == 1


def test_a_picture_of_another_size_is_refused(tmp_path):
    picture(tmp_path / "s.png", (200, 100))
    boxes, rows = BOXES.replace("\ns,", "\ns.png,"), ["s.png,a,50,50,0"]
    with pytest.raises(DataError, match=r"'s.png' is said to be 400 x 200 pixels, but its picture .* has 200 x 100"):
        read(tmp_path, rows, boxes=boxes)
    amazon(tmp_path / "covers", pictures=True)
    picture(tmp_path / "covers" / "images" / "1.jpg", (280, 120))
    scene = read_amazon_covers(tmp_path / "covers").scenes["1.jpg"]
    with pytest.raises(DataError, match=r"'1.jpg' is said to be 140 x 60 pixels, but its picture .* has 280 x 120"):
        SceneInputs(CropSettings((9, 9)), lambda scene: "", keep=False).objects(scene)


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("", ["s,a,5,5,0", "s,b,5,5,0", "s,a,9,9,0"], r"rows 2 and 4: subject 'a' on 's' stands in rows with others"),
        (",index", ["s,a,5,5,0,1", "s,a,5,5,0,2", "s,a,9,9,0,1"], r"rows 2 and 4: index is 1 twice for subject 'a'"),
        (
            ",time",
            ["s,a,5,5,0,3", "s,a,5,5,0,400", "s,a,9,9,0,7"],
            r"row 4: time goes back to 7 for subject 'a' on 's'",
        ),
        (
            ",time",
            ["s,a,5,5,0,10", "s,b,5,5,0,1", "s,a,9,9,0,20", "t,a,5,5,0,30", "s,a,9,9,0,40"],
            r"rows 2 and 6: subject 'a' on 's' comes back to the picture after another one \(time goes on through",
        ),
        (",index", ["s,a,5,5,0,1", "s,a,5,5,0,"], r"row 3: index is missing: give it in every row"),
        (",time", ["s,a,5,5,0,soon"], r"row 2: time 'soon' is no number"),
    ],
)
def test_two_viewings_are_not_joined(tmp_path, header, rows, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, rows, "image,subject,x,y,target" + header)


def test_hidden_files_of_coco_are_passed_over(tmp_path):
    picture(coco(tmp_path) / "images" / "train" / "000000000001.jpg", (640, 480))
    for name in ("images/.trash/000000000001.jpg", "images/train/._000000000001.jpg", "._x_fixations.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    found = read_coco_scanpaths(tmp_path, "coco_search18")
    assert found.scenes["000000000001.jpg"].image == str(tmp_path / "images/train/000000000001.jpg")
    assert found.notes["files_passed_over"] == "2 hidden (.trash, ._000000000001.jpg)"


def test_rows_of_several_trials_may_be_mixed(tmp_path):
    """Sorted by the index, or by one clock of two subjects, no trial is two viewings."""
    boxes = BOXES + "t,0,0,100,100,cup,400,200\n"
    rows = ["s,a,5,5,0,1", "t,a,5,5,0,1", "s,a,350,5,0,2", "t,a,9,5,0,2"]
    assert [t.length for t in read(tmp_path, rows, "image,subject,x,y,target,index", boxes).trials] == [2, 2]
    rows = ["s,a,5,5,0,1", "s,b,5,5,0,2", "s,a,350,5,0,3", "t,a,9,5,0,4"]
    assert [t.length for t in read(tmp_path, rows, "image,subject,x,y,target,time", boxes).trials] == [2, 1, 1]


def test_lost_gaze_and_tiny_pictures_are_no_shares(tmp_path):
    rows = ["s,a,50,50,0", *["s,b,0,0,0"] * 3]
    assert len(read(tmp_path, rows).trials) == 2, "a tracker that writes (0, 0) where it lost the eye"
    boxes = "image,x1,y1,x2,y2,width,height\ns,0,0,.5,1,1,1\ns,.5,0,1,1,1,1\n"
    (found,) = read(tmp_path, ["s,a,.2,.5,0", "s,a,.8,.5,0", "s,a,.1,.9,0"], boxes=boxes).trials
    assert found.sequence.tolist() == [0, 1, 0], "a picture of 1 x 1, in its own pixels"


def test_rows_out_of_order_are_sorted_and_counted(tmp_path):
    rows = ["s,a,350,5,1,2", "s,b,5,5,1,1", "s,a,5,5,1,1", "s,b,350,5,1,2"]
    found = read(tmp_path, rows, "image,subject,x,y,target,index")
    assert [t.sequence.tolist() for t in found.trials] == [[0, 1], [0, 1]]
    assert found.problems["trials_sorted_by_index"] == 1
    rows = ["s,a,350,5,1,90,x", "s,a,5,5,1,10,x", "s,a,5,5,1,10,y"]
    found = read(tmp_path, rows, "image,subject,x,y,target,time,trial")
    assert [t.sequence.tolist() for t in found.trials] == [[0, 1], [0]]
    assert found.problems["trials_sorted_by_time"] == 1
    (line,) = read(tmp_path, ["s,a,5,5,0,3,9"], "image,subject,x,y,target,age,pupil").warnings
    assert "fixations.csv': not read: age, pupil (known: image, subject, x, y, trial" in line


def test_targets_may_be_labels(tmp_path):
    found = read(tmp_path, ["s,a,5,5,Coffee  Pot", "s,b,5,5,cup", "s,c,5,5,1", "s,d,5,5,0 1"])
    assert [t.targets for t in found.trials] == [(1,), (0,), (1,), (0, 1)]
    twice = BOXES + "s,0,100,100,200,cup,400,200\n"
    with pytest.raises(
        DataError, match="target 'cup' is the label of 2 objects of 's': give their numbers, 0 2 if all"
    ):
        read(tmp_path, ["s,a,5,5,cup"], boxes=twice)
    with pytest.raises(
        DataError, match=r"'jug' is neither a whole number nor a label of 's' \(labels: coffee pot, cup\)"
    ):
        read(tmp_path, ["s,a,5,5,jug"])
    with pytest.raises(DataError, match="target '1' is the label of object 0 and the number of another"):
        read(tmp_path, ["s,a,5,5,1"], boxes=BOXES.replace(",cup,", ",1,"))
    with pytest.raises(DataError, match="has target 7, but 's' has objects 0 to 1"):
        read(tmp_path, ["s,a,5,5,7"])


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ("s,100,0,50,100,400,200", r"box 0 \[100.0, 0.0, 50.0, 100.0\] is no x1.*\(not x, y, width, height\); 1 of 1"),
        ("s,50,0,50,100,400,200", "box 0 .* is no x1, y1, x2, y2 with x1 < x2"),
        ("s,0,0,left,100,400,200", "row 2: x2 'left' is no number"),
        ("s,0,0,,100,400,200", "box 0 .*nan"),
        ("s,450,0,500,100,400,200", r"box 0 .* lies outside the picture of 400 x 200 pixels"),
        ("s,0,0,9,9,400,200\ns,0,0,9,9,300,200", r"row 3: width is 300 and 400 in rows of 's': it is that of the pict"),
        (",0,0,9,9,400,200", "row 2 has no image"),
    ],
)
def test_boxes_that_are_none(tmp_path, boxes, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, ["s,a,5,5,0"], boxes=f"image,x1,y1,x2,y2,width,height\n{boxes}\n")


def test_boxes_beyond_the_border_are_counted(tmp_path):
    assert read(tmp_path, ["s,a,5,5,0"], boxes=BOXES.replace("400,100,coffee", "430,100,coffee")).problems[
        "boxes_beyond_the_border"
    ] == 1  # fmt: skip


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"fixations": "none"}, "has fixations 'none': write a list"),
        ({"fixations": {"x": 1}}, "has fixations .*: write a list"),
        ({"fixations": [5, 6]}, r"fixation 1 5 is neither \[x, y\] nor"),
        ({"fixations": [["left", 5]]}, "fixation 1: x 'left' is no number"),
        ({"fixations": [[5, [5]]]}, r"fixation 1: y \[5\] is no number"),
        ({"fixations": [[True, 5]]}, "fixation 1: x True is no number"),
        ({"fixations": [[5, 5, -0.2]]}, "fixation 1: duration -0.2 is negative"),
        ({"objects": "01"}, "objects '01' is no list"),
        ({"target": True}, "target True is no whole number"),
        ({"target": {"a": 1}}, "is no whole number"),
        ({"terminated": "false"}, "terminated 'false' is neither true nor false"),
        ({"subject": ["a"]}, r"subject \['a'\] is no text"),
        ({"condition": ["free"]}, "has condition"),
        ({"image": ["s0.png"]}, "which no scene describes"),
        ({"target_image": 5}, "names 5, which is missing"),
    ],
)
def test_values_of_a_wrong_kind_in_trials(tmp_path, row, message):
    table(tmp_path)
    usual = {"image": "s0.png", "subject": "a", "fixations": [[25, 45, 0.2]], "target": 1}
    (tmp_path / "trials.jsonl").write_text(json.dumps({**usual, **row}) + "\n")
    with pytest.raises(DataError, match=message) as caught:
        read_scanpath_table(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"boxes": [[1, 2, 3]] * 4}, r"box 0 is \[1, 2, 3\]: boxes \[x1, y1, x2, y2\] in pixels are needed"),
        ({"boxes": "all"}, "boxes 'all' is no list"),
        ({"boxes": []}, "N of 1 or more"),
        ({"labels": "ab"}, "labels 'ab' is no list"),
        ({"picture": "false"}, "picture 'false' is neither true nor false"),
        ({"width": "wide"}, "width 'wide' is no number"),
        ({"width": -400}, "lies outside|has size"),
        ({"image": None}, "has no image"),
        ({"fold": 1.5}, "fold 1.5 is no whole number"),
    ],
)
def test_values_of_a_wrong_kind_in_scenes(tmp_path, row, message):
    table(tmp_path)
    usual = {"image": "s0.png", "width": 400, "height": 100, "boxes": [[0, 0, 50, 50], [60, 0, 90, 50]]}
    (tmp_path / "scenes.jsonl").write_text(json.dumps({**usual, **row}) + "\n")
    with pytest.raises(DataError, match=message):
        read_scanpath_table(tmp_path)


def test_missing_empty_and_cut_files(tmp_path):
    table(tmp_path)
    lines = (tmp_path / "trials.jsonl").read_text()
    (tmp_path / "trials.jsonl").write_text(lines + lines.splitlines()[0] + "\n")
    assert read_scanpath_table(tmp_path).problems["trials_read_twice"] == 1
    (tmp_path / "trials.jsonl").write_text(lines[:-20])
    with pytest.raises(DataError, match="row 12 is not JSON"):
        read_scanpath_table(tmp_path)
    (tmp_path / "trials.jsonl").write_text("")
    with pytest.raises(DataError, match=r"has no usable trial"):
        ScanpathData("table", str(tmp_path))
    (tmp_path / "trials.jsonl").unlink()
    with pytest.raises(DataError, match=r"trials.jsonl' is missing"):
        read_scanpath_table(tmp_path)
    with pytest.raises(DataError, match="trial 1 has no 'X'"):
        read_coco_scanpaths(coco(tmp_path / "c", [{k: v for k, v in trial().items() if k != "X"}]), "coco_search18")
    with pytest.raises(DataError, match=r"coordinate 'left' is no number"):
        read_coco_scanpaths(coco(tmp_path / "c", [trial(X=["left", 1, 2])]), "coco_search18")


def test_boxes_given_to_predict_say_their_form(tmp_path):
    (tmp_path / "b.json").write_text('{"a.jpg": [[0.1, 0.2, 0.5, 0.6]]}')
    with pytest.raises(DataError, match=r"of 'a.jpg': all 1 boxes have corners within 0..1, but pixels"):
        read_boxes(str(tmp_path / "b.json"))
    (tmp_path / "b.json").write_text('{"a.jpg": [[0, 0, 1, 1]]}')
    np.testing.assert_array_equal(read_boxes(str(tmp_path / "b.json"))["a.jpg"].corners, [[0, 0, 1, 1]])
    (tmp_path / "b.csv").write_text("image,x,y,w,h\ns,0,0,9,9\n")
    with pytest.raises(DataError, match=r"has no column 'x1': it has image, x, y, w, h"):
        read_boxes(str(tmp_path / "b.csv"))
    (tmp_path / "b.csv").write_text("image,x1,y1,x2,y2,score\ns,0,0,9,9,1\n")
    with pytest.warns(UserWarning, match=r"not read: score \(known: image, x1, y1, x2, y2, label"):
        read_boxes(str(tmp_path / "b.csv"))
    (tmp_path / "b.json").write_text('{"a.jpg": [[0, 0, 9, 9]], "a.jpg": []}')
    with pytest.raises(DataError, match=r"has 'a.jpg' twice in one object"):
        read_boxes(str(tmp_path / "b.json"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length_deviations": -1}, "length_deviations=-1: use 0"),
        ({"crop_size": (0, 9)}, "use numbers above 0"),
        ({"std": (0.1, float("nan"), 0.1)}, "use numbers above 0"),
        ({"mean": (0.1, float("inf"), 0.1)}, "use finite numbers"),
        ({"mean": (0.1, 0.1)}, "three numbers for the channels"),
        ({"shift": float("nan")}, "use 0 or more"),
        ({"hide": 1.5}, "a share from 0 to 1"),
        ({"max_offset": -1.0}, "an offset of 0 or more"),
    ],
)
def test_settings_out_of_range(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        ScanpathData("table", str(table(tmp_path)), **settings)
