"""Ground truth as a detector, instances files, synonyms, and requests in which things repeat."""

import json
import math

import numpy as np
import pytest
from PIL import Image
from tiny_instances import CORNERS, NAMES, SIDE, write_instances

from vision_suite.detectors.instances import read_instances
from vision_suite.detectors.protocol import picture_key, score_once
from vision_suite.detectors.synonyms import WithSynonyms
from vision_suite.detectors.truth import Shown, TruthDetector, open_rgb
from vision_suite.errors import DataError
from vision_suite.text.lexicon import Lexicon


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_instances(tmp_path_factory.mktemp("truth"), "train", 8)


def test_instances_are_read(file):
    table = read_instances(file)
    raw = json.loads(file.read_text())
    assert table.names == NAMES, "in the order of their ids"
    assert len(table.pictures) == 8
    assert table.pictures[0].objects == ()
    assert sum(len(each.objects) for each in table.pictures) == len(raw["annotations"])
    for picture, image in zip(table.pictures, raw["images"], strict=True):
        assert picture.path == file.parent / image["file_name"]
        assert picture.facts == {"design": image["design"]}
    assert read_instances(file, file.parent / "x").pictures[0].path == file.parent / "x" / "train/000.png"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.pop("annotations"), "has no list annotations"),
        (lambda table: table["annotations"][0].update(image_id=1), "1 of 12 annotations name an image or category"),
        (lambda table: table["annotations"][0].update(category_id=1), "1 of 12 annotations name an image or category"),
        (lambda table: table["annotations"][0].pop("bbox"), "no COCO instances file"),
        (lambda table: table["annotations"][0].update(bbox=[1, 2]), "no COCO instances file"),
        (lambda table: table["categories"][0].update(name="green box"), "1 category names twice"),
        (lambda table: table["images"][0].update(id=101), "1 image ids twice"),
        (lambda table: table["images"].append(3), "no COCO instances file"),
    ],
)
def test_damaged_files_are_refused(file, tmp_path, change, words):
    table = json.loads(file.read_text())
    change(table)
    (tmp_path / "a.json").write_text(json.dumps(table))
    with pytest.raises(DataError, match=words) as caught:
        read_instances(tmp_path / "a.json")
    assert "\n" not in str(caught.value)


def test_files_that_are_none_are_refused(tmp_path):
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_text("[]")
    for name, words in (("a.json", "is not JSON"), ("b.json", "has no list"), ("c.json", "cannot be read")):
        with pytest.raises(DataError, match=words):
            read_instances(tmp_path / name)


def test_truth_is_always_right(file):
    detector = TruthDetector.from_instances(file)
    assert detector.vocabulary == frozenset(NAMES)
    table = read_instances(file)
    images = [Image.open(each.path) for each in table.pictures]
    queries = [[*NAMES, "Red  Box", "dog"]] * len(images)
    for picture, scores in zip(table.pictures, detector.score(images, queries), strict=True):
        shown = {NAMES[each.name] for each in picture.objects}
        assert {name for name in NAMES if scores[name] == 1} == shown
        assert {name for name in NAMES if scores[name] == 0} == set(NAMES) - shown
        assert scores["Red  Box"] == float("red box" in shown)
        assert math.isnan(scores["dog"])
    boxes = detector.detect(images, [list(NAMES)] * len(images))
    for picture, found in zip(table.pictures, boxes, strict=True):
        assert found.labels == tuple(NAMES[each.name] for each in picture.objects)
        for (x1, y1, x2, y2), each in zip(found.corners.tolist(), picture.objects, strict=True):
            assert (x1, y1) in CORNERS
            assert (x2 - x1, y2 - y1) == (SIDE, SIDE)
            assert (x1, y1) == each.box[:2]


def test_truth_about_names_alone(file):
    paths = [each.path for each in read_instances(file).pictures[:2]]
    detector = TruthDetector.from_names({paths[0]: ["cat"], paths[1]: []})
    assert detector.vocabulary is None
    found = detector.score([open_rgb(path) for path in paths], [["cat", "dog"], ["cat"]])
    assert found == [{"cat": 1.0, "dog": 0.0}, {"cat": 0.0}], "every name is judged"
    with pytest.raises(DataError, match="no boxes are known"):
        detector.detect([open_rgb(paths[0])], [["cat"]])
    with pytest.raises(DataError, match="no truth about a picture of 3 x 4 pixels"):
        detector.score([Image.new("RGB", (3, 4))], [["cat"]])
    with pytest.raises(DataError, match="cannot be read"):
        open_rgb(file)


def test_equal_pictures_count_together():
    image = Image.new("RGB", (4, 4))
    detector = TruthDetector([(image, Shown(("cat",))), (image.copy(), Shown(("dog",)))])
    assert detector.score([image], [["cat", "dog", "owl"]]) == [{"cat": 1.0, "dog": 1.0, "owl": 0.0}]


def test_keys_tell_pictures_apart():
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    assert picture_key(image) == picture_key(image.convert("RGBA"))
    other = image.copy()
    other.putpixel((0, 0), (9, 9, 9))
    assert len({picture_key(each) for each in (image, other, Image.new("RGB", (2, 8)), Image.new("RGB", (8, 2)))}) == 4


def test_requests_are_united():
    one, two = Image.new("RGB", (2, 2)), Image.new("RGB", (3, 3))
    asked = []

    def ask(images, queries):
        asked.append([list(names) for names in queries])
        return [{name: image.width + len(name) / 100 for name in names} for image, names in zip(images, queries)]  # noqa: B905

    found = score_once([one, two, one.copy()], [["a", "bb"], ["a"], ["bb", "c", "c"]], ask)
    assert asked == [[["a", "bb", "c"], ["a"]]]
    assert found == [{"a": 2.01, "bb": 2.02}, {"a": 3.01}, {"bb": 2.02, "c": 2.01}]


class Table:
    """A detector of fixed scores; other names it does not know."""

    name, vocabulary = "table", frozenset({"dog", "puppy", "couch"})

    def __init__(self):
        self.scores = {"dog": 0.3, "puppy": 0.6, "couch": 0.2}

    def score(self, images, queries):
        assert all(len(set(names)) == len(names) for names in queries)
        return [{name: self.scores.get(name, math.nan) for name in names} for names in queries]


def test_synonyms_count_by_their_best_word():
    detector = WithSynonyms(Table(), Lexicon([["dog", "puppy", "hound"], ["couch", "sofa"], ["lamp", "light"]]))
    assert detector.name == "table"
    (found,) = detector.score([Image.new("RGB", (2, 2))], [["puppy", "dog", "hound", "sofa", "light", "gadget"]])
    assert {name: score for name, score in found.items() if not math.isnan(score)} == {
        "puppy": 0.6, "dog": 0.3, "hound": 0.3, "sofa": 0.2,
    }  # fmt: skip
    assert list(found) == ["puppy", "dog", "hound", "sofa", "light", "gadget"]
