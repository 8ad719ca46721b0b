"""The network of presence: its scores come from single cells, and from what lies near them."""

import pytest
import torch

from vision_suite.errors import ConfigError
from vision_suite.models.presence import PresenceNet


@pytest.fixture
def network():
    torch.manual_seed(0)
    return PresenceNet(5, width=16).eval()


def test_a_name_is_as_present_as_in_its_best_cell(network):
    image = torch.randn(2, 3, 64, 48)
    cells = network.features(image)
    assert cells.shape == (2, 16, 8, 6)
    by_cell = [network.head(cells[:, :, row : row + 1, column : column + 1]) for row in range(8) for column in range(6)]
    torch.testing.assert_close(network(image), torch.cat(by_cell, dim=2).amax(dim=(2, 3)))


def test_a_cell_sees_55_pixels_and_no_more(network):
    """Gradient of one cell: other objects of a scene, further away, cannot speak for a name."""
    image = torch.randn(1, 3, 128, 128, requires_grad=True)
    network.features(image)[0, :, 8, 8].sum().backward()
    rows = image.grad.abs().sum(dim=(0, 1, 3)).nonzero()[:, 0]
    assert rows[-1] - rows[0] + 1 == 55


def test_names_are_rare_before_training():
    torch.manual_seed(1)
    assert PresenceNet(40)(torch.zeros(1, 3, 64, 64)).sigmoid().mean() < 0.1


@pytest.mark.parametrize(
    "settings", [{"num_classes": 0}, {"num_classes": 3, "width": 6}, {"num_classes": 3, "width": 0}]
)
def test_sizes_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError):
        PresenceNet(**settings)
