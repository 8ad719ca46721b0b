"""Shapes of a network's results, measured with a blank picture."""

from __future__ import annotations

import copy

import torch
from torch import nn


def result_shape(network: nn.Module, image_size: tuple[int, int]) -> torch.Size:
    """Shape of what a network makes of one blank picture, as it is evaluated.

    A network whose parameters have no memory yet is measured without memory too.

    Args:
        network: Network of pictures; the modes of its modules stay as they are.
        image_size: Height and width in pixels.
    """
    image = torch.zeros(1, 3, *image_size)
    if any(parameter.is_meta for parameter in network.parameters()):
        network, image = copy.deepcopy(network).to("meta"), image.to("meta")
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    with torch.no_grad():
        shape: torch.Size = network(image).shape
    for module, training in modes:
        module.training = training
    return shape
