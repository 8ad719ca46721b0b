"""The recipe of the tagger: its files as they are, checked by a sentence, and nothing left where it reads otherwise."""

import json

import pytest

from vision_suite.datasets.prepare import tagger_recipe
from vision_suite.datasets.prepare.base import Options
from vision_suite.datasets.prepare.tagger_recipe import FOLDER, NOUNS, RECIPE, SENTENCE
from vision_suite.errors import DataError
from vision_suite.text.tagger import Noun, Tagger

SILENT = lambda *step: None  # noqa: E731


class Reader:
    """A tagger that finds certain nouns."""

    def __init__(self, nouns):
        self.nouns = nouns

    def read(self, text):
        assert text == SENTENCE
        return [Noun(tuple(noun.split()), 0, 1, False, False, False, 0) for noun in self.nouns], []


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))
    contents = {f"{FOLDER}config.cfg": b"[nlp]", f"{FOLDER}tagger/model": b"weights"}
    monkeypatch.setattr(tagger_recipe, "fetch_members", lambda *_: contents)


def test_the_files_are_kept_as_they_are(files, monkeypatch):
    monkeypatch.setattr(Tagger, "load", lambda folder: Reader(NOUNS))
    folder = RECIPE.prepare(SILENT, Options())
    assert (folder / "tagger/model").read_bytes() == b"weights"
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    assert manifest["licence"] == "MIT"
    assert manifest["check"]["nouns"] == NOUNS
    assert set(manifest["checksums"]) == {"config.cfg", "tagger/model", "ATTRIBUTION.txt"}
    assert RECIPE.verify(folder, SILENT).problems == ()


def test_a_tagger_that_reads_otherwise_is_not_kept(files, monkeypatch):
    monkeypatch.setattr(Tagger, "load", lambda folder: Reader(["cat", "wooden table"]))
    with pytest.raises(DataError, match=r"finds \['cat', 'wooden table'\] .* install spaCy 3\.8"):
        RECIPE.prepare(SILENT, Options())
    assert not RECIPE.folder_of().exists()


def test_every_file_of_the_pipeline_has_a_checksum():
    (archive,) = RECIPE.archives
    assert {"config.cfg", "meta.json", "LICENSE", "tagger/model", "parser/model", "vocab/strings.json"} <= {
        name.removeprefix(FOLDER) for name in archive.members
    }
    assert all(len(checksum) == 64 for checksum in archive.members.values())
