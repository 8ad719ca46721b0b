"""CUB, Cars, Aircraft, NABirds, image folders and manifests on generated trees."""

import json

import numpy as np
import pytest
from PIL import Image
from synthetic_sets import (
    write_aircraft,
    write_cars,
    write_cub,
    write_image_folder,
    write_nabirds,
)

from vision_suite.datasets.fgvc import layouts
from vision_suite.datasets.fgvc.data import FGVCData
from vision_suite.datasets.pictures.records import check_counts
from vision_suite.errors import DataError


def sizes(listing):
    return {name: len(records) for name, records in listing.splits.items()}


@pytest.mark.parametrize("place", ["", "CUB_200_2011", "cub200"])
def test_cub_is_joined_by_picture_number(tmp_path, place):
    write_cub(tmp_path / place, classes=3, train=4, test=2)
    listing = layouts.read_cub200(tmp_path)
    assert sizes(listing) == {"train": 12, "test": 6}
    assert listing.class_names == ["001.Bird_1", "002.Bird_2", "003.Bird_3"]
    for records in listing.splits.values():
        assert all(f"/{r.label + 1:03d}.Bird_{r.label + 1}/" in r.path for r in records), "the lists differ in order"


def test_cub_counts_are_checked_officially_or_by_manifest(tmp_path):
    write_cub(tmp_path, classes=3, train=4, test=2)
    with pytest.raises(DataError, match="train: found 12 of 3, expected 5994 of 200"):
        check_counts(layouts.read_cub200(tmp_path))
    check_counts(layouts.read_cub_folder(tmp_path))
    counts = {"train": {"images": 12, "classes": 3}, "test": {"images": 7, "classes": 3}}
    (tmp_path / "MANIFEST.json").write_text(json.dumps({"counts": counts}))
    with pytest.raises(DataError, match="test: found 6 of 3, expected 7 of any"):
        check_counts(layouts.read_cub_folder(tmp_path))


def test_cub_grey_picture_becomes_rgb(tmp_path):
    write_cub(tmp_path)
    with Image.open(tmp_path / "images" / "001.Bird_1" / "Bird_0001.jpg") as picture:
        assert picture.mode == "L"
    data = FGVCData("cub_folder", str(tmp_path), image_size=(16, 16), resize=(20, 20), batch_size=4)
    data.setup("fit")
    for batch in data.train_dataloader():
        assert batch["image"].shape == (4, 3, 16, 16)


def test_cub_lists_that_disagree(tmp_path):
    write_cub(tmp_path)
    lines = (tmp_path / "train_test_split.txt").read_text().splitlines()
    (tmp_path / "train_test_split.txt").write_text("\n".join(lines[:-1]))
    with pytest.raises(DataError, match=r"train_test_split\.txt.*disagree on 1 pictures, such as '1'"):
        layouts.read_cub200(tmp_path)
    (tmp_path / "train_test_split.txt").write_text("\n".join([*lines, lines[0]]))
    with pytest.raises(DataError, match=r"line 19 repeats '2'"):
        layouts.read_cub200(tmp_path)
    (tmp_path / "train_test_split.txt").write_text("\n".join([*lines[:-1], "1"]))
    with pytest.raises(DataError, match="one column"):
        layouts.read_cub200(tmp_path)
    (tmp_path / "train_test_split.txt").unlink()
    with pytest.raises(DataError, match=r"does not hold .*train_test_split\.txt"):
        layouts.read_cub200(tmp_path)


def test_nabirds_labels_follow_the_sorted_class_numbers(tmp_path):
    listing = layouts.read_nabirds(write_nabirds(tmp_path / "nabirds", nodes=(817, 295, 1010)))
    assert listing.class_names == ["Common Eider (Adult male)", "Oak Titmouse", "Verdin"]
    by_folder = {r.path.split("/")[-2]: r.label for r in listing.splits["train"]}
    assert by_folder == {"0295": 0, "0817": 1, "1010": 2}
    assert sizes(listing) == {"train": 9, "test": 3}


def test_cars_both_layouts(tmp_path):
    new = layouts.read_stanford_cars(write_cars(tmp_path / "new" / "stanford_cars").parent)
    old = layouts.read_stanford_cars(write_cars(tmp_path / "old", older=True))
    assert sizes(new) == {"train": 4, "test": 4}
    assert sizes(old) == {"train": 5, "test": 3}
    assert new.class_names == old.class_names == ["AM General Hummer SUV 2000", "Audi S4 Sedan 2012"]
    assert [r.label for r in new.splits["train"]] == [0, 1, 0, 1]
    assert new.splits["test"][0].path.endswith("cars_test/00001.jpg")
    assert old.splits["test"][0].path.endswith("car_ims/000006.jpg")
    with pytest.raises(DataError, match="expected 8144 of 196"):
        check_counts(old)


def test_cars_devkit_has_no_test_labels(tmp_path):
    write_cars(tmp_path, test_labels=False)
    with pytest.raises(DataError, match=r"cars_test_annos_withlabels\.mat.*has no labels"):
        layouts.read_stanford_cars(tmp_path)


def test_cars_broken_list(tmp_path):
    write_cars(tmp_path)
    (tmp_path / "devkit" / "cars_train_annos.mat").write_bytes(b"\0" * 300)
    with pytest.raises(DataError, match=r"cars_train_annos\.mat' is not a readable MATLAB file"):
        layouts.read_stanford_cars(tmp_path)


@pytest.mark.parametrize(
    ("level", "classes"),
    [
        ("variant", ["707-320", "F/A-18", "Boeing 717"]),
        ("family", ["Boeing 707", "F/A-18"]),
        ("manufacturer", ["Boeing", "McDonnell Douglas"]),
    ],
)
def test_aircraft_names_are_split_on_the_first_space(tmp_path, level, classes):
    write_aircraft(tmp_path / "fgvc-aircraft-2013b")
    listing = layouts.read_aircraft(tmp_path, level=level, official_val=False)
    assert listing.class_names == classes
    assert sizes(listing) == {"train": 9, "test": 3}
    assert {r.label for r in listing.splits["train"]} == set(range(len(classes)))


def test_aircraft_official_validation_leaves_training(tmp_path):
    write_aircraft(tmp_path)
    listing = layouts.read_aircraft(tmp_path, level="variant", official_val=True)
    assert sizes(listing) == {"train": 6, "val": 3, "test": 3}
    assert listing.expected["train"] == (3_334, 100)
    assert not {r.path for r in listing.splits["train"]} & {r.path for r in listing.splits["val"]}


def test_aircraft_banner_is_cut_off(tmp_path):
    write_aircraft(tmp_path, size=(60, 48))
    data = FGVCData("aircraft", str(tmp_path), image_size=(40, 40), resize=(40, 40), batch_size=4, check_counts=False)
    shown = data.picture("test", 0)
    assert shown.size == (48, 40)
    data.setup("test")
    (batch,) = data.test_dataloader()
    pixels = batch["image"].permute(0, 2, 3, 1).numpy() * 0.5 + 0.5
    red = (pixels[..., 0] > 0.9) & (pixels[..., 1] < 0.2)
    assert red.sum() == 0
    np.testing.assert_allclose(np.asarray(data.seen("test", 0)) / 255, pixels[0], atol=1e-6)


def test_aircraft_unknown_name(tmp_path):
    write_aircraft(tmp_path)
    path = tmp_path / "data" / "images_variant_test.txt"
    path.write_text(path.read_text() + "1025794 707\n")
    with pytest.raises(DataError, match=r"line 4: '707' is not in variants\.txt"):
        layouts.read_aircraft(tmp_path, level="variant", official_val=False)


def test_image_folder(tmp_path):
    listing = layouts.read_image_folder(write_image_folder(tmp_path, splits=("train", "val", "test")))
    assert sizes(listing) == {"train": 12, "val": 12, "test": 12}
    assert listing.class_names == ["class_0", "class_1", "class_2"]
    write_image_folder(tmp_path, splits=("test",), classes=4)
    with pytest.raises(DataError, match="has the class 'class_3', which train does not have"):
        layouts.read_image_folder(tmp_path)


def test_what_an_image_folder_passes_over_is_counted(tmp_path):
    root = write_image_folder(tmp_path)
    for name in ("train/loose.png", "train/class_0/._x.png", "train/class_0/a.gif", "train/class_0/more/b.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    for name in (".cache", "validation"):
        (root / name).mkdir()
    listing = layouts.read_image_folder(root)
    assert sizes(listing) == {"train": 12, "test": 12}
    assert listing.notes["passed_over"] == {
        ".": {"folder": 1, "hidden": 1},
        "train": {".png": 1},
        "train/class_0": {".gif": 1, "folder": 1, "hidden": 1},
    }
    data = FGVCData("image_folder", str(root), image_size=(8, 8), resize=(8, 8), batch_size=4)
    assert data.protocol["passed_over"] == listing.notes["passed_over"]


def test_an_odd_half_of_cub_is_an_error(tmp_path):
    root = layouts.read_cub_folder(write_cub(tmp_path)).root
    path = root / "train_test_split.txt"
    number = path.read_text().split()[0]
    path.write_text(path.read_text().replace(f"{number} ", f"{number} 2", 1))
    with pytest.raises(DataError, match=rf"train_test_split\.txt' has '2\d' for picture '{number}': use 1"):
        layouts.read_cub_folder(tmp_path)


def test_fgvc_manifest_orders_numbers_by_value(tmp_path):
    write_image_folder(tmp_path)
    lines = [f"train/class_{n % 3}/train_{n // 3}.png,{[9, 10, 2][n % 3]}," for n in range(6)]
    (tmp_path / "m.csv").write_text("\n".join(["path,label,split", *lines, "test/class_0/test_0.png,9,test"]))
    listing = layouts.read_fgvc_manifest(tmp_path / "m.csv")
    assert listing.class_names == ["2", "9", "10"]
    assert sizes(listing) == {"train": 6, "test": 1}
    (tmp_path / "m.csv").write_text("path,label,split\ntrain/class_0/train_0.png,1,dev\n")
    with pytest.raises(DataError, match="split='dev' is none of train, val, test"):
        layouts.read_fgvc_manifest(tmp_path / "m.csv")
