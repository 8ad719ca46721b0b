"""What a checkpoint holds of classification data: the preprocessing as settings, and the class names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from round_trip import restored
from synthetic import save
from synthetic_sets import write_aircraft, write_cub

from vision_suite.datasets.fgvc.data import FGVCData

NUMBERS = st.floats(0.01, 2)
SETTINGS = st.fixed_dictionaries(
    {
        "image_size": st.tuples(st.integers(1, 64), st.integers(1, 64)),
        "resize": st.tuples(st.integers(64, 99), st.integers(64, 99)),
    },
    optional={
        "dataset": st.sampled_from(["aircraft", "cub200", "image_folder"]),
        "mean": st.tuples(NUMBERS, NUMBERS, NUMBERS),
        "std": st.tuples(NUMBERS, NUMBERS, NUMBERS),
        "interpolation": st.sampled_from(["bicubic", "bilinear"]),
        "crop_bottom": st.none() | st.integers(0, 30),
    },
)


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "one.png"
    save(path, 1)
    return str(path)


@given(settings=SETTINGS, other=SETTINGS)
def test_settings_of_a_stored_preprocessing_give_it_again(photo, settings, other):
    data = FGVCData(predict_inputs=photo, **settings)
    assert restored(data, predict_inputs=photo, **other).preprocessing == data.preprocessing


def test_the_banner_of_aircraft_is_cut_off_photos_too(tmp_path, photo):
    data = FGVCData("aircraft", str(write_aircraft(tmp_path)), (32, 32), (40, 40), check_counts=False)
    loose = restored(data, predict_inputs=photo)
    assert data.preprocessing["crop_bottom"] == loose.preprocessing["crop_bottom"] == 20
    assert FGVCData(predict_inputs=photo).preprocessing["crop_bottom"] == 0


def test_facts_are_the_class_names(tmp_path):
    data = FGVCData("cub_folder", str(write_cub(tmp_path)))
    assert data.fact_contents == {
        "num_classes": ["001.Bird_1", "002.Bird_2", "003.Bird_3"], "num_cameras": [], "num_views": []
    }  # fmt: skip
