"""CenterNet on MobileNetV3 (Zhou et al., Objects as Points, 2019), trained on COCO: detections, and its features."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from vision_suite.errors import ConfigError, DataError, check_choice
from vision_suite.layers.graph_model import GraphModel
from vision_suite.prepared import find_folder

FILE = "centernet.json"
DETECTIONS = "tower_0/detections"
# Node, channels and cells along a side of the features.
FEATURES = {
    "neck": ("tower_0/CenternetHead/mul", 128, 128),
    "trunk": ("tower_0/extern1/hard_swish/mul_1", 480, 16),
}
Part = Literal["neck", "trunk"]


class CenterNet(nn.Module):
    """The prepared set ``centernet`` as a network of pictures.

    Attributes:
        image_size: (height, width) of its pictures; they are resized without regard to their proportions.
        mean: Mean per channel that pictures of values 0..1 are shifted by.
        std: Number per channel that they are divided by: the network takes values from 0 to 255.
        width: Channels of its features.
        grid: Cells of its features along each side.
    """

    image_size = (512, 512)
    mean = (0.0, 0.0, 0.0)
    std = (1 / 255, 1 / 255, 1 / 255)

    def __init__(self, graph: GraphModel, part: Part = "trunk") -> None:
        """Take a graph.

        Args:
            graph: Graph with the node names of the prepared set.
            part: Where the features are from: ``trunk``, the last map of MobileNetV3, of stride 32, or ``neck``, the
                map of stride 4 before the heads.

        Raises:
            ConfigError: The part is not known.
        """
        super().__init__()
        check_choice("part", part, FEATURES)
        self.graph = graph
        self._node, self.width, self.grid = FEATURES[part]

    @classmethod
    def load(cls, source: str | Path = "centernet", part: Part = "trunk") -> CenterNet:
        """Read it from the prepared set, or from a folder with the same files, in evaluation mode.

        Raises:
            DataError: The folder is not there.
            CheckpointError: Its files cannot be read.
        """
        folder = find_folder(source)
        if folder is None or not (folder / FILE).is_file():
            raise DataError(f"{source}: no {FILE} there: run `vision-suite data prepare centernet`, or give its folder")
        return cls(GraphModel.load(folder / FILE), part).eval()

    def forward(self, image: Tensor) -> Tensor:
        """Features (N, width, grid, grid) of pictures (N, 3, 512, 512) with values from 0 to 255."""
        (found,) = self.graph(self._checked(image), [self._node])
        features: Tensor = found.permute(0, 3, 1, 2)
        return features

    def detections(self, image: Tensor) -> Tensor:
        """Best 100 peaks (N, 100, 6) of each picture (N, 3, 512, 512) with values from 0 to 255.

        A row is x1, y1, x2, y2 in pixels, the score, and the index of the class in COCO's order of 80. Boxes of one
        object are not suppressed, and may go beyond the border.
        """
        # The graph's own reshaping knows single pictures only.
        checked = self._checked(image)
        rows = [self.graph(checked[number : number + 1], [DETECTIONS])[0] for number in range(len(checked))]
        return torch.cat(rows)

    def _checked(self, image: Tensor) -> Tensor:
        if image.ndim != 4 or tuple(image.shape[1:]) != (3, *self.image_size):
            raise ConfigError(f"pictures have shape {tuple(image.shape)}: CenterNet takes (N, 3, 512, 512)")
        return image.permute(0, 2, 3, 1)
