"""Pixel densities and counterfactual scenes."""

import math

import numpy as np
import pytest
import torch
from oat_tiny import scenes, sharpen, tiny

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.scanpath import conditional_auc, conditional_information_gain, conditional_nss
from vision_suite.models.oat import (
    Spread,
    fit_spread,
    move_object,
    pixel_log_density,
    pixel_map,
    sample,
    search_time,
    swap_objects,
)
from vision_suite.types import PADDING

BOXES = torch.tensor([[[10.0, 10, 30, 50], [60, 20, 100, 40]]])
SIZE = torch.tensor([[120.0, 60.0]])


@pytest.mark.parametrize("background", [False, True])
def test_a_map_is_a_distribution(background):
    probability = torch.rand(1, 4, 4 if background else 3).softmax(-1)
    grid = pixel_map(probability, BOXES, SIZE, (60, 120), background=background)
    assert grid.shape == (1, 4, 60, 120)
    assert (grid > 0).all() or not background
    torch.testing.assert_close(grid.sum(dim=(2, 3)), torch.ones(1, 4, dtype=torch.float64))
    x, y = torch.meshgrid(torch.arange(120) + 0.5, torch.arange(60) + 0.5, indexing="xy")
    points = torch.stack([x, y], dim=-1).view(1, -1, 2)
    density = pixel_log_density(
        probability[:, :1].expand(-1, points.shape[1], -1), points, BOXES, SIZE, background=background
    )
    torch.testing.assert_close(density.exp().view(60, 120), grid[0, 0], atol=3e-5, rtol=0.02)
    assert float(density.exp().sum()) == pytest.approx(1, abs=1e-4)


def test_one_object_is_one_gaussian():
    probability = torch.tensor([[[0.5, 0.0, 0.5]]])  # the end's half is left out
    spread = Spread(offset=(0.1, 0.0), scale=(0.2, 0.1))
    points = torch.tensor([[[24.0, 33.0]]])
    found = float(pixel_log_density(probability, points, BOXES, SIZE, spread=spread))
    x = torch.distributions.Normal(22.0, 4.0).log_prob(torch.tensor(24.0))
    y = torch.distributions.Normal(30.0, 4.0).log_prob(torch.tensor(33.0))
    assert found == pytest.approx(float(x + y), abs=1e-5)
    assert float(pixel_log_density(probability, torch.tensor([[[121.0, 33.0]]]), BOXES, SIZE)) == -math.inf


def test_padding_and_columns():
    probability = torch.tensor([[[0.4, 0.0, 0.6]]])
    padded = torch.cat([BOXES[:, :1], torch.zeros(1, 1, 4)], dim=1)
    torch.testing.assert_close(
        pixel_map(probability, padded, SIZE, (6, 12)), pixel_map(probability[..., [0, 2]], BOXES[:, :1], SIZE, (6, 12))
    )
    with pytest.raises(DataError, match="3 columns"):
        pixel_map(probability, BOXES, SIZE, (6, 12), background=True)


def test_maps_compare_with_models_of_pixels():
    """Metrics of pixel models read the map; its information gain over evenly spread gaze is that of the density."""
    probability = torch.tensor([[[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]]])
    xy = torch.tensor([[[21.5, 30.5], [79.5, 31.5]]])  # the middle of pixels
    maps = pixel_map(probability, BOXES, SIZE, (60, 120))[0].numpy()
    even = np.full((60, 120), 1 / (60 * 120))
    gain = conditional_information_gain(maps, xy[0].numpy(), even)
    density = pixel_log_density(probability, xy, BOXES, SIZE)[0]
    np.testing.assert_allclose(gain, ((density + math.log(60 * 120)) / math.log(2)).numpy(), atol=0.02)
    assert (gain > 1).all()
    assert (conditional_nss(maps, xy[0].numpy()) > 2).all()
    assert (conditional_auc(maps, xy[0].numpy()) > 0.9).all()
    far = np.array([[100.5, 50.5]] * 2)
    assert (conditional_information_gain(maps, far, even) < 0).all()


def test_the_spread_is_fitted():
    rng = torch.Generator().manual_seed(0)
    sequence = torch.randint(0, 2, (1, 4000), generator=rng)
    box = BOXES[0][sequence[0]]
    centre, size = (box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2]
    noise = torch.randn(4000, 2, generator=rng) * torch.tensor([0.3, 0.15]) + torch.tensor([0.05, -0.1])
    xy = (centre + noise * size)[None]
    xy[0, 0], sequence[0, 1] = torch.nan, -1
    found = fit_spread(xy, BOXES, sequence)
    assert found.offset == pytest.approx((0.05, -0.1), abs=0.02)
    assert found.scale == pytest.approx((0.3, 0.15), abs=0.02)
    with pytest.raises(DataError, match="too few"):
        fit_spread(xy, BOXES, torch.full_like(sequence, -1))
    for scale in ((0.0, 1.0), (math.nan, 1.0), (math.inf, 1.0), (1.0,)):
        with pytest.raises(ConfigError, match="scale"):
            Spread(scale=scale)
    with pytest.raises(ConfigError, match="offset"):
        Spread(offset=(math.nan, 0.0))
    with pytest.raises(DataError, match="image_size="):
        pixel_map(torch.ones(1, 1, 2), BOXES[:1, :1], torch.tensor([[0.0, 10.0]]), (2, 2))


def test_swapping_objects_exchanges_their_places():
    batch = scenes(counts=(12, 12))
    first, second = torch.tensor([0, 5]), torch.tensor([6, 5])
    out = swap_objects(batch, first, second)
    assert "sequence" not in out
    assert "sequence" in batch
    assert (out["position"][0, 0] == batch["position"][0, 6]).all()
    assert (out["position"][0, 6] == batch["position"][0, 0]).all()
    torch.testing.assert_close(out["boxes"][0, 0], batch["boxes"][0, 6])
    torch.testing.assert_close(out["boxes"][1], batch["boxes"][1])
    again = swap_objects(out, first, second)
    torch.testing.assert_close(again["boxes"], batch["boxes"])
    assert (again["features"] == batch["features"]).all()


def test_swapping_equal_products_only_renumbers_them():
    model, batch = sharpen(tiny()), scenes(counts=(12,), seed=2)
    batch["features"][0, 3] = batch["features"][0, 8]
    batch["target"], batch["targets"] = torch.tensor([5]), torch.arange(12)[None] == 5
    batch["sequence"] = torch.tensor([[3, 8, 3, 2, 5]])
    paths = {"sequence": torch.tensor([[8, 3, 8, 2, 5]])}
    swapped = {**swap_objects(batch, torch.tensor([3]), torch.tensor([8])), **paths}
    torch.testing.assert_close(model.log_prob(swapped).steps, model.log_prob(batch).steps, atol=1e-5, rtol=0)
    unlike = {**batch, "features": batch["features"].roll(1, dims=1)}
    swapped = {**swap_objects(unlike, torch.tensor([3]), torch.tensor([8])), **paths}
    assert (model.log_prob(swapped).steps - model.log_prob(unlike).steps).abs().max() > 1e-3


def test_moving_an_object_takes_its_box_along():
    batch = scenes(counts=(12, 9))
    out = move_object(batch, torch.tensor([0, 2]), torch.tensor([[2.0, 3.0], [1.0, 1.0]]))
    assert out["position"][0, 0].tolist() == [2, 3]
    torch.testing.assert_close(out["boxes"][0, 0], batch["boxes"][0, 11])
    torch.testing.assert_close(out["boxes"][1, 2], batch["boxes"][1, 5])
    assert (batch["position"][0, 0] == 0).all()
    with pytest.raises(DataError, match="lacks"):
        move_object(batch, torch.tensor([0, 10]), torch.zeros(2, 2))
    with pytest.raises(DataError, match="objects 0 to 11"):
        swap_objects(batch, torch.tensor([0, 12]), torch.tensor([0, 0]))
    with pytest.raises(DataError, match="one for each scene"):
        move_object(batch, torch.tensor([0]), torch.zeros(1, 2))


def test_search_time_of_a_network_without_preference():
    model = tiny()
    with torch.no_grad():
        for layer in model.pointer.state:
            layer.weight.zero_()
            layer.bias.zero_()
    batch = scenes(counts=(4,))
    result = search_time(model, batch, 200, 4000)
    # 1/4 at the first step, then 1/5 for the target and 1/5 for the end.
    assert float(result.found) == pytest.approx(1 / 4 + 3 / 4 * 1 / 2, abs=0.03)
    assert float(result.steps_if_found) == pytest.approx((0.25 + 0.375 * (1 + 2.5)) / 0.625, abs=0.12)
    assert float(result.steps) == pytest.approx(0.625 * float(result.steps_if_found) + 0.375 * 200, abs=6)
    again = search_time(model, batch, 200, 4000)
    assert float(again.steps) == float(result.steps)
    batch["targets"][:] = False
    with pytest.raises(DataError, match="no target"):
        search_time(model, batch, 5)
    alone = search_time(model, scenes(counts=(4,)), 200, 1)
    assert torch.isnan(alone.standard_error).all(), "one path says nothing of the spread"


def test_given_fixations_begin_the_search_of_the_changed_scene_too():
    model, batch = sharpen(tiny()), scenes()
    batch["given"] = torch.tensor([1, 0, 2])
    moved = move_object(batch, torch.tensor([0, 0, 0]), batch["position"][:, 0])
    assert "terminated" not in moved
    assert "xy" not in moved
    paths, before = (sample(model, scene, 6, 5, generator=torch.Generator().manual_seed(0)) for scene in (moved, batch))
    assert torch.equal(paths.sequence, before.sequence), "nothing has moved"
    assert (paths.sequence[2, :, :2] == batch["sequence"][2, :2]).all()
    assert moved["sequence"].tolist()[1] == [PADDING, PADDING]
