"""Files of a folder, and what is passed over."""

import os

import pytest

from vision_suite.errors import DataError
from vision_suite.listing import folder_files

ENDINGS = (".jpg", ".png")


def test_every_file_is_either_taken_or_named(tmp_path):
    for name in ("b.JPG", "a.png", "._b.jpg", ".hidden", "c.gif", "notes", "deep/d.jpg", ".git/e.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = folder_files(tmp_path, ENDINGS)
    assert [path.relative_to(tmp_path).as_posix() for path in found.files] == ["a.png", "b.JPG", "deep/d.jpg"]
    assert {kind: [path.name for path in paths] for kind, paths in found.passed_over.items()} == {
        "hidden": ["._b.jpg", ".git", ".hidden"], ".gif": ["c.gif"], "without ending": ["notes"],
    }  # fmt: skip
    assert found.number_passed_over == 5
    assert found.note() == "1 .gif (c.gif), 3 hidden (._b.jpg, .git, .hidden), 1 without ending (notes)"


def test_a_flat_search_stays_in_the_folder(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "d.jpg").touch()
    found = folder_files(tmp_path, ENDINGS, deep=False)
    assert found.files == []
    assert found.note() == "1 folder (deep)"


def test_links_are_followed_and_a_circle_ends(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.jpg").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.jpg").touch()
    os.symlink(tmp_path / "elsewhere", tmp_path / "set" / "link")
    os.symlink(tmp_path / "set", tmp_path / "set" / "circle")
    assert [path.name for path in folder_files(tmp_path / "set", ENDINGS).files] == ["a.jpg", "b.jpg"]


def test_a_missing_folder_is_one_line(tmp_path):
    with pytest.raises(DataError, match="cannot be listed"):
        folder_files(tmp_path / "absent", ENDINGS)
