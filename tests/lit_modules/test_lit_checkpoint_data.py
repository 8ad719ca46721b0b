"""A checkpoint's data against those of a run, through Lightning: errors, warnings, and what is taken over."""

import shutil
import warnings

import pytest
import torch
from lit_training import NETWORK, QUIET, market_data, module
from pytorch_lightning import Trainer
from synthetic import write_market
from synthetic_sets import write_image_folder
from synthetic_tad import write_feature_set

from vision_suite.callbacks.predict.pictures import PredictionWriter
from vision_suite.datasets.fgvc.data import FGVCData
from vision_suite.datasets.tad.annotations import read_annotations, write_annotations
from vision_suite.datasets.tad.data import TADData
from vision_suite.errors import CheckpointError
from vision_suite.lit_modules.dcal import LitDCAL
from vision_suite.lit_modules.recognizer import LitRecognizer

LOADED = {"weights_only": True}


class OtherName(FGVCData):
    """The same data under another name, of which Lightning finds no state in a checkpoint."""


def birds(root, kind=FGVCData, **settings):
    common = {"image_size": (32, 16), "resize": (36, 20), "batch_size": 4, "num_workers": 0, "seed": 1}
    return kind("image_folder", None if root is None else str(root), **{**common, **settings})


def classifier(count=3):
    torch.manual_seed(0)
    return LitDCAL(count, task="fgvc", **NETWORK)


def quiet(folder, **settings):
    return Trainer(
        default_root_dir=str(folder), **{"logger": False, "enable_checkpointing": False, **QUIET, **settings}
    )


def trained(model, data, path):
    trainer = quiet(path.parent, max_steps=1, limit_val_batches=0)
    trainer.fit(model, data)
    trainer.save_checkpoint(path)
    return path


def said(caught):
    words = ("The network was trained", "does not continue")
    return [str(each.message) for each in caught if any(word in str(each.message) for word in words)]


def warned(run):
    """The suite's warnings of a run."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    return said(caught)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three classes, the same in another order, and a checkpoint that was trained on the former."""
    root = tmp_path_factory.mktemp("checkpoint_data")
    write_image_folder(root / "birds")
    shutil.copytree(root / "birds", root / "renamed")
    for split in ("train", "test"):
        (root / "renamed" / split / "class_0").rename(root / "renamed" / split / "class_9")
    trained(classifier(), birds(root / "birds"), root / "birds.ckpt")
    return root


def test_names_in_the_state(folder):
    state = torch.load(folder / "birds.ckpt", weights_only=True)["FGVCData"]
    assert state["class_names"] == state["facts"]["num_classes"] == ["class_0", "class_1", "class_2"]


@pytest.mark.parametrize("kind", [FGVCData, OtherName])
@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_other_classes_are_an_error_in_every_command(folder, kind, command):
    """Also where the datamodule has another name, so that Lightning gives it no state."""
    data = birds(folder / "renamed", kind, validation="test")
    trainer = quiet(folder, max_steps=2)
    said = r"birds\.ckpt: 3 of 3 classes differ: class 0 is 'class_0' in the checkpoint and 'class_1' in the data: "
    with pytest.raises(CheckpointError, match=said):
        getattr(trainer, command)(classifier(), data, ckpt_path=folder / "birds.ckpt", **LOADED)


def test_the_same_classes_in_another_order_are_an_error(folder, tmp_path):
    data = birds(folder / "birds")
    data.class_names.reverse()
    with pytest.raises(CheckpointError, match="the 3 classes stand in another order: class 0 is 'class_0' in the"):
        quiet(tmp_path).test(classifier(), data, ckpt_path=folder / "birds.ckpt", **LOADED)


@pytest.mark.parametrize("kind", [FGVCData, OtherName])
def test_loose_files_get_the_class_names_of_the_checkpoint(folder, tmp_path, kind):
    data = birds(None, kind, predict_inputs=str(folder / "birds" / "test"))
    trainer = quiet(tmp_path, callbacks=[PredictionWriter()])
    trainer.predict(classifier(), data, ckpt_path=folder / "birds.ckpt", **LOADED)
    assert (data.class_names, data.num_classes) == (["class_0", "class_1", "class_2"], 3)
    table = (tmp_path / "predict" / "classes.csv").read_text().splitlines()
    assert all(",class_" in line for line in table[1:])
    # A further checkpoint replaces the names.
    contents = torch.load(folder / "birds.ckpt", weights_only=True)
    contents["FGVCData"] |= {"class_names": ["x", "y", "z"], "facts": {}}
    torch.save(contents, tmp_path / "other.ckpt")
    quiet(tmp_path).predict(classifier(), data, ckpt_path=tmp_path / "other.ckpt", **LOADED)
    assert data.class_names == ["x", "y", "z"]


@pytest.mark.parametrize("kind", [FGVCData, OtherName])
def test_other_preprocessing_is_told_unless_the_command_line_has_done_so(folder, tmp_path, kind):
    def test(**changes):
        data = birds(folder / "birds", kind, std=(0.25, 0.25, 0.25))
        for name, value in changes.items():
            setattr(data, name, value)
        return warned(lambda: quiet(tmp_path).test(classifier(), data, ckpt_path=folder / "birds.ckpt", **LOADED))

    (line,) = test()
    assert line == (
        "The network was trained with other preprocessing: std is [0.5, 0.5, 0.5] in the checkpoint and "
        "[0.25, 0.25, 0.25] in the data"
    )
    assert test(adopts=False) == []


def test_lightning_restores_data_between_setup_and_the_first_batch(folder, tmp_path):
    """The order that the comparison and the adoption of names rely on."""
    calls = []

    class Watched(FGVCData):
        def setup(self, stage):
            calls.append("setup")
            super().setup(stage)

        def load_state_dict(self, state_dict):
            calls.append("load")
            super().load_state_dict(state_dict)

        def _batches(self, stage, rank):
            calls.append("batches")
            return super()._batches(stage, rank)

    path = tmp_path / "watched.ckpt"
    trained(classifier(), birds(folder / "birds", Watched), path)
    for command in ("fit", "validate", "test", "predict"):
        calls.clear()
        data = birds(folder / "birds", Watched, validation="test")
        model = classifier()
        getattr(quiet(tmp_path, max_steps=2, limit_val_batches=1), command)(model, data, ckpt_path=path, **LOADED)
        assert list(dict.fromkeys(calls)) == ["setup", "load", "batches"], command
        assert calls.count("load") == 1, command


SIDE = {"side": {"information": "camera"}, "num_cameras": 3}


@pytest.fixture(scope="module")
def markets(tmp_path_factory):
    """The same pictures with cameras 1 to 3 and with cameras named 01 to 03, and other identities."""
    root = tmp_path_factory.mktemp("markets")
    write_market(root / "one", train_ids=6, test_ids=3)
    shutil.copytree(root / "one", root / "renamed")
    for path in (root / "renamed").rglob("*.jpg"):
        path.rename(path.with_name(path.name.replace("_c", "_c0")))
    write_market(root / "others", train_ids=5, test_ids=3)
    for name, settings in (("side", SIDE), ("plain", {"num_cameras": 3})):
        trained(module(**settings), market_data(root / "one"), root / f"{name}.ckpt")
    return root


@pytest.mark.parametrize(("name", "settings", "lines"), [("side", SIDE, 1), ("plain", {"num_cameras": 3}, 0)])
def test_other_cameras_matter_to_a_network_that_takes_them(markets, tmp_path, name, settings, lines):
    data, path = market_data(markets / "renamed"), markets / f"{name}.ckpt"
    found = warned(lambda: quiet(tmp_path).test(module(**settings), data, ckpt_path=path, **LOADED))
    assert found == lines * [
        "The network was trained on other data: 3 of 3 cameras differ: camera 0 is 'c1' in the checkpoint and "
        "'c01' in the data"
    ]
    trainer = quiet(tmp_path, max_steps=2, limit_val_batches=0)
    if lines:
        with pytest.raises(CheckpointError, match=r"3 of 3 cameras differ: .*: resume with the same data"):
            trainer.fit(module(**settings), data, ckpt_path=path, **LOADED)
    else:
        trainer.fit(module(**settings), data, ckpt_path=path, **LOADED)


def test_other_identities_are_for_tests_not_for_resuming(markets, tmp_path):
    data, path = market_data(markets / "others"), markets / "plain.ckpt"
    assert warned(lambda: quiet(tmp_path).test(module(), data, ckpt_path=path, **LOADED)) == []
    with pytest.raises(
        CheckpointError, match=r"the number of classes is 6 in the checkpoint and 5 in the data: resume"
    ):
        quiet(tmp_path, max_steps=2).fit(module(), data, ckpt_path=path, **LOADED)


def test_a_state_of_an_earlier_version_compares_what_it_has(markets, tmp_path):
    contents = torch.load(markets / "side.ckpt", weights_only=True)
    for name in ("facts", "preprocessing"):
        del contents["ReIDData"][name]
    torch.save(contents, tmp_path / "before.ckpt")
    data = market_data(markets / "renamed", mean=(0.1, 0.1, 0.1))
    run = lambda: quiet(tmp_path).test(module(**SIDE), data, ckpt_path=tmp_path / "before.ckpt", **LOADED)  # noqa: E731
    assert warned(run) == []


@pytest.mark.parametrize("change", [{"facts": 3}, {"class_names": {"a": 1}}, {"preprocessing": [1]}, {"order": "x"}])
def test_a_malformed_state_is_one_line(markets, change):
    data = market_data(markets / "one")
    with pytest.raises(CheckpointError, match="state of the data is malformed"):
        data.load_state_dict({**data.state_dict(), **change})


def test_other_actions_are_an_error_in_detection(tmp_path):
    root = write_feature_set(tmp_path / "set", videos=8)
    settings = {"num_cells": 30, "num_workers": 0, "batch_size": 2}
    data = TADData(str(root), **settings)
    network = {"in_channels": 8, "num_cells": 30, "width": 4, "depth": 1}
    path = trained(LitRecognizer(2, **network), data, tmp_path / "tad.ckpt")
    videos = list(read_annotations(root / "annotations.json").videos.values())
    (root / "classes.txt").write_text("square\ncircle\n")
    swapped = TADData(str(root), **settings, classes="classes.txt")
    with pytest.raises(CheckpointError, match="the 2 classes stand in another order: class 0 is 'circle'"):
        quiet(tmp_path).test(LitRecognizer(2, **network), swapped, ckpt_path=path, **LOADED)
    write_annotations(root / "annotations.json", videos)
    same = TADData(str(root), **settings)
    assert warned(lambda: quiet(tmp_path).test(LitRecognizer(2, **network), same, ckpt_path=path, **LOADED)) == []
