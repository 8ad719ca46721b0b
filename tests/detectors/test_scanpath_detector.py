"""The open-vocabulary detector on a tiny OWL-ViT with random weights, made here and saved to a folder."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic_desks import draw_desk

from vision_suite.datasets.scanpath.predict.pictures import PictureScenes
from vision_suite.datasets.scanpath.predict.settings import PictureSettings
from vision_suite.detectors.zero_shot import Detector
from vision_suite.errors import ConfigError, DataError

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def owl(tmp_path_factory):
    """A folder with a model of two layers over patches of 16 pixels, its image processor and its words."""
    folder = tmp_path_factory.mktemp("owl")
    letters = [chr(n) for n in range(ord("a"), ord("z") + 1)]
    # Padding is number 0, which the model takes for an empty query, and the end is the largest.
    words = ["!", *letters, *[f"{letter}</w>" for letter in letters], "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), pad_token="!", model_max_length=16
    )
    size = {"height": 64, "width": 64}
    images = transformers.OwlViTImageProcessor(size=size, crop_size=size)
    transformers.OwlViTProcessor(images, tokenizer).save_pretrained(folder)
    common = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.OwlViTConfig(
        text_config={
            **common, "vocab_size": len(words), "max_position_embeddings": 16, "pad_token_id": 0,
            "bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1,
        },
        vision_config={**common, "image_size": 64, "patch_size": 16},
        projection_dim=32,
    )  # fmt: skip
    torch.manual_seed(3)
    model = transformers.OwlViTForObjectDetection(config)
    with torch.no_grad():
        # Fresh heads answer 0 or 1 everywhere: boxes without area, and equal scores.
        for layer in (model.box_head.dense2, model.class_head.logit_scale, model.class_head.logit_shift):
            layer.weight.mul_(0.02)
    model.save_pretrained(folder)
    return folder


def test_it_gives_boxes_inside_best_first_without_doubles(owl, tmp_path):
    draw_desk(tmp_path / "a.png", 1)
    picture = Image.open(tmp_path / "a.png")
    found = Detector(str(owl), ["cup", "book", "cup "], 0.0, "cpu")(picture)
    assert len(found.corners) == len(found.labels) == len(found.scores) >= 2
    assert set(found.labels) <= {"cup", "book"}
    assert (np.diff(found.scores) <= 0).all()
    assert (found.corners >= 0).all()
    assert (found.corners <= [320, 200, 320, 200]).all()
    sides = found.corners[:, 2:] - found.corners[:, :2]
    assert (sides > 0).all()
    low = np.maximum(found.corners[:, None, :2], found.corners[None, :, :2])
    high = np.minimum(found.corners[:, None, 2:], found.corners[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    area = sides.prod(-1)
    overlap = shared / (area[:, None] + area - shared) - np.eye(len(area))
    assert overlap.max() <= 0.5 + 1e-5
    # Every one of the 4 x 4 patches gives a box, and what is left out is counted.
    assert len(found.corners) + sum(found.notes.values()) == 16
    np.testing.assert_array_equal(found.corners, Detector(str(owl), ["cup", "book"], 0.0, "cpu")(picture).corners)


def test_pictures_get_their_objects_and_target_from_it(owl, tmp_path):
    draw_desk(tmp_path / "in" / "a.png", 1)
    settings = {"detector": str(owl), "queries": ("book",), "min_score": 0.0, "device": "cpu"}
    scenes = PictureScenes(PictureSettings(str(tmp_path / "in"), **settings))
    scenes.read()
    assert set(scenes.scenes["a.png"].labels) == {"book"}
    found = PictureScenes(PictureSettings(str(tmp_path / "in"), target="book", **settings))
    found.read()
    assert found.trials[0].target == 0, "the best score"
    assert found.trials[0].targets == tuple(range(len(found.scenes["a.png"].boxes)))
    high = PictureScenes(PictureSettings(str(tmp_path / "in"), **{**settings, "min_score": 0.99}))
    with pytest.raises(DataError, match=r"finds nothing of book above min_score=0.99"):
        high.read()


def test_what_cannot_be_loaded_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    for name in (str(tmp_path / "empty"), str(tmp_path / "none")):
        with pytest.raises(DataError, match="cannot be loaded") as caught:
            Detector(name, ["cup"], 0.1, "cpu")
        assert "\n" not in str(caught.value)
    for wrong, message in (
        ({"min_score": 1.0}, "min_score"),
        ({"queries": []}, "words"),
        ({"device": "abacus"}, "device"),
        *([] if torch.cuda.is_available() else [({"device": "cuda"}, "device='cuda' cannot be used")]),
    ):
        with pytest.raises(ConfigError, match=message):
            Detector(**{"model": "x", "queries": ["cup"], "min_score": 0.1, "device": "cpu", **wrong})
