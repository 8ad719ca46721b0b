"""Objects of COCO's 80 classes in photographs, found by CenterNet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vision_suite.detectors.boxes import ObjectBoxes, check_min_score
from vision_suite.detectors.overlap import one_box_each
from vision_suite.detectors.protocol import ABSTAIN, Scores, plain_name, score_once
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

    It answers in the form of `vision_suite.detectors.zero_shot.Detector`, and as an `OpenVocabDetector` that does not
    judge names outside its 80. At a score of .3 and above most of its boxes show something; it calls a cat a dog.

    Args:
        source: Name of the prepared set, or a folder with its files.
        min_score: Score above which a box is kept; scores of names do not depend on it.

    Attributes:
        name: Name of the detector.
        vocabulary: Its 80 names.

    Raises:
        ConfigError: The score is out of range.
        DataError: The folder is not there.
        CheckpointError: Its files cannot be read.
    """

    name = "centernet"
    vocabulary: frozenset[str] | None = frozenset(CLASSES)

    def __init__(self, source: str | Path = "centernet", min_score: float = 0.3) -> None:
        check_min_score(min_score)
        self.min_score, self.network = min_score, CenterNet.load(source)

    def __call__(self, picture: Image.Image) -> ObjectBoxes:
        """Objects of an RGB picture, best first.

        Of overlapping boxes of a class one stays: see `vision_suite.detectors.overlap.one_box_each`.
        """
        found = self._detections(picture)
        found = found[found[:, 4] > self.min_score]
        height, width = self.network.image_size
        scale = torch.tensor([picture.width / width, picture.height / height] * 2)
        corners, kept, notes = one_box_each(found[:, :4] * scale, found[:, 4], picture.size, found[:, 5])
        labels = tuple(CLASSES[int(number)] for number in found[kept, 5])
        return ObjectBoxes(corners.numpy(), labels, found[kept, 4].numpy().astype(np.float32), notes)

    def score(self, images: Sequence[Image.Image], queries: Sequence[Sequence[str]]) -> Scores:
        """Best score of each picture's names among the 100 best boxes, 0 where there is none; `ABSTAIN` beyond the 80.

        Args:
            images: B RGB pictures.
            queries: Names asked about each of them.

        Raises:
            DataError: The numbers of pictures and lists of names differ.
        """
        return score_once(images, queries, self._ask)

    def _ask(self, images: Sequence[Image.Image], queries: Sequence[Sequence[str]]) -> Scores:
        scores: Scores = []
        for image, names in zip(images, queries, strict=True):
            known = [name for name in names if plain_name(name) in CLASSES]
            best = dict.fromkeys(CLASSES, 0.0)
            for row in self._detections(image).tolist() if known else ():
                label = CLASSES[int(row[5])]
                best[label] = max(best[label], row[4])
            scores.append({name: best.get(plain_name(name), ABSTAIN) for name in names})
        return scores

    def _detections(self, picture: Image.Image) -> Tensor:
        """Rows x1, y1, x2, y2, score, class of a picture, in the network's pixels."""
        height, width = self.network.image_size
        pixels = np.asarray(picture.convert("RGB").resize((width, height), Image.Resampling.BILINEAR), np.float32)
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].to(device)
            return self.network.detections(image)[0].cpu()
