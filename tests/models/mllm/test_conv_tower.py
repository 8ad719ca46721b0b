"""The small tower: its tokens, and the settings that it refuses."""

import pytest
import torch

from vision_suite.errors import ConfigError
from vision_suite.models.mllm.conv_tower import ConvTower


def test_tokens_are_means_of_the_map_and_of_its_quarters():
    torch.manual_seed(0)
    tower = ConvTower(width=8).eval()
    image = torch.randn(2, 3, 64, 64)
    grid = tower.stem(image)
    assert grid.shape == (2, 8, 8, 8)
    for block in tower.blocks:
        grid = grid + block(grid)
    tokens = tower(image)
    assert tokens.shape == (2, tower.tokens, tower.width)
    torch.testing.assert_close(tokens[:, 0], grid.mean((2, 3)))
    for number, (row, column) in enumerate([(0, 0), (0, 4), (4, 0), (4, 4)]):
        torch.testing.assert_close(tokens[:, 1 + number], grid[:, :, row : row + 4, column : column + 4].mean((2, 3)))


def test_a_picture_does_not_see_its_neighbours_in_evaluation():
    torch.manual_seed(0)
    tower = ConvTower(width=8, image_size=(32, 48)).eval()
    image = torch.randn(3, 3, 32, 48)
    torch.testing.assert_close(tower(image)[1:2], tower(image[1:2]))


def test_the_default_has_half_a_million_parameters():
    counted = sum(parameter.numel() for parameter in ConvTower().parameters())
    convolutions = 9 * (3 * 32 + 32 * 64 + 64 * 128 + 2 * 128 * 128)
    assert counted == convolutions + 2 * (32 + 64 + 3 * 128)


@pytest.mark.parametrize("settings", [{"width": 6}, {"width": 2}, {"image_size": (60, 64)}, {"image_size": (0, 16)}])
def test_sizes_that_do_not_fit_are_refused(settings):
    with pytest.raises(ConfigError, match="width="):
        ConvTower(**settings)
