"""Detectors by name where no hub answers: one line at once, without a second try, whatever the network does."""

import socket
from types import SimpleNamespace

import pytest

from vision_suite import network
from vision_suite.datasets.scanpath.predict.pictures import PictureScenes
from vision_suite.datasets.scanpath.predict.settings import PictureSettings
from vision_suite.datasets.scanpath.predict.word_vectors import word_vector
from vision_suite.detectors import zero_shot
from vision_suite.detectors.boxes import ObjectBoxes
from vision_suite.detectors.zero_shot import Detector
from vision_suite.errors import ConfigError, DataError

transformers = pytest.importorskip("transformers")


@pytest.fixture
def silent(monkeypatch):
    """A proxy that takes connections and never answers, and a short patience."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(8)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.getsockname()[1]}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(network, "PATIENCE", 0.2)
        yield


@pytest.fixture
def calls(monkeypatch):
    """Loads that transformers is asked for, all of which fail; and the state of the hub's client at each."""
    from huggingface_hub import constants

    made = []

    def load(source, **rules):
        made.append((source, rules["local_files_only"], constants.HF_HUB_OFFLINE, rules["trust_remote_code"]))
        raise OSError("no such\nfile")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", load)
    return made


def test_a_hub_that_does_not_answer_is_asked_once(silent, calls):
    with pytest.raises(
        DataError, match=r"detector 'some/model' cannot be loaded: it is not in the hub's cache"
    ) as caught:
        Detector("some/model", ["cup"], 0.1, "cpu")
    line = str(caught.value)
    assert "\n" not in line
    assert "https://huggingface.co cannot be used (" in line
    assert "give --data.detector a folder" in line
    assert calls == [("some/model", True, True, False)], "only the cache was looked into"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    assert "refused" in network.why_unreachable(address) or network.why_unreachable(address)


def test_a_hub_that_answers_is_used(monkeypatch, calls):
    monkeypatch.setattr(zero_shot, "why_unreachable", lambda url: None)
    with pytest.raises(DataError, match=r"OSError: no such file\): name a zero-shot detection model of https"):
        Detector("some/model", ["cup"], 0.1, "cpu")
    assert [call[1:3] for call in calls] == [(True, True), (False, False)]


def test_folders_never_need_the_network(tmp_path, monkeypatch, calls):
    monkeypatch.setattr(zero_shot, "why_unreachable", lambda url: pytest.fail("the network was used"))
    with pytest.raises(DataError, match="give a folder that holds a zero-shot detection model"):
        Detector(str(tmp_path), ["cup"], 0.1, "cpu")
    for name in (str(tmp_path / "none"), "./none", "a/b/c", "~/none"):
        with pytest.raises(DataError, match=r"cannot be loaded: there is no folder .*, and it is no name on the hub"):
            Detector(name, ["cup"], 0.1, "cpu")
    assert len(calls) == 1
    monkeypatch.setattr(zero_shot, "hub_is_off", lambda: True)
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set"):
        Detector("some/model", ["cup"], 0.1, "cpu")


def test_words_need_the_hub_as_well(silent, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    states = []

    def create_model(name, pretrained):
        states.append((constants.HF_HUB_OFFLINE, socket.getdefaulttimeout()))
        raise RuntimeError("no weights")

    monkeypatch.setitem(__import__("sys").modules, "open_clip", SimpleNamespace(create_model=create_model))
    with pytest.raises(DataError, match=r"no weights; https://huggingface.co cannot be used: .*<model>/FILE"):
        word_vector("ViT-B-32/openai", "cup")
    assert states == [(True, 0.2)]
    assert (constants.HF_HUB_OFFLINE, socket.getdefaulttimeout()) == (False, None)


@pytest.mark.parametrize("score", [-0.1, 1, 1.5, float("nan")])
def test_scores_out_of_range_are_refused_before_a_picture_is_read(score):
    with pytest.raises(ConfigError, match=f"min_score={score} must be from 0 to below 1"):
        PictureSettings("nowhere", detector="x", queries=("cup",), min_score=score)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grid": (1, 1), "target_box": -1}, "target_box=-1: boxes are numbered from 0"),
        ({"detector": " "}, "detector=' ' is empty"),
        ({"grid": (1, 1), "target_crop": ""}, "target_crop='' is empty"),
    ],
)
def test_settings_without_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        PictureSettings("nowhere", **settings)


def test_pictures_without_detection_are_counted(tmp_path, monkeypatch):
    import numpy as np
    from scanpath_fixture import picture

    for seed, name in enumerate(("a.png", "b.png", "c.png")):
        picture(tmp_path / "in" / name, (40, 30 + seed))

    class OnlyTall:
        queries = ("cup",)

        def __init__(self, *settings):
            pass

        def __call__(self, image):
            corners = np.array([[0, 0, 9, 9]] * (image.height > 31), dtype=np.float32).reshape(-1, 4)
            return ObjectBoxes(corners, ("cup",) * len(corners), np.ones(len(corners), dtype=np.float32))

    monkeypatch.setattr("vision_suite.datasets.scanpath.predict.objects.Detector", OnlyTall)
    scenes = PictureScenes(PictureSettings(str(tmp_path / "in"), detector="x", queries=("cup",), skip=True))
    with pytest.warns(UserWarning, match="finds nothing of cup above min_score=0.1"):
        scenes.read()
    assert list(scenes.scenes) == ["c.png"]
    assert scenes.known_problems() == {"pictures_left_out": 2, "pictures_without_detection": 2}
