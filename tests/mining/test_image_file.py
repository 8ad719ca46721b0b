"""The file of mined pictures, against tables in SQL."""

import json
from pathlib import Path

import pytest
from mining_tiny import mine_tiny, read_tiny, tiny_items, tiny_step

from vision_suite.errors import ConfigError, DataError
from vision_suite.mining.decide import Threshold
from vision_suite.mining.image_file import FIELDS, Written, write_images
from vision_suite.mining.run import begin, mine
from vision_suite.mining.store import Store


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    path = tmp_path_factory.mktemp("mined") / "whole.sqlite"
    mine_tiny(path)
    return path


def written(store, path, **settings):
    assert write_images(store, "tiny", path, **settings) == Written(20, 0, 0)
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_pictures_with_their_captions_and_objects(mined, tmp_path):
    with Store(mined, new=False) as store:
        records = written(store, tmp_path / "images.jsonl")
        assert [record["image_id"] for record in records] == [item.id for item in tiny_items()]
        texts = dict(store.rows("SELECT image_id || ' ' || step || ' ' || k, text FROM candidate"))
        for record in records:
            assert list(record) == [
                "image_id", "image_path", "question", "caption", "sentences_cnt",
                "hallu_objects", "uncertain_objects", "nonhallu_objects",
            ]  # fmt: skip
            key = (record["image_id"],)
            taken = store.rows(
                "SELECT step, chosen FROM step WHERE image_id = ? AND chosen IS NOT NULL ORDER BY step", key
            )
            assert record["caption"] == " ".join(texts[f"{key[0]} {step} {chosen}"] for step, chosen in taken)
            assert record["sentences_cnt"] == len(taken)
            for field, kind in FIELDS.items():
                named = store.rows(
                    "SELECT DISTINCT mention.name FROM mention JOIN image ON image.id = mention.image_id JOIN verdict "
                    "ON verdict.image_sha = image.sha256 AND verdict.query = mention.name "
                    "WHERE mention.image_id = ? AND verdict.derivation = 'mined' AND verdict.verdict = ?",
                    (*key, kind),
                )
                assert sorted(record[field]) == sorted(name for (name,) in named)
    assert all(any(record[field] for record in records) for field in FIELDS)


def test_other_thresholds_decide_otherwise(mined, tmp_path):
    path = tmp_path / "copy.sqlite"
    path.write_bytes(mined.read_bytes())
    with Store(path, new=False) as store:
        store.derived("tiny", "none", tiny_step().rules, {"a": Threshold(1.0, 1.0)})
        mined_records, records = (written(store, tmp_path / "a.jsonl", derivation=name) for name in ("mined", "none"))
    for one, other in zip(mined_records, records, strict=True):
        assert other["nonhallu_objects"] == other["uncertain_objects"] == []
        every = [name for field in FIELDS for name in one[field]]
        assert sorted(other["hallu_objects"]) == sorted(every)
        assert other["caption"] == one["caption"], "contexts stay as they were grown"


def test_unfinished_and_unreadable_pictures_are_counted(tmp_path):
    def read(path):
        if path == "1":
            raise DataError("gone")
        return read_tiny(path)

    with Store(tmp_path / "a.sqlite") as store:
        step, items = tiny_step(), tiny_items(4)
        begin(store, "tiny", step, items, {}, {"a": {}, "b": {}})
        for item in items[:2]:
            mine(store, "tiny", step, item, read)
        image, sha256 = read_tiny(items[2].path)
        store.write("tiny", sha256, next(step.whole(items[2], image)))
        path = tmp_path / "images.jsonl"
        assert write_images(store, "tiny", path) == Written(1, 2, 1)
        assert json.loads(path.read_text())["image_path"] == str(Path("0").absolute()), "not below the file's folder"
        with pytest.raises(ConfigError, match=r"name the file \.jsonl"):
            write_images(store, "tiny", tmp_path / "images.json")
        with pytest.raises(ConfigError, match="no pairs 'other'"):
            write_images(store, "tiny", path, "other")
