"""CenterNet as a detector: boxes of a small graph by hand, and photographs where the real one is prepared."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_graph import write_graph

from vision_suite.datasets.instruct.centernet_recipe import RECIPE
from vision_suite.detectors.centernet import CLASSES, CenterNetDetector
from vision_suite.detectors.overlap import one_box_each
from vision_suite.errors import ConfigError, DataError
from vision_suite.layers.centernet import FEATURES, CenterNet
from vision_suite.prepared import data_dir

# x1, y1, x2, y2, score, class
ROWS = [
    [100, 100, 200, 200, 0.9, 16],  # a dog
    [105, 105, 200, 200, 0.8, 16],  # the same dog
    [100, 100, 200, 200, 0.7, 57],  # a couch in its place
    [-50, 300, 50, 600, 0.6, 0],  # a person beyond the border
    [300, 300, 400, 400, 0.2, 15],  # a cat, hardly
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A graph with the nodes of the real one, whose detections are `ROWS` and whose features are sums of colours."""
    path = tmp_path_factory.mktemp("centernet")
    operations = [
        ("mean", "Mean", ["image", "axes"], {"keep_dims": False}),
        ("nothing", "Mul", ["mean", "zero"], {}),
        ("tower_0/detections", "Add", ["rows", "nothing"], {}),
        (FEATURES["trunk"][0], "Conv2D", ["image", "kernel"], {"padding": "VALID", "strides": [1, 32, 32, 1]}),
        (FEATURES["neck"][0], "Identity", ["image"], {}),
    ]
    constants = {
        "rows": np.array([ROWS], np.float32), "axes": np.array([0, 1, 2, 3]), "zero": np.float32(0),
        "kernel": np.ones((1, 1, 3, 2), np.float32),
    }  # fmt: skip
    write_graph(path, operations, constants).rename(path / "centernet.json")
    return path


def test_boxes_are_those_of_the_picture_and_one_for_each_object(folder):
    found = CenterNetDetector(folder, min_score=0.5)(Image.new("RGB", (1024, 256)))
    assert found.labels == ("dog", "couch", "person")
    np.testing.assert_allclose(found.corners, [[200, 50, 400, 100], [200, 50, 400, 100], [0, 150, 100, 256]])
    np.testing.assert_allclose(found.scores, [0.9, 0.7, 0.6])
    assert found.notes["detections_of_the_same_object"] == 1
    assert CenterNetDetector(folder, min_score=0.1)(Image.new("L", (512, 512))).labels[-1] == "cat"
    assert len(CenterNetDetector(folder, min_score=0.95)(Image.new("RGB", (9, 9))).labels) == 0


def test_names_are_scored_and_those_beyond_the_80_are_not_judged(folder):
    detector = CenterNetDetector(folder, min_score=0.5)
    assert detector.vocabulary == frozenset(CLASSES)
    found = detector.score([Image.new("RGB", (9, 9))] * 2, [["dog", "Couch", "cat", "zebra", "lamp"], ["lamp"]])
    assert np.isnan(found[0].pop("lamp"))
    assert found[0] == pytest.approx({"dog": 0.9, "Couch": 0.7, "cat": 0.2, "zebra": 0.0}), "whatever min_score is"
    assert np.isnan(found[1]["lamp"])


def test_without_classes_a_thing_is_one_object():
    rows = torch.tensor(ROWS)
    _, kept, notes = one_box_each(rows[:, :4], rows[:, 4], (512, 512))
    assert kept.tolist() == [0, 3, 4]
    assert notes["detections_of_the_same_object"] == 2


def test_features_are_maps_of_the_graph(folder):
    network = CenterNet.load(folder)
    image = torch.rand(2, 3, 512, 512)
    features = network(image)
    torch.testing.assert_close(features, image[:, :, ::32, ::32].sum(1, keepdim=True).expand(-1, 2, -1, -1))
    torch.testing.assert_close(CenterNet.load(folder, "neck")(image), image)
    assert network.detections(image).shape == (2, len(ROWS), 6)


def test_wrong_sizes_parts_and_folders(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"shape \(1, 3, 64, 64\): CenterNet takes"):
        CenterNet.load(folder)(torch.zeros(1, 3, 64, 64))
    with pytest.raises(ConfigError, match="part='head'"):
        CenterNet.load(folder, "head")
    with pytest.raises(DataError, match="vision-suite data prepare centernet"):
        CenterNetDetector(tmp_path)
    with pytest.raises(ConfigError, match="min_score=1"):
        CenterNetDetector(folder, min_score=1)


def test_classes_are_those_of_coco():
    assert len(set(CLASSES)) == 80
    assert [CLASSES.index(name) for name in ("person", "cat", "dog", "cup", "dining table", "toothbrush")] == [
        0, 15, 16, 41, 60, 79,
    ]  # fmt: skip


@pytest.mark.real_data
@pytest.mark.skipif(not (data_dir() / RECIPE.name).is_dir(), reason="prepare it: vision-suite data prepare centernet")
def test_photographs_of_scikit_image():
    skimage = pytest.importorskip("skimage")
    photographs = Path(skimage.__file__).parent / "data"
    detector = CenterNetDetector(min_score=0.3)

    def best(name):
        found = detector(Image.open(photographs / name))
        return [(label, round(float(score), 2)) for label, score in zip(found.labels, found.scores, strict=True)]

    assert best("astronaut.png") == [("person", 0.61)]
    assert best("coffee.png") == [("cup", 0.47), ("dining table", 0.41)]
    assert best("chelsea.png") == [("dog", 0.47)], "the cat that it takes for a dog"
    for part, (_, width, grid) in FEATURES.items():
        network = CenterNet.load(part=part)
        with torch.inference_mode():
            assert network(torch.zeros(1, 3, 512, 512)).shape == (1, width, grid, grid)
        assert (network.width, network.grid) == (width, grid)
