"""Objects of COCO's 80 classes in photographs, found by CenterNet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vision_suite.detectors.boxes import ObjectBoxes, check_min_score
from vision_suite.detectors.overlap import one_box_each
from vision_suite.layers.centernet import CenterNet

# COCO's 80 classes in the order of their ids.
CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip


class CenterNetDetector:
    """A weak but real detector of photographs; drawings are beyond it.

    It answers in the form of `vision_suite.detectors.zero_shot.Detector`. At a score of .3 and above most of its
    boxes show something; it calls a cat a dog.

    Args:
        source: Name of the prepared set, or a folder with its files.
        min_score: Score above which a box is kept.

    Raises:
        ConfigError: The score is out of range.
        DataError: The folder is not there.
        CheckpointError: Its files cannot be read.
    """

    def __init__(self, source: str | Path = "centernet", min_score: float = 0.3) -> None:
        check_min_score(min_score)
        self.min_score, self.network = min_score, CenterNet.load(source)

    def __call__(self, picture: Image.Image) -> ObjectBoxes:
        """Objects of an RGB picture, best first.

        Of overlapping boxes of a class one stays: see `vision_suite.detectors.overlap.one_box_each`.
        """
        height, width = self.network.image_size
        pixels = np.asarray(picture.convert("RGB").resize((width, height), Image.Resampling.BILINEAR), np.float32)
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].to(device)
            found = self.network.detections(image)[0].cpu()
        found = found[found[:, 4] > self.min_score]
        scale = torch.tensor([picture.width / width, picture.height / height] * 2)
        corners, kept, notes = one_box_each(found[:, :4] * scale, found[:, 4], picture.size, found[:, 5])
        labels = tuple(CLASSES[int(number)] for number in found[kept, 5])
        return ObjectBoxes(corners.numpy(), labels, found[kept, 4].numpy().astype(np.float32), notes)
