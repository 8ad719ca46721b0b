"""CUHK03's container and folders on generated files."""

import h5py
import numpy as np
import pytest
from scipy.io import loadmat, savemat
from synthetic import draw, write_market
from synthetic_sets import write_cuhk03

from vision_suite.datasets.pictures.containers import read_picture
from vision_suite.datasets.pictures.images import check_pictures, open_picture
from vision_suite.datasets.pictures.records import check_counts
from vision_suite.datasets.reid.cuhk03 import read_cuhk03
from vision_suite.errors import DataError
from vision_suite.types import Role


def new(root, boxes="detected"):
    return read_cuhk03(root, boxes=boxes, split="new", trial=0)


def test_new_protocol_from_the_container(tmp_path):
    listing = new(write_cuhk03(tmp_path, ids_per_pair=3))
    # Per pair: identity 1 lacks two of ten pictures, identity 2 has all, identity 3 is tested.
    assert {name: len(records) for name, records in listing.splits.items()} == {"train": 36, "query": 4, "gallery": 16}
    assert {r.label for r in listing.splits["query"]} == {3, 6}
    assert {r.camera for r in listing.splits["gallery"]} == {0, 1}
    assert {r.role for r in listing.splits["query"]} == {Role.QUERY}


def test_container_pixels_are_upright_and_in_rgb_order(tmp_path):
    root = write_cuhk03(tmp_path)
    address = f"{root / 'cuhk03_release' / 'cuhk-03.mat'}::labeled/2/3/7"
    expected = np.asarray(draw(12, 1, 6, (20, 10)))
    np.testing.assert_array_equal(read_picture(address), expected)
    np.testing.assert_array_equal(np.asarray(open_picture(address)), expected)


def test_all_listed_container_pictures_can_be_read(tmp_path):
    listing = new(write_cuhk03(tmp_path))
    assert check_pictures([r.path for records in listing.splits.values() for r in records], workers=2) == []


@pytest.mark.parametrize("place", ["detected/1/1/5", "detected/3/1/1", "detected/1/9/1", "other/1/1/1", "detected/1"])
def test_a_missing_container_picture_is_one_error(tmp_path, place):
    address = f"{write_cuhk03(tmp_path) / 'cuhk03_release' / 'cuhk-03.mat'}::{place}"
    with pytest.raises(DataError, match="cannot be read"):
        open_picture(address)


def test_extracted_pictures_are_preferred(tmp_path):
    root = write_cuhk03(tmp_path)
    (root / "images_detected").mkdir()
    listing = new(root)
    assert listing.splits["train"][0].path == str(root / "images_detected" / "1_001_1_01.png")


def test_classic_protocol(tmp_path):
    listing = read_cuhk03(write_cuhk03(tmp_path, ids_per_pair=3), boxes="labeled", split="classic", trial=0)
    assert {name: len(records) for name, records in listing.splits.items()} == {"train": 36, "query": 20, "gallery": 20}
    assert {r.label for r in listing.splits["query"]} == {10_003, 20_003}
    assert [r.path for r in listing.splits["query"]] == [r.path for r in listing.splits["gallery"]]
    assert not {r.label for r in listing.splits["train"]} & {10_003, 20_003}
    with pytest.raises(DataError, match="test sets 0 to 0"):
        read_cuhk03(tmp_path, boxes="labeled", split="classic", trial=5)


@pytest.mark.parametrize("spelling", ["labeled", "labelled"])
def test_new_protocol_folders(tmp_path, spelling):
    write_market(tmp_path / "cuhk03-np" / spelling, train_ids=4, suffix=".png", cameras=2)
    write_market(tmp_path / "cuhk03-np" / "detected", train_ids=5, suffix=".png", cameras=2)
    assert new(tmp_path, "labeled").counts()["train"]["identities"] == 4
    assert new(tmp_path, "detected").counts()["train"]["identities"] == 5
    assert new(tmp_path / "cuhk03-np" / spelling, "labeled").counts()["train"]["identities"] == 4
    with pytest.raises(DataError, match="found 16 of 4, expected 7368 of 767"):
        check_counts(new(tmp_path, "labeled"))


def test_the_folder_of_the_other_boxes_does_not_pass(tmp_path):
    write_market(tmp_path / "detected", suffix=".png")
    with pytest.raises(DataError, match=r"holds neither cuhk-03\.mat"):
        new(tmp_path / "detected", "labeled")


def test_missing_list_and_broken_container(tmp_path):
    root = write_cuhk03(tmp_path)
    (root / "cuhk03_new_protocol_config_detected.mat").unlink()
    with pytest.raises(DataError, match=r"cuhk03_new_protocol_config_detected.*is missing"):
        new(root)
    (root / "cuhk03_release" / "cuhk-03.mat").write_bytes(b"not a container")
    with pytest.raises(DataError, match=r"MATLAB 7\.3"):
        read_cuhk03(root, boxes="detected", split="classic", trial=0)


def test_containers_of_something_else_are_one_line(tmp_path):
    root = write_cuhk03(tmp_path)
    container = root / "cuhk03_release" / "cuhk-03.mat"
    with h5py.File(container, "a") as file:
        cells = file["#refs#"]
        for place, pixels in {
            "detected_0_1_0": np.zeros((1, 5, 5), np.uint8),
            "detected_0_1_1": np.zeros((3, 5, 5), np.float32),
            "detected_0_1_2": np.zeros((3, 0, 5), np.uint8),
        }.items():
            del cells[place]
            cell = cells.create_dataset(f"{place}_other", data=pixels)
            cells["detected0"][int(place[-1]), 1] = cell.ref
        del file["testsets"]
    addresses = [f"{container}::detected/1/2/{picture}" for picture in (1, 2, 3, 4)]
    bad = check_pictures(addresses, workers=1)
    assert [one.path for one in bad] == addresses[:3]
    assert {one.reason for one in bad} == {"an empty cell of the container, or no RGB picture of 8 bits"}
    with pytest.raises(DataError, match=r"cuhk-03\.mat' is damaged or no container of CUHK03"):
        read_cuhk03(root, boxes="detected", split="classic", trial=0)


def test_a_list_that_names_pictures_beyond_its_files(tmp_path):
    root = write_cuhk03(tmp_path)
    path = root / "cuhk03_new_protocol_config_detected.mat"
    table = {name: value for name, value in loadmat(path).items() if not name.startswith("__")}
    for name, value in (("query_idx", np.array([0, 2])), ("gallery_idx", np.array([999])), ("labels", np.array([1]))):
        savemat(path, {**table, name: value})
        with pytest.raises(DataError, match=r"config_detected\.mat' names pictures that are not among its \d+ files"):
            new(root)
    savemat(path, {**table, "labels": np.array(["a"] * 3, dtype=object)})
    with pytest.raises(DataError, match="labels or numbers of pictures that are not whole"):
        new(root)
