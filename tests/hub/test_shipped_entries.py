"""Entries of the package: pinned, small, with figures of three seeds, and usable as they are."""

import re

import hub_tiny
import pytest
from folders import ROOT
from synthetic import save

from vision_suite import hub
from vision_suite.cli import main
from vision_suite.cli.hub.facts import without_paths
from vision_suite.hub import places
from vision_suite.hub.card import card
from vision_suite.hub.verification import verify

NAMES = places.shipped()
LARGEST, LARGEST_OF_ALL = 8_000_000, 25_000_000  # bytes


def size_of(name):
    return sum(path.stat().st_size for path in (places.SHIPPED / name).rglob("*") if path.is_file())


def test_each_method_has_an_entry():
    assert {name.split("_")[0] for name in NAMES} == {"dcal", "csa", "oat", "wings", "sentinel"}
    assert sorted(path.name for path in places.SHIPPED.iterdir()) == NAMES, "a folder without a pin"
    assert sum(map(size_of, NAMES)) <= LARGEST_OF_ALL
    page = (ROOT / "docs/hub.md").read_text()
    for name in NAMES:
        assert size_of(name) <= LARGEST, name
        assert f"`{name}`" in page


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_of_the_package(name, tmp_path, monkeypatch):
    hub_tiny.as_user(monkeypatch, tmp_path)
    assert verify(f"hub:{name}", run=True).faults == []
    network, _, config = hub.load(name)
    assert not network.training
    folder = places.SHIPPED / name
    assert (folder / "README.md").read_text() == card(config)
    assert config["metrics"]
    means = {figure["name"] for figure in config["metrics"] if len(set(figure["seeds"])) == 3 and figure["std"]}
    assert means == {figure["name"] for figure in config["metrics"]}, "each has three seeds"
    for figure in config["metrics"]:
        assert figure["data"]
        assert figure["name"] in (ROOT / "docs/hub.md").read_text()
    assert config["training"]["seed"] in config["metrics"][0]["seeds"]
    assert config["training"]["commit"]
    assert config["training"]["dirty"] is False
    assert all(each["license"] and each["source"] for each in config["attribution"])
    for path in (folder / "config.json", folder / "config.yaml", folder / "evaluation.json"):
        text = path.read_text()
        assert not re.search(r"/(root|home|work|tmp)/", text), path
    command = config["training"]["command"]
    assert [without_paths(word, "", "") for word in command] == command


def test_predict_works_at_once(tmp_path, monkeypatch, capsys):
    """Features of a user's own picture, without any data set."""
    monkeypatch.chdir(tmp_path)
    hub_tiny.as_user(monkeypatch, tmp_path)
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "none"))
    save(tmp_path / "photos/one.png", 1, size=(40, 30))
    (name,) = (name for name in NAMES if name.startswith("dcal"))
    words = [
        "--model",
        "LitDCAL",
        "--data",
        "ReIDData",
        "--ckpt_path",
        f"hub:{name}",
        "--data.predict_inputs",
        "photos",
    ]
    assert main(["predict", *words]) == 0, capsys.readouterr().err
    assert len(list((tmp_path / "runs").rglob("features.*"))) >= 1
