"""What a checkpoint holds of re-ID data: the preprocessing as settings, and the names of cameras and identities."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from round_trip import restored
from synthetic import write_market
from synthetic_sets import write_cuhk03, write_msmt17, write_vehicleid, write_veri776
from toy_facts import PaletteData

from vision_suite.datasets.reid.data import ReIDData

SIZES = st.tuples(st.integers(1, 64), st.integers(1, 64))
NUMBERS = st.floats(0.01, 2)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "image_size": SIZES,
        "mean": st.tuples(NUMBERS, NUMBERS, NUMBERS),
        "std": st.tuples(NUMBERS, NUMBERS, NUMBERS),
        "interpolation": st.sampled_from(["bicubic", "bilinear"]),
        "transreid_compat": st.booleans(),
    },
)


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    root = write_market(tmp_path_factory.mktemp("photos"), train_ids=1, test_ids=1)
    return str(root / "query")


@given(settings=SETTINGS, other=SETTINGS)
def test_settings_of_a_stored_preprocessing_give_it_again(photo, settings, other):
    data = ReIDData(predict_inputs=photo, **settings)
    assert restored(data, predict_inputs=photo, **other).preprocessing == data.preprocessing


def test_a_file_of_an_earlier_version_gives_what_it_tells(photo):
    """It did not tell transreid_compat, and its interpolation is that of evaluation."""
    stored = {**ReIDData(predict_inputs=photo, transreid_compat=True, image_size=(8, 4)).preprocessing}
    del stored["transreid_compat"]
    new = ReIDData(predict_inputs=photo, **ReIDData.evaluation_settings(stored))
    assert new.preprocessing == {**stored, "transreid_compat": False}
    assert ReIDData.evaluation_settings({"mean": [0, 0, 1]}) == {"mean": [0.0, 0.0, 1.0]}


def test_a_subclass_that_fixes_its_preprocessing_gets_no_settings(tmp_path):
    data = PaletteData(str(write_market(tmp_path, train_ids=2, test_ids=1)))
    assert restored(data, root=str(tmp_path)).preprocessing == data.preprocessing
    assert PaletteData.evaluation_settings(data.preprocessing) == {}
    assert data.fact_contents["num_colours"] == 0


@pytest.mark.parametrize(
    ("dataset", "write", "cameras"),
    [
        ("market_folder", write_market, ["c1", "c2", "c3"]),
        ("msmt17", write_msmt17, ["01", "02", "03"]),
        ("veri776", write_veri776, ["c001", "c002", *[None] * 9, "c012", *[None] * 7, "c020"]),
        ("vehicleid", write_vehicleid, []),
        ("cuhk03", write_cuhk03, ["c1", "c2"]),
    ],
)
def test_cameras_keep_the_names_of_the_data_set(tmp_path, dataset, write, cameras):
    write(tmp_path)
    contents = ReIDData(dataset, str(tmp_path), check_counts=False).fact_contents
    assert contents["num_cameras"] == cameras
    assert contents["num_views"] == (["0", "1", "2", "3"] if dataset == "veri776" else [])


def test_a_manifest_keeps_its_names(tmp_path):
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg"):
        (tmp_path / name).write_bytes(b"")
    rows = ["a.jpg,zebra,4,train,1", "b.jpg,ape,4,train,", "c.jpg,cat,2,query,", "d.jpg,cat,4,gallery,"]
    (tmp_path / "list.csv").write_text("\n".join(["path,id,camera,split,view", *rows]))
    contents = ReIDData("manifest", str(tmp_path / "list.csv")).fact_contents
    assert contents["num_classes"] == ["ape", "zebra"], "training identities, by label"
    assert contents["num_cameras"] == [None, None, "2", None, "4"]
    assert contents["num_views"] == [None, "1"]


def test_many_identities_are_stored_as_a_checksum(tmp_path):
    lines = [f"{n}.jpg,{n},1,train" for n in range(101)]
    for n in range(101):
        (tmp_path / f"{n}.jpg").write_bytes(b"")
    (tmp_path / "list.csv").write_text("\n".join(["path,id,camera,split", *lines]))
    contents = ReIDData("manifest", str(tmp_path / "list.csv")).fact_contents
    assert contents["num_classes"]["count"] == 101
    assert len(contents["num_classes"]["sha256"]) == 64
