"""FGVCData: contract, validation choices, crops, prediction."""

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic_sets import (
    write_aircraft,
    write_cars,
    write_cub,
    write_image_folder,
    write_nabirds,
)

from vision_suite.datasets.fgvc.data import FGVCData
from vision_suite.errors import ConfigError, DataError
from vision_suite.types import FGVCBatch


def small(root, dataset="image_folder", **settings):
    defaults = {"image_size": (12, 12), "resize": (16, 16), "batch_size": 4, "seed": 0, "num_workers": 0}
    return FGVCData(dataset, str(root), **{**defaults, **settings})


def collect(loader):
    batches = list(loader)
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


@pytest.mark.parametrize(
    ("dataset", "write", "classes", "train", "test"),
    [
        ("cub200", write_cub, 3, 12, 6),
        ("cub_folder", write_cub, 3, 12, 6),
        ("nabirds", write_nabirds, 3, 9, 3),
        ("stanford_cars", write_cars, 2, 4, 4),
        ("aircraft", write_aircraft, 3, 9, 3),
        ("image_folder", write_image_folder, 3, 12, 12),
    ],
)
@pytest.mark.filterwarnings("error")
def test_every_data_set_gives_batches(tmp_path, dataset, write, classes, train, test):
    data = small(write(tmp_path), dataset, check_counts=False)
    assert (data.num_classes, len(data.class_names), data.num_cameras) == (classes, classes, 0)
    assert (data.size("fit"), data.size("test"), data.size("validate")) == (train, test, 0)
    for stage in ("fit", "test"):
        data.setup(stage)
    batch = next(iter(data.train_dataloader()))
    assert set(batch) == set(FGVCBatch.__annotations__) | {"image", "index", "role"}
    assert batch["image"].shape == (4, 3, 12, 12)
    everything = collect(data.test_dataloader())
    assert everything["index"].tolist() == list(range(test))
    assert everything["label"].tolist() == [data.record("test", i)[1] for i in range(test)]


def test_evaluation_is_resize_and_centre_crop(tmp_path):
    data = small(write_cub(tmp_path), "cub_folder")
    data.setup("test")
    image = collect(data.test_dataloader())["image"][1]
    whole = np.asarray(Image.open(data.record("test", 1)[0]).resize((16, 16), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(image.permute(1, 2, 0).numpy(), whole[2:14, 2:14] / 127.5 - 1, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(data.seen("test", 1)), whole[2:14, 2:14])


def test_training_crops_move(tmp_path):
    data = small(write_cub(tmp_path), "cub_folder", cache="memory")
    data.setup("fit")
    loader = data.train_dataloader()
    one, two = collect(loader), collect(loader)
    order = [torch.argsort(x["index"]) for x in (one, two)]
    assert not torch.equal(one["image"][order[0]], two["image"][order[1]]), "a new crop in each epoch"


def test_holdout_is_stratified_seeded_and_leaves_something_to_train_on(tmp_path):
    write_image_folder(tmp_path, classes=4, shots=8)
    (tmp_path / "train" / "class_9").mkdir()
    (tmp_path / "train" / "class_0" / "train_0.png").rename(tmp_path / "train" / "class_9" / "only.png")
    data = [small(tmp_path, validation="holdout", val_fraction=0.25, split_seed=s) for s in (0, 0, 1)]
    held = [{d.record("validate", i)[0] for i in range(d.size("validate"))} for d in data]
    assert held[0] == held[1] != held[2]
    labels = [data[0].record("validate", i)[1] for i in range(data[0].size("validate"))]
    assert sorted(labels) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert data[0].size("fit") == 32 - 8
    assert data[0].protocol["validation"] == "holdout"
    assert data[0].protocol["val_pictures"] == 8


def test_aircraft_validation(tmp_path):
    write_aircraft(tmp_path)
    plain = small(tmp_path, "aircraft", check_counts=False)
    official = small(tmp_path, "aircraft", check_counts=False, validation="official")
    assert (plain.size("fit"), plain.size("validate"), plain.protocol["validation"]) == (9, 0, "none")
    assert (official.size("fit"), official.size("validate")) == (6, 3)
    families = small(tmp_path, "aircraft", check_counts=False, aircraft_level="family")
    assert families.num_classes == 2
    assert families.protocol["level"] == "family"


def test_validation_choices(tmp_path):
    write_image_folder(tmp_path, splits=("train", "val", "test"))
    assert small(tmp_path).protocol["validation"] == "official"
    assert small(tmp_path, validation="test").protocol["test_used_for_validation"] is True
    assert small(tmp_path, validation="none").size("validate") == 0
    write_cub(tmp_path / "cub")
    with pytest.raises(ConfigError, match="use validation=holdout"):
        small(tmp_path / "cub", "cub_folder", validation="official")


def test_a_class_without_training_pictures_is_warned_about(tmp_path):
    write_image_folder(tmp_path, classes=2)
    rows = [f"train/class_0/train_{n}.png,a,train" for n in range(4)] + ["test/class_1/test_0.png,b,test"]
    (tmp_path / "m.csv").write_text("\n".join(["path,label,split", *rows]))
    with pytest.warns(UserWarning, match="1 classes have no training picture, such as 'b'"):
        assert small(tmp_path / "m.csv", "manifest").num_classes == 2


def test_impossible_settings(tmp_path):
    write_image_folder(tmp_path)
    with pytest.raises(ConfigError, match=r"resize=\[16, 16\] is smaller than image_size=\[20, 20\]"):
        small(tmp_path, image_size=(20, 20))
    with pytest.raises(ConfigError, match="no data set"):
        FGVCData()
    data = small(tmp_path, batch_size=40)
    data.setup("fit")
    with pytest.raises(ConfigError, match="batch_size=40 on 1 processes does not fit 12 training items"):
        data.train_dataloader()
    (tmp_path / "empty" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match="has no class folders"):
        small(tmp_path / "empty")


def test_prediction_inputs(tmp_path):
    write_image_folder(tmp_path)
    data = FGVCData(image_size=(12, 12), resize=(16, 16), predict_inputs=str(tmp_path / "test"), num_workers=0)
    data.setup("predict")
    batch = collect(data.predict_dataloader())
    assert set(batch) == {"image", "index", "role"}
    assert len(batch["index"]) == 12
    assert data.record("predict", 0)[1:] == (-1, -1)
