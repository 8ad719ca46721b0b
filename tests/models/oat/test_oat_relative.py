"""Displacement from the last fixation: off by default, 0 at first, blind to where the scene lies, exact in decoding."""

import pytest
import torch
from oat_tiny import scenes, sharpen, tiny

from vision_suite.errors import ConfigError
from vision_suite.models.oat import beam_search, greedy
from vision_suite.models.oat.relative import Places, RelativeBias


def places(rows, start=(0.0, 0.0)):
    rows = torch.tensor([[*row, 0.0, 0.0] for row in [*rows, start, start]])[None]
    objects = torch.tensor([[True] * (rows.shape[1] - 2) + [False]])
    return Places(rows, objects)


def bias(hidden=8):
    torch.manual_seed(0)
    return RelativeBias(hidden)


def test_only_the_displacement_counts():
    where = [(0.0, 0.0), (1.0, 2.0), (3.0, 1.0)]
    recent = torch.tensor([[[0, 1, 2], [2, 0, 4]]])
    moved = [(row + 7.0, column - 4.0) for row, column in where]
    here, there = bias()(places(where, (1.0, 1.0)), recent), bias()(places(moved, (8.0, -3.0)), recent)
    torch.testing.assert_close(here, there)
    assert not torch.allclose(here[0, 0], here[0, 1])


def test_fixations_before_the_last_count_too():
    where = places([(0.0, 0.0), (1.0, 2.0), (3.0, 1.0)])
    found = bias()(where, torch.tensor([[[0, 1, 2], [0, 2, 2]]]))
    assert not torch.allclose(found[0, 0], found[0, 1])


def test_a_path_starts_where_gaze_starts_and_the_end_gains_nothing():
    net = bias()
    found = net(places([(1.0, 2.0), (0.0, 0.0)], start=(0.0, 0.0)), torch.tensor([[[3, 3, 3], [1, 3, 1]]]))
    assert found.shape == (1, 2, 3)
    torch.testing.assert_close(found[0, 0], found[0, 1])
    assert found[0, :, 2].tolist() == [0.0, 0.0]


def test_off_by_default_and_without_effect_at_first():
    assert tiny().relative is None
    model, batch = tiny(relative=8), scenes()
    before = model(batch).logits
    model.relative = None
    torch.testing.assert_close(model(batch).logits, before)
    with pytest.raises(ConfigError, match="relative=-1"):
        tiny(relative=-1)


def test_greedy_paths_and_beams_score_what_the_teacher_forced_pass_says():
    model, batch = sharpen(tiny(relative=8, background=True)), scenes()
    for paths in (greedy(model, batch, 8), beam_search(model, batch, 8, 3)):
        first = {**batch, "sequence": paths.sequence[:, 0], "terminated": paths.terminated[:, 0]}
        torch.testing.assert_close(model.log_prob(first).total, paths.log_prob[:, 0], atol=3e-5, rtol=0)


def test_it_learns():
    model, batch = tiny(relative=8), scenes()
    model.train()
    torch.nn.functional.cross_entropy(model(batch).logits.flatten(0, 1), model(batch).labels.flatten()).backward()
    assert model.relative.net[-1].weight.grad.abs().sum() > 0
