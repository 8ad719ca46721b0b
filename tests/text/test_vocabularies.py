"""Vocabularies by name and from files."""

import json

import pytest

from vision_suite.errors import ConfigError, DataError
from vision_suite.text.vocabularies import load_vocabulary


def test_coco_has_its_original_and_its_refined_words():
    text = "My brother and a dog."
    assert load_vocabulary("coco").names(text) == ["dog"]
    assert load_vocabulary("coco_refined").names(text) == ["person", "dog"]


def test_synonyms_of_a_file_and_of_a_prepared_set(tmp_path, monkeypatch):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path))
    (tmp_path / "scenes").mkdir()
    path = tmp_path / "scenes" / "synonyms.json"
    path.write_text(json.dumps([{"words": ["airplane", "jet"]}, {"words": ["cat"]}]))
    for source in (path, "scenes"):
        assert load_vocabulary(source).names("Two jets above the cats.") == ["airplane", "cat"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[1]", '[{"words": 3}]', '[{"words": [3]}]', '[{"name": ["cat"]}]', "[" * 9999]
)
def test_a_malformed_file_is_one_line(tmp_path, text):
    path = tmp_path / "words.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"words\.json: malformed") as caught:
        load_vocabulary(path)
    assert "\n" not in str(caught.value)


def test_unknown_and_contradictory_vocabularies(tmp_path):
    with pytest.raises(DataError, match=r"no file and no folder with synonyms\.json"):
        load_vocabulary(tmp_path / "none")
    path = tmp_path / "words.json"
    path.write_text(json.dumps([{"words": ["cat", "pet"]}, {"words": ["dog", "pet"]}]))
    with pytest.raises(ConfigError, match="'pet'"):
        load_vocabulary(path)
