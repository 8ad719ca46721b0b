"""What a checkpoint holds of scanpath data: the preprocessing as settings, and what sizes and vectors are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from round_trip import restored
from scanpath_fixture import amazon, picture, table

from vision_suite.datasets.scanpath.data import ScanpathData
from vision_suite.datasets.scanpath.grid import GridRule, GridScanpathData
from vision_suite.datasets.scanpath.predict.data import ScanpathPictureData
from vision_suite.datasets.scanpath.predict.settings import PictureSettings
from vision_suite.datasets.scanpath.scenes import CropSettings
from vision_suite.errors import CheckpointError

NUMBERS = st.floats(0.01, 2)
THREE = st.tuples(NUMBERS, NUMBERS, NUMBERS)
SIZES = st.tuples(st.integers(1, 99), st.integers(1, 99))
CROPS = {"crop_size": SIZES, "mean": THREE, "std": THREE}
WINDOWS = st.just({}) | st.fixed_dictionaries(
    {"window": st.integers(3, 9)}, optional={"test_overlap": st.integers(0, 2), "train_window": st.integers(2, 9)}
)


def settings(**more):
    """Settings of a data set; those of windows must go together."""
    usual = st.fixed_dictionaries({}, optional={**CROPS, **more})
    return st.builds(lambda a, b: {**a, **b}, usual, WINDOWS)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    return str(table(tmp_path_factory.mktemp("table") / "set"))


@pytest.fixture(scope="module")
def covers(tmp_path_factory):
    return str(amazon(tmp_path_factory.mktemp("covers"), pictures=True))


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "one.png"
    picture(path, (40, 30))
    return str(path)


OBJECTS = {"objects": st.sampled_from(["crops", "features"]), "target_from": st.sampled_from(["object", None])}


@given(own=settings(**OBJECTS), other=settings(**OBJECTS))
def test_settings_of_a_stored_preprocessing_give_it_again(vectors, own, other):
    data = ScanpathData("table", vectors, folds=3, **own)
    assert restored(data, dataset="table", root=vectors, folds=3, **other).preprocessing == data.preprocessing


@given(own=settings(), other=settings())
def test_settings_of_covers_give_their_crops_again(covers, own, other):
    data = ScanpathData("amazon_covers", covers, **own)
    assert restored(data, dataset="amazon_covers", root=covers, **other).preprocessing == data.preprocessing


@given(own=settings(), other=settings())
def test_pictures_given_to_predict_take_the_crops(covers, photo, own, other):
    """By the flags of ScanpathData and by the datamodule of their own; recordings have windows, pictures none."""
    trained = ScanpathData("amazon_covers", covers, **own)
    stored = trained.preprocessing
    given_flags = {**other, **ScanpathData.evaluation_settings(stored)}
    flags = ScanpathData(predict_inputs=photo, grid=(2, 2), **given_flags)
    pictures = PictureSettings(photo, grid=(2, 2))
    alone = ScanpathPictureData(pictures, **ScanpathPictureData.evaluation_settings(stored))
    for data in (flags, alone):
        assert data.preprocessing.items() <= stored.items()
        assert set(stored) - set(data.preprocessing) == {"window", "test_overlap"}


@given(SIZES, THREE, THREE)
def test_settings_of_pictures_give_them_again(photo, size, mean, std):
    pictures = PictureSettings(photo, grid=(2, 2))
    data = ScanpathPictureData(pictures, CropSettings(size, mean, std))
    assert restored(data, pictures=pictures, crops=CropSettings()).preprocessing == data.preprocessing


def test_a_network_trained_on_vectors_sees_crops_as_its_encoder_wants_them(vectors, photo):
    stored = ScanpathData("table", vectors, folds=3, crop_size=(9, 9)).preprocessing
    flags = ScanpathData(predict_inputs=photo, grid=(2, 2), **ScanpathData.evaluation_settings(stored))
    assert flags.preprocessing["crop_size"] == [224, 224]


@given(
    rule=st.builds(GridRule, rows=st.integers(1, 3), width=st.integers(1, 9), noise=st.floats(0, 1)),
    seed=st.integers(0, 2**31),
)
def test_settings_of_the_grid_give_it_again(rule, seed):
    few = {"train_scenes": 1, "validation_scenes": 1, "test_scenes": 1}
    data = GridScanpathData(rule, seed=seed, **few)
    assert restored(data, seed=1, rule=GridRule(columns=5), **few).preprocessing == data.preprocessing


def test_a_width_that_contradicts_the_rule_is_refused():
    stored = {"rule": {"width": 4}, "in_channels": 5}
    with pytest.raises(CheckpointError, match="in_channels=5, which is not 4"):
        GridScanpathData.evaluation_settings(stored)


def test_facts_tell_vectors_and_sizes(vectors, covers):
    contents = ScanpathData("table", vectors, folds=3).fact_contents
    assert contents["in_channels"]["features"] is None
    assert contents["in_channels"]["width"] > 0
    contents = ScanpathData("amazon_covers", covers).fact_contents
    assert (contents["in_channels"], contents["num_positions"]) == (0, 14)
    few = {"train_scenes": 1, "validation_scenes": 1, "test_scenes": 1}
    contents = GridScanpathData(seed=5, **few).fact_contents
    assert contents == {
        "num_classes": 12, "num_positions": 4, "max_length": 8,
        "in_channels": {"width": 16, "classes": 3, "noise": 0.3, "seed": 5},
    }  # fmt: skip
