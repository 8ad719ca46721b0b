"""Detectors of transformers asked by name, as tiny networks with random weights: the wiring, not the detection."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_detectors import KINDS, MAX_TEXT, write_detector

from vision_suite.detectors.open_vocab import HubDetector
from vision_suite.errors import ConfigError, DataError

transformers = pytest.importorskip("transformers")

NAMES = ["cup", "dining table", "fork"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: write_detector(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


@pytest.fixture(scope="module")
def detectors(folders):
    return {kind: HubDetector(str(folder), "cpu", box_threshold=0.0) for kind, folder in folders.items()}


@pytest.fixture(scope="module")
def pictures():
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (64, width, 3), dtype=np.uint8)) for width in (64, 80, 64, 64)]


def by_hand(detector, picture, names):
    """Scores of one picture from the network's outputs, each family in its own words."""
    processor, model = detector.family.processor, detector.family.model
    kind = model.config.model_type
    with torch.inference_mode():
        if "grounding" in kind:
            # The processor joins the names itself; spans are counted in tokens of the names alone.
            inputs = processor(images=picture, text=[names], return_tensors="pt")
            table = model(**inputs).logits[0].sigmoid()
            at, scores = 1, []
            for name in names:
                size = len(processor.tokenizer(name.lower(), add_special_tokens=False)["input_ids"])
                scores.append(max(float(row[at : at + size].min()) for row in table))
                at += size + 1
            return scores
        if kind == "owlv2":
            names = [f"a photo of a {name.lower()}" for name in names]
            output = model(**processor(images=picture, text=[names], return_tensors="pt"))
            return output.logits[0].sigmoid().max(dim=0).values.tolist()
        output = model(**processor(images=picture, text=[[name.lower() for name in names]], return_tensors="pt"))
        found = processor.post_process_grounded_object_detection(
            output, text_labels=[names], threshold=0.0, nms_threshold=1.0, max_num_det=12 * len(names)
        )[0]
        best = dict.fromkeys(names, 0.0)
        for name, score in zip(found["text_labels"], found["scores"].tolist(), strict=True):
            best[name] = max(best[name], score)
        return list(best.values())


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_network_whatever_the_batch(kind, detectors, pictures):
    detector = detectors[kind]
    assert detector.vocabulary is None
    queries = [NAMES, ["Dog"], ["spoon", "Dog"], []]
    found = detector.score(pictures, queries)
    assert [list(each) for each in found] == queries
    for picture, names, scores in zip(pictures, queries, found, strict=True):
        if names:
            np.testing.assert_allclose(list(scores.values()), by_hand(detector, picture, names), rtol=1e-4, atol=1e-6)
            assert all(0 < score < 1 for score in scores.values())


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_and_names_are_asked_once(kind, detectors, pictures, monkeypatch):
    detector, asked = detectors[kind], []
    scores = detector.family.scores
    monkeypatch.setattr(detector.family, "scores", lambda images, texts: asked.extend(texts) or scores(images, texts))
    twice = detector.score([pictures[0], pictures[0].copy()], [["cup", "fork"], ["fork"]])
    assert len(asked) == 1
    assert len(asked[0]) == 2
    assert twice[0]["fork"] == twice[1]["fork"]
    assert detector.score([], []) == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_prompt_is_cut(kind, detectors, pictures, monkeypatch):
    """More names than a prompt holds go into several, none of them longer than the network reads."""
    detector = detectors[kind]
    names = [f"{a}{b}{c}" for a in "abc" for b in "xyz" for c in "uvw"]
    family, texts = detector.family, []
    tokenizer = family.processor.tokenizer
    scores = family.scores
    monkeypatch.setattr(family, "scores", lambda images, asked: texts.extend(asked) or scores(images, asked))
    found = detector.score(pictures[:1], [names])[0]
    assert list(found) == names
    assert not any(math.isnan(score) for score in found.values())
    assert sum(len(part) for part in texts) == len(names)
    if "grounding" in kind:
        assert max(len(tokenizer(". ".join(part) + ".")["input_ids"]) for part in texts) <= MAX_TEXT
        assert len(texts) > 2
    if kind == "omdet-turbo":
        assert max(len(tokenizer(f"Detect {', '.join(part)}.")["input_ids"]) for part in texts) <= 77
        assert len(texts) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_cannot_be_asked_are_not_judged(kind, detectors, pictures):
    long = "x" * 100
    found = detectors[kind].score(pictures[:1], [["cup", long, "?.", " "]])[0]
    assert {name for name, score in found.items() if math.isnan(score)} == {long, "?.", " "}
    (boxes,) = detectors[kind].detect(pictures[:1], [["cup", long]], 0.0)
    assert boxes.notes["names_not_asked"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_lie_in_the_picture_best_first(kind, detectors, pictures):
    detector = detectors[kind]
    for picture, found in zip(pictures, detector.detect(pictures, [NAMES] * 4, 0.0), strict=True):
        assert len(found.corners)
        assert (np.diff(found.scores) <= 0).all()
        assert set(found.labels) <= set(NAMES)
        assert (found.corners >= 0).all()
        assert (found.corners <= [*picture.size, *picture.size]).all()
        scores = detector.score([picture], [NAMES])[0]
        assert found.scores.max() == pytest.approx(max(scores.values()), rel=1e-3)
        high = detector.detect([picture], [NAMES], min(max(scores.values()) * 1.00001, 1 - 1e-9))[0]
        assert (len(high.corners), high.labels) == (0, ())


def test_the_box_threshold_silences_boxes_and_is_told(folders, pictures):
    usual = HubDetector(str(folders["mm-grounding-dino"]), "cpu")
    assert usual.name == str(folders["mm-grounding-dino"])
    assert set(usual.score(pictures[:1], [NAMES])[0].values()) == {0.0}, "no token of the random network reaches .35"
    low = HubDetector(str(folders["mm-grounding-dino"]), "cpu", box_threshold=0.001)
    assert low.name.endswith("(box threshold 0.001)")


def test_mistakes_are_told_in_one_line(detectors, folders, pictures, tmp_path):
    detector = detectors["owlv2"]
    with pytest.raises(DataError, match="1 pictures and 2 lists of names"):
        detector.score(pictures[:1], [NAMES, NAMES])
    with pytest.raises(DataError, match="one text"):
        detector.score(pictures[:1], ["cup"])
    with pytest.raises(ConfigError, match="min_score=1"):
        detector.detect(pictures[:1], [NAMES], 1.0)
    for wrong, words in (({"batch_size": 0}, "batch_size=0"), ({"box_threshold": 1.0}, "box_threshold")):
        with pytest.raises(ConfigError, match=words):
            HubDetector(str(folders["owlv2"]), "cpu", **wrong)
    with pytest.raises(DataError, match="cannot be loaded: there is no folder") as caught:
        HubDetector(str(tmp_path / "none"), "cpu")
    assert "\n" not in str(caught.value)
