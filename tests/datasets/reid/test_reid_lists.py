"""MSMT17, VeRi-776 and VehicleID on generated trees."""

import shutil

import pytest
from synthetic import save, write_market
from synthetic_sets import write_msmt17, write_vehicleid, write_veri776

from vision_suite.datasets.pictures.records import check_counts, relabel
from vision_suite.datasets.reid import lists
from vision_suite.errors import DataError
from vision_suite.types import Role


@pytest.mark.parametrize(
    ("place", "folders", "layout"),
    [
        ("MSMT17_V1", ("train", "test"), "MSMT17"),
        ("MSMT17_V2", ("mask_train_v2", "mask_test_v2"), "MSMT17 version 2"),
        ("", ("train", "test"), "MSMT17"),
        ("msmt17", ("train", "test"), "MSMT17"),
    ],
)
def test_msmt17_versions(tmp_path, place, folders, layout):
    write_msmt17(tmp_path / place, folders=folders)
    listing = lists.read_msmt17(tmp_path, use_val=True)
    assert listing.layout == layout
    assert {name: len(records) for name, records in listing.splits.items()} == {"train": 24, "query": 9, "gallery": 9}
    assert all(f"/{folders[0]}/" in r.path for r in listing.splits["train"])
    assert all(f"/{folders[1]}/" in r.path and r.role == Role.QUERY for r in listing.splits["query"])


def test_msmt17_camera_is_the_third_field_of_the_path_and_identity_the_last_column(tmp_path):
    write_msmt17(tmp_path, train_ids=2, cameras=3)
    train = lists.read_msmt17(tmp_path, use_val=True).splits["train"]
    assert sorted({r.camera for r in train}) == [0, 1, 2]
    # The name of this picture says identity 0001, the list says 77: the list is right.
    path = "0001/0001_900_15_0303noon_0001_0.jpg"
    save(tmp_path / "train" / path, 1)
    with (tmp_path / "list_train.txt").open("a") as file:
        file.write(f"{path} 77\n")
    (extra,) = [r for r in lists.read_msmt17(tmp_path, use_val=True).splits["train"] if r.label == 77]
    assert extra.camera == 14


def test_msmt17_val_is_used_or_left_and_said(tmp_path):
    write_msmt17(tmp_path)
    with_val, without = (lists.read_msmt17(tmp_path, use_val=use) for use in (True, False))
    assert len(with_val.splits["train"]) - len(without.splits["train"]) == 4
    assert with_val.notes["msmt17_use_val"] is True
    assert without.notes["msmt17_use_val"] is False
    assert (with_val.expected["train"], without.expected["train"]) == ((32_621, 1_041), (30_248, 1_041))


def test_msmt17_test_identities_never_join_training_ones(tmp_path):
    listing = lists.read_msmt17(write_msmt17(tmp_path, train_ids=4, test_ids=3), use_val=True)
    _, originals = relabel(listing.splits["train"])
    assert originals == [0, 1, 2, 3], "test identities 0..2 add nothing"
    assert {r.label for r in listing.splits["gallery"]} == {0, 1, 2}


def test_msmt17_lists_come_out_sorted(tmp_path):
    paths = [r.path for r in lists.read_msmt17(write_msmt17(tmp_path), use_val=True).splits["gallery"]]
    assert paths == sorted(paths)


def test_msmt17_missing_list_is_named(tmp_path):
    write_msmt17(tmp_path)
    (tmp_path / "list_gallery.txt").unlink()
    with pytest.raises(DataError, match=r"list file .*list_gallery\.txt' is missing"):
        lists.read_msmt17(tmp_path, use_val=True)


def test_msmt17_bad_line_is_named(tmp_path):
    write_msmt17(tmp_path)
    (tmp_path / "list_query.txt").write_text("0000/strange.jpg 3\n")
    with pytest.raises(DataError, match=r"list_query\.txt' line 1"):
        lists.read_msmt17(tmp_path, use_val=True)


def test_msmt17_without_pictures(tmp_path):
    write_msmt17(tmp_path)
    shutil.rmtree(tmp_path / "test")
    with pytest.raises(DataError, match="neither the folders train and test or mask_train_v2"):
        lists.read_msmt17(tmp_path, use_val=True)


def test_msmt17_repacked_as_market_says_so(tmp_path):
    write_market(tmp_path / "MSMT17")
    with pytest.raises(DataError, match="use dataset market_folder"):
        lists.read_msmt17(tmp_path, use_val=True)
    with pytest.raises(DataError, match=r"list_train\.txt"):
        lists.read_msmt17(tmp_path / "MSMT17" / "query", use_val=True)


def test_veri_cameras_have_three_digits(tmp_path):
    listing = lists.read_veri776(write_veri776(tmp_path / "VeRi", cameras=(1, 2, 12, 20)))
    assert sorted({r.camera for r in listing.splits["gallery"]}) == [0, 1, 11, 19]
    assert sorted({r.label for r in listing.splits["train"]}) == [1, 4, 9]


def test_veri_keeps_pictures_without_a_viewpoint(tmp_path):
    listing = lists.read_veri776(write_veri776(tmp_path))
    train = listing.splits["train"]
    assert len(train) == 12
    assert [r.view for r in train].count(-1) == 1 == listing.notes["train_without_viewpoint"]
    assert {r.view for r in train} == {-1, 0, 1, 2, 3}
    bare = lists.read_veri776(write_veri776(tmp_path / "bare", viewpoints=False))
    assert {r.view for r in bare.splits["train"]} == {-1}


def test_vehicleid_has_no_cameras_and_one_test_list(tmp_path):
    write_vehicleid(tmp_path / "VehicleID_V1.0", train_ids=4, test_ids=3, shots=3)
    listing = lists.read_vehicleid(tmp_path, test_identities=800)
    assert {r.camera for r in listing.splits["train"]} == {-1}
    assert sorted(r.label for r in listing.splits["gallery"]) == [50] * 3 + [51] * 3 + [52] * 3
    assert listing.splits["gallery"][0].path.endswith("image/0000013.jpg")
    with pytest.raises(DataError, match=r"test_list_2400\.txt' is missing"):
        lists.read_vehicleid(tmp_path, test_identities=2400)
    with pytest.raises(DataError, match="expected any of 800"):
        check_counts(listing)


def test_vehicleid_bad_line_is_named(tmp_path):
    write_vehicleid(tmp_path)
    (tmp_path / "train_test_split" / "train_list.txt").write_text("0000001 3\n0000002\n")
    with pytest.raises(DataError, match=r"train_list\.txt' line 2"):
        lists.read_vehicleid(tmp_path, test_identities=800)
