"""What a checkpoint holds of detection data: the preprocessing as settings, class names, and the features' origin."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning import Trainer
from round_trip import restored
from synthetic_tad import write_feature_set

from vision_suite.datasets.tad.data import TADData
from vision_suite.datasets.tad.sampling import FeatureInfo
from vision_suite.errors import ConfigError
from vision_suite.lit_modules.recognizer import LitRecognizer

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


CHECKSUM = {"kind": "video", "backbone": "timm:resnet10t", "weights": "a.pt", "checksum": "0123"}


def noted(root, folder="features", **extractor):
    """Write another extractor beside the features."""
    path = root / folder / "features.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "extractor": {**CHECKSUM, **extractor}}))


def test_features_of_another_extractor_are_refused(tmp_path):
    root = write_feature_set(tmp_path, videos=8)
    noted(root)
    data = TADData(str(root))
    noted(root, weights="elsewhere/a.pt")
    assert restored(data, root=str(root)).info == data.info
    noted(root, checksum="4567")
    with pytest.raises(
        ConfigError, match=r"features' were made by an extractor of checksum '4567', .* of checksum '0123'"
    ):
        restored(data, root=str(root))
    assert TADData(str(root)).info.extractor["checksum"] == "4567"


def test_each_of_joined_sets_has_its_extractor(tmp_path):
    for name in ("one", "two"):
        write_feature_set(tmp_path, videos=8, features=name)
        noted(tmp_path, name, checksum=name)
    data = TADData(str(tmp_path), features=["one", "two"])
    assert [each["checksum"] for each in data.info.extractor["joined"]] == ["one", "two"]
    assert restored(data, root=str(tmp_path), features=["one", "two"]).preprocessing == data.preprocessing
    noted(tmp_path, "two", checksum="three")
    with pytest.raises(ConfigError, match="two' were made by an extractor of checksum 'three'"):
        restored(data, root=str(tmp_path), features=["one", "two"])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A recogniser that was trained a step on every second row in windows of 12, and its data set."""
    folder = tmp_path_factory.mktemp("trained")
    root = write_feature_set(folder / "set", videos=8)
    noted(root)
    data = TADData(str(root), mode="window", num_cells=12, every=2, num_workers=0, test_overlap=0.25, batch_size=2)
    trainer = quiet(max_steps=1, limit_val_batches=0)
    trainer.fit(LitRecognizer(2, 8, 12, width=4, depth=1), data)
    trainer.save_checkpoint(folder / "a.ckpt")
    return folder


def quiet(**settings):
    return Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
                   accelerator="cpu", **settings)  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("command", ["test", "validate"])
def test_the_checkpoint_rules_evaluation_without_the_command_line(checkpoint, command):
    """The same numbers as with the settings repeated, and one line that tells of them."""

    def scored(**settings):
        data = TADData(str(checkpoint / "set"), num_workers=0, **settings)
        said = []
        data.warn = said.append
        module = LitRecognizer(2, 8, 12, width=4, depth=1)
        (metrics,) = getattr(quiet(), command)(module, data, ckpt_path=checkpoint / "a.ckpt", verbose=False)
        return metrics, said, module.report.protocol

    repeated = {"mode": "window", "num_cells": 12, "every": 2, "test_overlap": 0.25}
    expected, nothing, protocol = scored(**repeated)
    assert nothing == []
    metrics, said, other = scored(num_cells=100, every=1)
    assert metrics == expected
    assert said == [
        "The checkpoint's preprocessing is used: mode is 'window' in the checkpoint and 'resize' in the data; "
        "num_cells is 12 in the checkpoint and 100 in the data; every is 2 in the checkpoint and 1 in the data; "
        "overlap is 0.25 in the checkpoint and 0.5 in the data"
    ]
    assert {name: other[name] for name in repeated if name in other} == {
        name: protocol[name] for name in repeated if name in protocol
    }


@pytest.mark.filterwarnings("ignore")
def test_an_evaluation_of_other_features_is_refused(checkpoint, tmp_path):
    root = write_feature_set(tmp_path / "other", videos=8)
    noted(root, checksum="4567")
    module = LitRecognizer(2, 8, 12, width=4, depth=1)
    with pytest.raises(ConfigError, match=r"checksum '4567', .* checksum '0123'"):
        quiet().test(module, TADData(str(root), num_workers=0), ckpt_path=checkpoint / "a.ckpt", verbose=False)


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
