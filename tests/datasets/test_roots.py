"""Folders of data sets as a user names them, and what is said about those that are not there."""

import pytest

from vision_suite.datasets.roots import resolve_root
from vision_suite.errors import DataError


def test_a_file_that_a_prepared_set_does_not_hold(tmp_path, monkeypatch):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path))
    folder = tmp_path / "emoji-scenes-closed"
    folder.mkdir()
    for name in ("MANIFEST.json", "train.json", "val.json"):
        (folder / name).write_text("{}")
    assert resolve_root("emoji-scenes-closed/train.json") == folder / "train.json"
    with pytest.raises(
        DataError, match=r"does not exist: the set is prepared in .*closed', which holds MANIFEST"
    ) as no:
        resolve_root("emoji-scenes-closed/tain.json")
    assert "train.json, val.json" in str(no.value)
    assert "data prepare" not in str(no.value)


def test_a_set_that_is_not_prepared(tmp_path, monkeypatch):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"is not prepared .*vision-suite data prepare emoji-scenes-closed"):
        resolve_root("emoji-scenes-closed/train.json")
