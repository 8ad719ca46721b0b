"""Pictures with the names of their objects, read from instances files."""

import json

import pytest
import torch
from tiny_instances import NAMES, write_instances

from vision_suite.datasets.presence import PresenceData
from vision_suite.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("presence")
    return {
        split: str(write_instances(folder, split, count)) for split, count in (("train", 12), ("val", 5), ("test", 6))
    }


def data(files, **settings):
    return PresenceData(**files, image_size=(32, 32), batch_size=4, eval_batch_size=3, num_workers=0, **settings)


def truth(file):
    """Names of each picture in the file's order, by its own numbers."""
    table = json.loads(open(file).read())
    words = {each["id"]: each["name"] for each in table["categories"]}
    return [
        {words[a["category_id"]] for a in table["annotations"] if a["image_id"] == image["id"]}
        for image in table["images"]
    ]


def test_batches_tell_the_names_of_their_pictures(files):
    own = data(files, cache="memory")
    assert own.num_classes == 3
    assert own.class_names == list(NAMES)
    assert {stage: own.size(stage) for stage in ("fit", "validate", "test", "predict")} == {
        "fit": 12, "validate": 5, "test": 6, "predict": 6,
    }  # fmt: skip
    own.setup("test")
    batches = list(own.test_dataloader())
    assert [len(batch["index"]) for batch in batches] == [3, 3]
    present = torch.cat([batch["present"] for batch in batches])
    assert present.dtype == torch.float32
    assert [{NAMES[n] for n in row.nonzero()[:, 0].tolist()} for row in present] == truth(files["test"])
    own.setup("predict")
    assert all("present" not in batch for batch in own.predict_dataloader())
    assert own.protocol["counts"]["test"] == {"images": 6, "objects": sum(map(len, truth(files["test"])))}


def test_training_follows_the_names_through_the_shuffle(files):
    own = data(files)
    own.setup("fit")
    expected = truth(files["train"])
    seen = []
    for batch in own.train_dataloader():
        for index, row in zip(batch["index"].tolist(), batch["present"], strict=True):
            assert {NAMES[n] for n in row.nonzero()[:, 0].tolist()} == expected[index]
            seen.append(index)
    assert sorted(seen) == list(range(12))


def test_pictures_are_chosen_by_an_entry_of_their_images(files):
    own = data(files, only={"train": {"design": ["b"]}})
    assert (own.size("fit"), own.size("validate")) == (6, 5)
    assert own.protocol["left_out"] == {"train": {"images": 6}}
    assert all(int(own.record("fit", n)[0][-7:-4]) % 2 == 1 for n in range(6))
    with pytest.raises(ConfigError, match="tells no 'colour' of its images: choose one of design"):
        data(files, only={"train": {"colour": ["red"]}})
    with pytest.raises(DataError, match="has no picture for train"):
        data(files, only={"train": {"design": ["z"]}})
    with pytest.raises(ConfigError, match=r"only.val is given without a file of that split: give --data.val"):
        data({"train": files["train"]}, only={"val": {"design": ["a"]}})


def test_names_of_a_later_file_go_by_name_not_by_number(files, tmp_path):
    """A file whose categories have other ids, and one fewer of them."""
    table = json.loads(open(files["test"]).read())
    keep = next(each for each in table["categories"] if each["name"] == "red box")
    table["annotations"] = [{**a, "category_id": 1} for a in table["annotations"] if a["category_id"] == keep["id"]]
    table["categories"] = [{"id": 1, "name": "red box"}]
    other = tmp_path / "other.json"
    other.write_text(json.dumps(table))
    root = str(files["test"]).rpartition("/")[0]
    own = PresenceData(train=files["train"], test=str(other), image_root=root, image_size=(32, 32), num_workers=0)
    own.setup("test")
    present = next(iter(own.test_dataloader()))["present"]
    assert present[:, 2].tolist() == [float("red box" in shown) for shown in truth(files["test"])]
    assert not present[:, :2].any()
    table["categories"] = [{"id": 1, "name": "black box"}]
    other.write_text(json.dumps(table))
    with pytest.raises(DataError, match="has the category 'black box', which the first file does not have"):
        PresenceData(train=files["train"], test=str(other), image_root=root)


def test_a_missing_file_or_picture_is_told(files, tmp_path):
    with pytest.raises(ConfigError, match=r"give --data.train or --data.test, or --data.predict_inputs"):
        PresenceData()
    with pytest.raises(DataError, match="does not exist"):
        PresenceData(train=str(tmp_path / "none.json"))
    with pytest.raises(DataError, match="listed pictures are missing"):
        PresenceData(train=files["train"], image_root=str(tmp_path))
