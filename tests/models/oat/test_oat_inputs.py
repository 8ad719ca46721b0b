"""Vectors that are kept of an evaluation, and what a network does not see as it is."""

import torch
from oat_tiny import scenes, tiny
from scanpath_trials import row_of, trial_of

from vision_suite.metrics.feature_warnings import feature_warnings
from vision_suite.models.oat import inputs
from vision_suite.models.oat.data_checks import scene_warnings
from vision_suite.models.oat.inputs import SeenInputs
from vision_suite.types import Condition


def batch_of(counts=(12, 7, 9)):
    return {**scenes(counts), "index": torch.arange(len(counts))}


def test_every_scene_counts_once_and_padding_never():
    trials = [trial_of([0], scene=name) for name in "aba"]
    seen, batch = SeenInputs(trials), batch_of()
    seen.add(tiny(), batch)
    seen.add(tiny(), batch)
    kept = seen.rows()["appearance features"]
    assert torch.equal(kept, torch.cat([batch["features"][0], batch["features"][1, :7]]))
    assert feature_warnings(kept) == []
    assert list(seen.rows()) == ["appearance features"], "the target is an object's copy"
    batch["features"][1, :7] = 0
    again = SeenInputs(trials)
    again.add(tiny(), batch)
    assert feature_warnings(again.rows()["appearance features"])[0].startswith("7 of 19 features are all zero")


def test_a_word_counts_once_and_free_viewing_has_none():
    batch = {**batch_of(), "target_features": torch.ones(3, 6)}
    model = tiny(target_token="given", conditions=True)
    one = SeenInputs([trial_of([0], scene=name, task="cup") for name in "abc"])
    one.add(model, batch)
    assert len(one.rows()["target features"]) == 1
    several = SeenInputs([trial_of([0], scene=name, task=name) for name in "abc"])
    several.add(model, batch)
    assert (
        "3 of 3 target features are equal" in feature_warnings(several.rows()["target features"], "target features")[0]
    )
    free = SeenInputs([trial_of([0], scene=name, task="", condition=Condition.FREE) for name in "abc"])
    free.add(model, {**batch, "target_features": torch.zeros(3, 6)})
    assert "target features" not in free.rows()


def test_grey_crops_are_equal_features_and_their_number_is_limited(monkeypatch):
    monkeypatch.setattr(inputs, "CROPS", 15)
    model = tiny(appearance="cnn", feature_dim=None, crop_size=(29, 29))
    batch = {name: value for name, value in batch_of().items() if name != "features"}
    batch["crops"] = torch.zeros(3, 12, 3, 29, 29)
    seen = SeenInputs([trial_of([0], scene=name) for name in "abc"])
    seen.add(model, batch)
    kept = seen.rows()["appearance features"]
    assert kept.shape == (15, 16)
    assert not kept.requires_grad
    assert "15 of 15 features are equal" in feature_warnings(kept)[0]


def test_scenes_that_are_shrunk_and_boxes_below_a_pixel():
    wide, near = row_of(10, name="wide"), row_of(3, name="near", size=(80.0, 20.0))
    code = tiny(position="gauss_hermite")
    assert 3 < code.embedding.position.reach < 9
    (line,) = scene_warnings(code, {"wide": wide, "near": near})
    assert line.startswith(f"1 of 2 scenes are wider than the {code.embedding.position.reach:.1f} object pitches")
    assert "up to 9.0" in line
    assert scene_warnings(tiny(), {"wide": wide}) == [], "the other codes have no such limit"
    flat = row_of(10)
    flat.boxes[3, 2] = flat.boxes[3, 0]
    (line,) = scene_warnings(tiny(), {"s": flat})
    assert line.startswith("1 of 10 objects have a box below a pixel")
