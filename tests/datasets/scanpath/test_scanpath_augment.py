"""Moved scenes keep their distances, hidden objects lose their vectors, and nothing changes in evaluation."""

import pytest
import scanpath_fixture
import torch

from vision_suite.datasets.loading import BatchKey
from vision_suite.datasets.scanpath.augment import SceneAugment
from vision_suite.datasets.scanpath.data import ScanpathData
from vision_suite.errors import ConfigError


def data_of(root, **changes):
    scanpath_fixture.table(root, scenes=9)
    return ScanpathData(dataset="table", root=str(root), split="image", folds=3, batch_size=4, seed=1, **changes)


def batch_of(data, stage="fit", epoch=0):
    return data._batches(stage, 0)[BatchKey([0, 1, 2], epoch, 0)]


def test_scenes_move_as_a_whole_and_start_with_them(tmp_path):
    plain = batch_of(data_of(tmp_path / "a"))
    moved = batch_of(data_of(tmp_path / "b", shift=5.0))
    by = moved["start"] - plain["start"]
    assert by.abs().max() <= 5
    assert by.abs().min() > 0
    torch.testing.assert_close(moved["position"] - plain["position"], by[:, None].expand_as(plain["position"]))
    for name in plain.keys() - {"position", "start"}:
        torch.testing.assert_close(moved[name], plain[name], equal_nan=True)


def test_changes_differ_by_epoch_and_repeat(tmp_path):
    data = data_of(tmp_path, shift=5.0)
    torch.testing.assert_close(batch_of(data)["start"], batch_of(data)["start"])
    assert not torch.equal(batch_of(data)["start"], batch_of(data, epoch=1)["start"])


def test_evaluation_sees_scenes_as_they_are(tmp_path):
    plain, varied = data_of(tmp_path / "a"), data_of(tmp_path / "b", shift=5.0, hide=0.5)
    for name in ("position", "features"):
        torch.testing.assert_close(batch_of(varied, "test")[name], batch_of(plain, "test")[name])


@pytest.mark.parametrize(("hide", "left"), [(0.0, 1.0), (1.0, 0.0)])
def test_hidden_objects_have_vectors_of_zeros(hide, left):
    batch = {
        "index": torch.arange(2), "present": torch.ones(2, 3, dtype=torch.bool), "features": torch.ones(2, 3, 4),
        "position": torch.zeros(2, 3, 2), "start": torch.zeros(2, 2),
    }  # fmt: skip
    assert SceneAugment(hide=hide).apply(batch, [0])["features"].mean() == left
    assert batch["features"].mean() == 1  # the batch itself stays


def test_about_the_share_is_hidden_whole():
    batch = {
        "index": torch.arange(40), "present": torch.ones(40, 50, dtype=torch.bool),
        "features": torch.ones(40, 50, 2), "position": torch.zeros(40, 50, 2), "start": torch.zeros(40, 2),
    }  # fmt: skip
    found = SceneAugment(hide=0.3).apply(batch, [3])["features"]
    assert torch.equal(found[..., 0], found[..., 1])
    assert 0.65 < found.mean() < 0.75


@pytest.mark.parametrize("settings", [{"shift": -1.0}, {"hide": 1.5}])
def test_numbers_out_of_range(settings):
    with pytest.raises(ConfigError, match="use 0 or more"):
        SceneAugment(**settings)


def test_grids_do_not_move(tmp_path):
    scanpath_fixture.amazon(tmp_path)
    with pytest.raises(ConfigError, match="off their grid"):
        ScanpathData(dataset="amazon_covers", root=str(tmp_path), shift=1.0)


def test_crops_have_no_vectors_to_hide(tmp_path):
    scanpath_fixture.amazon(tmp_path)
    with pytest.raises(ConfigError, match="hides vectors"):
        ScanpathData(dataset="amazon_covers", root=str(tmp_path), hide=0.5)
