"""Inputs to predict: what is found, what is passed over, and both in words."""

import json

import pytest
from pytorch_lightning.trainer.states import TrainerFn
from synthetic import draw

from vision_suite.datasets.base import stages_of
from vision_suite.datasets.fgvc import FGVCData
from vision_suite.datasets.pictures.manifest import find_inputs
from vision_suite.datasets.pictures.records import list_pictures
from vision_suite.errors import ConfigError, DataError


@pytest.fixture
def photos(tmp_path):
    """Pictures of several endings and depths, and what is none."""
    for name in ("b.jpg", "a.TIF", "deep/c.png", "._b.jpg", ".cache/d.jpg", "e.gif", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        draw(1, 0, 0, (8, 8)).save(tmp_path / name, format="PNG")
    return tmp_path


def names(found):
    return [path.name for path in found.files]


def numbers(found):
    return {kind: len(paths) for kind, paths in found.passed_over.items()}


def test_a_folder(photos, caplog):
    found = find_inputs(str(photos))
    assert names(found) == ["a.TIF", "b.jpg", "c.png"]
    assert numbers(found) == {".gif": 1, ".txt": 1, "hidden": 2}
    with caplog.at_level("INFO"):
        find_inputs(str(photos))
    assert "passed over 1 .gif (e.gif), 1 .txt (notes.txt), 2 hidden (._b.jpg, .cache)" in caplog.text


def test_globs(photos):
    found = find_inputs(f"{photos}/*")
    assert names(found) == ["a.TIF", "b.jpg"]
    assert numbers(found) == {".gif": 1, ".txt": 1, "folder": 1, "hidden": 2}
    found = find_inputs(f"{photos}/**")
    assert names(found) == ["a.TIF", "b.jpg", "c.png"]
    assert numbers(found) == {".gif": 1, ".txt": 1, "hidden": 3}
    assert numbers(find_inputs(f"{photos}/*.jpg")) == {"hidden": 1}
    assert numbers(find_inputs(f"{photos}/b.*")) == {}
    assert names(find_inputs(f"{photos}/.cache/*")) == ["d.jpg"]


def test_single_files_and_manifests_may_have_any_ending(photos):
    assert names(find_inputs(str(photos / "e.gif"))) == ["e.gif"]
    (photos / "list.csv").write_text("path\nnotes.txt\ndeep/c.png\n")
    assert names(find_inputs(str(photos / "list.csv"))) == ["notes.txt", "c.png"]


def test_nothing_found_says_what_was_there(photos):
    for inputs in (f"{photos}/*.gif", str(photos / ".cache" / "..") + "/*.gif"):
        with pytest.raises(DataError, match=r"no picture found at .* but 1 \.gif \(e\.gif\): give a folder"):
            find_inputs(inputs)
    with pytest.raises(DataError, match=r"no picture found at .*absent': give a folder"):
        find_inputs(str(photos / "absent"))
    (photos / "other").mkdir()
    (photos / "other" / "x.gif").touch()
    with pytest.raises(DataError, match=r"holds no picture \(.*\) but 1 \.gif \(x\.gif\): is it"):
        list_pictures(photos / "other")


def test_the_datamodule_keeps_the_numbers_and_names_functions_plainly(photos):
    settings = {"image_size": (8, 8), "resize": (8, 8), "predict_inputs": str(photos)}
    data = FGVCData(**settings)
    assert data.size("predict") == 3
    assert json.loads(json.dumps(data.predict_passed_over)) == {str(photos): {".gif": 1, ".txt": 1, "hidden": 2}}
    with pytest.raises(ConfigError, match=r"^test needs a data set"):
        data.setup(TrainerFn.TESTING)  # what Lightning hands on
    assert [f"{stage}" for function in TrainerFn for stage in stages_of(function)] == [
        "fit", "validate", "validate", "test", "predict",
    ]  # fmt: skip
