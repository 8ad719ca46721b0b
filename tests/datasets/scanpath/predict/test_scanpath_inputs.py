"""Pictures given to predict: boxes from a file, a grid or a detector, targets in every way, and every trap."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from synthetic_desks import draw_desk

from vision_suite.datasets.scanpath.data import ScanpathData
from vision_suite.datasets.scanpath.predict.boxes import boxes_of, match_names, read_boxes
from vision_suite.datasets.scanpath.predict.pictures import PictureScenes
from vision_suite.datasets.scanpath.predict.settings import PictureSettings
from vision_suite.detectors.zero_shot import nearest_query
from vision_suite.errors import ConfigError, DataError, MissingDependencyError
from vision_suite.types import Condition


@pytest.fixture
def pictures(tmp_path):
    """Two desks and their boxes, all boxes of the first inside it."""
    folder = tmp_path / "desks"
    boxes = {"a.png": draw_desk(folder / "a.png", 1), "b.png": draw_desk(folder / "b.png", 2)}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    return folder


def read(folder, **settings):
    chosen = {"boxes": str(folder.parent / "boxes.json"), **settings}
    scenes = PictureScenes(PictureSettings(str(folder), **chosen))
    scenes.read()
    return scenes


def rewrite(folder, **changes):
    path = folder.parent / "boxes.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def batch(folder, state=None, **settings):
    data = ScanpathData(predict_inputs=str(folder), **{"boxes": str(folder.parent / "boxes.json"), **settings})
    data.setup("predict")
    if state is not None:
        data.load_state_dict({"preprocessing": state})
    return data, next(iter(data.predict_dataloader()))


def test_a_batch_has_what_other_data_have(pictures):
    data, found = batch(pictures, target="cup", crop_size=(30, 31), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    rows = json.loads((pictures.parent / "boxes.json").read_text())["a.png"]
    assert found["crops"].shape == (2, 6, 3, 30, 31)
    np.testing.assert_allclose(found["boxes"][0], [row[:4] for row in rows])
    assert found["sequence"].shape == (2, 0)
    assert found["given"].tolist() == [0, 0]
    assert found["condition"].tolist() == [Condition.PRESENT] * 2
    assert found["image_size"].tolist() == [[320, 200]] * 2
    # Positions in object pitches: the median distance to the nearest other centre.
    middle = np.array([[(r[1] + r[3]) / 2, (r[0] + r[2]) / 2] for r in rows])
    apart = np.linalg.norm(middle[:, None] - middle, axis=-1) + np.diag([np.inf] * 6)
    pitch = np.median(apart.min(axis=1))
    np.testing.assert_allclose(found["position"][0], middle / pitch, rtol=1e-5)
    np.testing.assert_allclose(found["start"][0], [100 / pitch, 160 / pitch], rtol=1e-5)
    # The middle of a crop is the object's colour: x / 255 - 0.5, over 0.25.
    red = (np.array([200, 40, 40]) / 255 - 0.5) / 0.25
    np.testing.assert_allclose(found["crops"][0, 0, :, 27, 4], red, atol=0.05)
    assert (data.num_objects, data.num_positions, data.max_length) == (6, 0, 0)


def test_a_checkpoint_says_how_crops_are_made(pictures):
    state = {"objects": "crops", "crop_size": [32, 40], "mean": [0, 0, 0], "std": [1, 1, 1], "target_from": "given"}
    _, found = batch(pictures, state, target="cup")
    assert found["crops"].shape[-2:] == (32, 40)
    assert 0 <= found["crops"].min() <= found["crops"].max() <= 1
    # A network that knows its target apart gets the crop of the target's box.
    assert torch.equal(found["target_crop"], found["crops"][torch.arange(2), found["target"]])
    _, given_vectors = batch(
        pictures, {"objects": "features", "in_channels": 512, "target_from": "object"}, target="cup"
    )
    assert given_vectors["crops"].shape[-2:] == (224, 224)


def test_labels_find_their_boxes_best_score_first(pictures):
    boxes = boxes_of([[0, 0, 5, 5, "Cup "], [5, 5, 9, 9, "book"], [1, 1, 4, 4, "cup"], [0, 0, 1, 1]], "here")
    assert boxes.labelled(" CUP") == (0, 2)
    scored = type(boxes)(boxes.corners, boxes.labels, np.array([0.2, 1, 0.9, 1], dtype=np.float32))
    assert scored.labelled("cup") == (2, 0)
    assert boxes.labelled("lamp") == ()
    found = read(pictures, target="book")
    trial = found.trials[0]
    assert trial.target == trial.targets[0] == 1
    assert all(found.scenes["a.png"].labels[n] == "book" for n in trial.targets)


def test_targets_by_number_by_crop_and_none(pictures, tmp_path):
    assert [t.target for t in read(pictures, target_box=3).trials] == [3, 3]
    rows = json.loads((tmp_path / "boxes.json").read_text())
    for number in (0, 2):
        Image.open(pictures / "a.png").crop(rows["a.png"][number][:4]).resize((90, 70)).save(tmp_path / "crop.png")
        found = read(pictures, target_crop=str(tmp_path / "crop.png"))
        same = [row[4] for row in rows["a.png"]]
        assert same[found.trials[0].target] == same[number]
        assert found.chosen["a.png"]["correlation"] > 0.8
    free = read(pictures)
    assert [(t.target, t.condition) for t in free.trials] == [(-1, Condition.FREE)] * 2


def test_csv_and_json_say_the_same(pictures):
    contents = json.loads((pictures.parent / "boxes.json").read_text())
    lines = [
        "image,x1,y1,x2,y2,label",
        *(",".join(map(str, [n, *row])) for n, rows in contents.items() for row in rows),
    ]
    (pictures.parent / "boxes.csv").write_text("\n".join(lines) + "\n")
    one, other = (read_boxes(str(pictures.parent / name)) for name in ("boxes.json", "boxes.csv"))
    assert list(one) == list(other)
    for name in one:
        np.testing.assert_array_equal(one[name].corners, other[name].corners)
        assert one[name].labels == other[name].labels


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "has no box"),
        ([[400, 0, 450, 50]], "outside the picture of 320 x 200"),
        ([[-50, 0, 0, 50]], "outside the picture"),
        ([[50, 50, 20, 60]], "not x, y, width, height"),
        ([[50, 50, 50, 60]], "x1 < x2"),
        ([[1, 2, 3]], "give \\[x1, y1, x2, y2\\]"),
        ([[1, 2, 3, "x"]], "no number"),
        (["1234"], "give \\[x1"),
        ([[0, 0, 10, 10, "lamp"]], "no box of 'a.png' is labelled 'cup': its labels are lamp"),
        ([[0, 0, 10, 10]], "its labels are none"),
    ],
)
def test_wrong_boxes_stop_with_one_line(pictures, rows, message):
    rewrite(pictures, **{"a.png": rows})
    with pytest.raises(DataError, match=message) as caught:
        read(pictures, target="cup")
    assert "\n" not in str(caught.value)


def test_what_fails_is_skipped_counted_and_named_if_asked_for(pictures):
    (pictures / "torn.png").write_bytes((pictures / "a.png").read_bytes()[:300])
    Image.new("RGB", (50, 50)).save(pictures / "unnamed.png")
    rewrite(pictures, **{"torn.png": [[0, 0, 9, 9, "cup"]], "b.png": [[0, 0, 9, 9, "pot"]], "else.png": [[0, 0, 1, 1]]})
    with pytest.raises(DataError, match="on_bad_image skip"):
        read(pictures, target="cup")
    with pytest.warns(UserWarning, match="Skipped") as warned:
        found = read(pictures, target="cup", skip=True)
    assert list(found.scenes) == ["a.png"]
    assert set(found.failed) == {"b.png", "torn.png", "unnamed.png"}
    assert "cannot be read" in found.failed["torn.png"]
    assert "no boxes in" in found.failed["unnamed.png"]
    assert found.problems["boxes_of_other_pictures"] == 1
    assert any("else.png" in str(line.message) for line in warned)
    rewrite(pictures, **{"a.png": []})
    with pytest.raises(DataError, match="none of 4 pictures"), pytest.warns(UserWarning, match="Skipped"):
        read(pictures, target="cup", skip=True)


def test_boxes_are_cut_at_the_border_and_counted(pictures):
    rewrite(pictures, **{"a.png": [[-10, 20, 50, 260, "cup"], [0, 0, 320.2, 30, "book"]]})
    found = read(pictures, target="cup")
    np.testing.assert_allclose(found.scenes["a.png"].boxes, [[0, 20, 50, 200], [0, 0, 320, 30]])
    assert found.problems["boxes_cut_at_the_border"] == 1


@given(st.lists(st.tuples(*[st.floats(-500, 900)] * 4), min_size=1, max_size=6))
def test_boxes_end_up_inside_or_are_refused(rows):
    boxes = boxes_of([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in rows], "here")
    try:
        found = boxes.inside((320, 200), "p").corners
    except DataError:
        low, high = boxes.corners[:, :2], boxes.corners[:, 2:]
        assert ((high <= low) | (high <= 0) | (low >= [320, 200])).any()
        return
    assert (found >= 0).all()
    assert (found[:, [0, 2]] <= 320).all()
    assert (found[:, [1, 3]] <= 200).all()
    assert (found[:, 2:] > found[:, :2]).all()


def test_names_by_path_win_over_bare_names():
    assert match_names(["x/a.png", "b.png"], ["a.png", "b.png", "c.png"])[0] == {"x/a.png": "a.png", "b.png": "b.png"}
    found, rest = match_names(["x/a.png", "y/a.png"], ["x/a.png", "a.png"])
    assert (found, rest) == ({"x/a.png": "x/a.png", "y/a.png": "a.png"}, [])
    with pytest.raises(DataError, match="name them by path"):
        match_names(["x/a.png", "y/a.png"], ["a.png"])


def test_a_grid_gives_whole_positions(pictures):
    data, found = batch(pictures, boxes=None, grid=(2, 5), target_box=7)
    assert data.num_positions == 5
    assert found["position"][0].tolist() == [[n // 5, n % 5] for n in range(10)]
    assert found["start"][0].tolist() == [1, 2]
    assert found["boxes"][0, 6].tolist() == [64, 100, 128, 200]
    rows = [[10 * c, 20 * r, 10 * c + 8, 20 * r + 8] for r in range(2) for c in range(3)]
    rewrite(pictures, **{"a.png": rows, "b.png": rows})
    assert read(pictures, grid=(2, 3), target_box=0).scenes["b.png"].positions().tolist()[-1] == [1, 2]
    with pytest.raises(DataError, match="no 3 x 3 grid"):
        read(pictures, grid=(3, 3), target_box=0)
    rewrite(pictures, **{"a.png": [rows[n] for n in (1, 0, 2, 3, 4, 5)]})
    with pytest.raises(DataError, match="row by row"):
        read(pictures, grid=(2, 3), target_box=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"boxes": None}, "where the objects are"),
        ({"detector": "x"}, "boxes and detector"),
        ({"boxes": None, "detector": "x", "grid": (1, 2)}, "leave --data.grid out"),
        ({"queries": ("cup",)}, "queries without a detector"),
        ({"target": "cup", "target_box": 1}, "in one way"),
        ({"boxes": None, "grid": (1, 2), "target": "cup"}, "needs labels"),
        ({"grid": (0, 2)}, "1 row and 1 column"),
        ({"text_encoder": "ViT-B-32"}, "without a target"),
        ({"boxes": None, "detector": "x", "target": "cup"}, "without words"),
        ({"target_box": 6}, "has boxes 0 to 5"),
        ({"target_crop": "none.png"}, "cannot be read"),
        ({"boxes": "boxes.txt"}, "no such .json or .csv"),
    ],
)
def test_contradictions_stop_with_one_line(pictures, settings, message):
    with pytest.raises((ConfigError, DataError), match=message):
        read(pictures, **settings)


def test_data_without_pictures_or_root(pictures):
    with pytest.raises(ConfigError, match="predict_inputs"):
        ScanpathData()
    with pytest.raises(ConfigError, match="give predict_inputs too"):
        ScanpathData("table", "nowhere", target="cup")
    with pytest.raises(DataError, match="no picture found"):
        ScanpathData(predict_inputs=str(pictures / "none"), grid=(1, 1))
    with pytest.raises(DataError, match="no data set to fit on"):
        ScanpathData(predict_inputs=str(pictures), grid=(1, 1)).setup("fit")


def test_a_word_as_a_vector(pictures, monkeypatch):
    settings = {"target": "zebra", "text_encoder": "Tiny/own"}
    state = {"objects": "features", "in_channels": 4, "target_from": "given"}
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingDependencyError, match="open_clip_torch"):
        batch(pictures, state, **settings)
    made = []

    def create_model(name, pretrained):
        made.append((name, pretrained))
        network = torch.nn.Identity()
        network.encode_text = lambda tokens: torch.arange(4.0)[None] + tokens
        return network

    words = lambda texts: torch.tensor([[len(texts[0])]])  # noqa: E731
    fake = SimpleNamespace(create_model=create_model, get_tokenizer=lambda name: words)
    monkeypatch.setitem(sys.modules, "open_clip", fake)
    _, found = batch(pictures, state, **settings)
    assert made == [("Tiny", "own")]
    assert found["target_features"].tolist() == [[18.0, 19.0, 20.0, 21.0]] * 2  # "a photo of a zebra"
    assert found["condition"].tolist() == [Condition.ABSENT] * 2, "nothing is labelled zebra"
    with pytest.raises(ConfigError, match="copies its target"):
        batch(pictures, {**state, "target_from": "object"}, **settings)


def test_detector_words_become_queries():
    assert nearest_query("cup", ["a red cup", "book"]) == "a red cup"
    assert nearest_query("a book", ["cup", "book"]) == "book"
    assert nearest_query("spoon", ["cup", "book"]) == "spoon"
