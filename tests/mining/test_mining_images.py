"""Lists of pictures to mine, in both layouts, and malformed ones."""

import json

import pytest

from vision_suite.errors import DataError
from vision_suite.mining.images import read_images
from vision_suite.mining.step import MiningImage


def test_the_authors_lines(tmp_path):
    path = tmp_path / "image_data.jsonl"
    lines = [
        {"image_id": 7, "image_path": "a/7.jpg", "question": "Why?"},
        {"image_id": "x", "image_path": "/b/x.jpg"},
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    expected = [MiningImage("7", str(tmp_path / "a/7.jpg"), "Why?"), MiningImage("x", "/b/x.jpg", "What?")]
    assert read_images(path, "What?") == expected
    assert read_images(path, "What?", limit=1) == expected[:1]
    assert read_images(path, "What?", root=tmp_path / "c")[0].path == str(tmp_path / "c/a/7.jpg")


def test_instances_of_coco(tmp_path):
    path = tmp_path / "instances.json"
    path.write_text(json.dumps({"images": [{"id": 3, "file_name": "3.png"}], "annotations": [], "categories": []}))
    assert read_images(path, "What?") == [MiningImage("3", str(tmp_path / "3.png"), "What?")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"image_id": 1, "image_path": "a"}\nno', "a.jsonl:2: not JSON"),
        ("a.jsonl", "[1]", "a.jsonl:1: no object"),
        ("a.jsonl", '{"image_id": 1}', "a.jsonl:1: a picture needs an id and the name"),
        ("a.jsonl", '{"image_id": true, "image_path": "a"}', "needs an id"),
        ("a.jsonl", '{"image_id": 1, "image_path": "a", "question": 3}', "the question is no text"),
        ("a.jsonl", '{"image_id": 1, "image_path": "a"}\n{"image_id": "1", "image_path": "b"}', "a.jsonl:2: .*twice"),
        ("a.jsonl", "", "no pictures"),
        ("a.json", '{"annotations": []}', "no list `images`"),
        ("a.json", '{"images": [4]}', "no list `images`"),
    ],
)
def test_malformed_lists_are_refused(name, text, message, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_images(tmp_path / name, "What?")
