"""What a checkpoint holds of detection data: the preprocessing as settings, class names, and the features' origin."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from round_trip import restored
from synthetic_tad import write_feature_set

from vision_suite.datasets.tad.data import TADData
from vision_suite.datasets.tad.sampling import FeatureInfo

SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "mode": st.sampled_from(["resize", "window"]),
        "num_cells": st.integers(1, 99),
        "every": st.integers(1, 5),
        "test_overlap": st.floats(0, 0.9),
        "train_overlap": st.floats(0, 0.9),
        "join": st.sampled_from(["interpolate", "truncate"]),
        "sampling": st.none()
        | st.builds(
            FeatureInfo, fps=st.none() | st.floats(1, 60), stride=st.integers(1, 16), clip=st.floats(1, 16),
            offset=st.integers(0, 8), channels=st.sampled_from([0, 8]), extractor=st.just({"kind": "video"}),
        )
        | st.just(FeatureInfo(resized=True)),
    },
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return str(write_feature_set(tmp_path_factory.mktemp("set"), videos=8))


@given(settings=SETTINGS, other=SETTINGS)
@pytest.mark.filterwarnings("ignore:.*but sampling")
def test_settings_of_a_stored_preprocessing_give_it_again(root, settings, other):
    data = TADData(root, **settings)
    assert restored(data, root=root, **other).preprocessing == data.preprocessing


def test_facts_tell_the_features(root):
    contents = TADData(root).fact_contents
    assert contents["num_classes"] == ["circle", "square"]
    assert contents["num_cells"] == 100
    assert contents["in_channels"]["width"] == 8
    assert contents["in_channels"]["features"] == ["features"]
    assert contents["in_channels"]["sampling"]["fps"] == 2
    json.dumps(contents)


def test_sampling_that_contradicts_the_file_is_told(tmp_path):
    """A checkpoint's sampling must not put a wrong clock on other features without a word."""
    root = write_feature_set(tmp_path)
    with pytest.warns(UserWarning, match=r"says fps=2, .* says fps=4, .* pass --data.sampling null"):
        data = TADData(str(root), sampling=FeatureInfo(fps=4, stride=2, clip=1))
    assert data.info.fps == 4
    (root / "features" / "features.json").unlink()
    assert TADData(str(root), sampling={"fps": 2, "stride": 1, "clip": 1}).info == FeatureInfo(fps=2, stride=1, clip=1)


def test_the_way_of_joining_is_part_of_the_preprocessing(tmp_path):
    """Sets of different length give other rows by another rule."""
    write_feature_set(tmp_path, videos=8, features="one")
    write_feature_set(tmp_path, videos=8, features="two", rows=66)
    sampling = {"fps": 2, "stride": 1, "clip": 8}
    common = {"features": ["one", "two"], "num_cells": 30, "num_workers": 0, "sampling": sampling}
    data = TADData(str(tmp_path), join="truncate", **common)
    again = restored(data, root=str(tmp_path), **{**common, "join": "interpolate"})
    batches = []
    for each in (data, again):
        each.setup("test")
        batches.append(next(iter(each.test_dataloader()))["features"].numpy())
    np.testing.assert_array_equal(*batches)
