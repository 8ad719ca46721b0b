"""The synthetic search: the rule, fresh scenes that a restart sees again, and the control."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vision_suite.datasets.scanpath.grid import GridRule, GridScanpathData, draw_scene
from vision_suite.errors import ConfigError
from vision_suite.types import PADDING, ScanpathBatch


def make(**settings):
    return GridScanpathData(**{"batch_size": 4, "train_scenes": 12, "seed": 1, **settings})


@given(st.integers(0, 10_000))
def test_paths_visit_the_class_row_by_row_until_the_target(seed):
    rule = GridRule()
    prototypes = np.random.default_rng(0).standard_normal((3, 16)).astype(np.float32)
    scene, trial, vectors = draw_scene(rule, prototypes, [seed], "s")
    wanted = scene.labels[trial.target]
    visits = [n for n, label in enumerate(scene.labels) if label == wanted and n <= trial.target]
    assert trial.sequence.tolist() == visits[:8]
    assert trial.terminated == (len(visits) <= 8)
    assert trial.task == wanted
    nearest = np.linalg.norm(vectors[:, None] - prototypes[None], axis=-1).argmin(axis=1)
    assert [f"class {kind}" for kind in nearest] == list(scene.labels), "0.3 noise leaves the classes apart"


def test_long_paths_are_cut():
    rule = GridRule(rows=4, columns=4, classes=1)
    cut = [draw_scene(rule, np.zeros((1, 16), dtype=np.float32), [seed], "s")[1] for seed in range(20)]
    assert {trial.terminated for trial in cut} == {False, True}
    assert max(trial.length for trial in cut) == 8


def test_batches_are_what_the_contract_says():
    data = make()
    data.setup("test")
    batch = next(iter(data.test_dataloader()))
    assert set(batch) == set(ScanpathBatch.__annotations__) - {"crops", "target_crop", "target_features"}
    assert batch["features"].shape == (200, 12, 16)
    assert batch["features"].dtype == torch.float32
    assert batch["position"][0].tolist() == [[n // 4, n % 4] for n in range(12)]
    assert batch["start"][0].tolist() == [1, 2]
    assert (data.in_channels, data.num_objects, data.num_positions, data.max_length) == (16, 12, 4, 8)
    for row, trial in enumerate(data.trials("test")):
        assert batch["sequence"][row][batch["sequence"][row] != PADDING].tolist() == trial.sequence.tolist()


def epochs(data, count=2, workers=0):
    loader = data.train_dataloader()
    return [[batch["features"].sum().item() for batch in loader] for _ in range(count)]


def test_training_scenes_are_fresh_and_the_same_again():
    first, second = epochs(make())
    assert not set(first) & set(second)
    assert epochs(make()) == [first, second]
    assert epochs(make(num_workers=1)) == [first, second]
    assert epochs(make(seed=2))[0] != first
    resumed = make().train_dataloader()
    resumed.load_state_dict({"epoch": 1, "batch": 2})
    assert [batch["features"].sum().item() for batch in resumed] == second[2:]


def test_test_scenes_are_fixed_and_apart():
    data = make()
    tests = [next(iter(data.test_dataloader()))["features"] for _ in range(2)]
    assert torch.equal(tests[0], tests[1])
    assert not torch.equal(tests[0], next(iter(data.val_dataloader()))["features"])
    assert set(data.scenes("test")).isdisjoint(data.scenes("validate"))


def test_shuffled_targets_tell_nothing():
    true, control = (next(iter(make(shuffle_targets=shuffle).test_dataloader())) for shuffle in (False, True))
    assert torch.equal(true["sequence"], control["sequence"])
    assert torch.equal(true["targets"].roll(-1, 0), control["targets"]), "the true one would mark the search's end"
    trials = [make(shuffle_targets=shuffle).trials("test") for shuffle in (False, True)]
    assert [trial.targets for trial in trials[0]] == [trial.targets for trial in trials[1]], "scores know the truth"
    own = true["features"][torch.arange(200), true["target"]]
    assert torch.equal(control["target_features"], own.roll(-1, 0))
    assert torch.equal(control["target"], true["target"].roll(-1, 0))
    assert make(shuffle_targets=True).protocol["targets_shuffled"]


def test_impossible_grids_are_one_line():
    with pytest.raises(ConfigError, match="classes=0"):
        GridRule(classes=0)
    with pytest.raises(ConfigError, match="train_scenes=0"):
        make(train_scenes=0)
