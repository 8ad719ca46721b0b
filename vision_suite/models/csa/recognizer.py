"""A recognition network for sequences: what happens at each time step. Its features carry class semantics."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from vision_suite.errors import ConfigError, check_number
from vision_suite.models.csa.masking import MaskedBatchNorm1d, zeroed
from vision_suite.types.arrays import Floats
from vision_suite.types.tad import Detection


class SequenceRecognizer(nn.Module):
    """Dilated convolutions over time, and a class for every time step; the last class is background.

    Args:
        in_channels: Width of the input; comes from the data on the command line.
        num_classes: Number K of action classes; comes from the data on the command line.
        width: Width of the hidden layers.
        depth: Number of residual layers; layer n has dilation 2 ** n.
        kernel: Size of their kernels, odd.
        dropout: Share of hidden channels dropped in training.
    """

    def __init__(
        self, in_channels: int, num_classes: int, width: int = 48, depth: int = 6, kernel: int = 5, dropout: float = 0.1
    ) -> None:
        super().__init__()
        sizes = {"in_channels": in_channels, "num_classes": num_classes, "width": width, "depth": depth}
        for name, size in {**sizes, "kernel": kernel}.items():
            check_number(name, size, low=1, whole=True)
        if kernel % 2 == 0:
            raise ConfigError(f"kernel={kernel} must be odd, so that the length stays")
        check_number("dropout", dropout, low=0, below=1)
        self.embed = nn.Conv1d(in_channels, width, 1)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(width, width, kernel, padding=2**n * (kernel // 2), dilation=2**n),
                MaskedBatchNorm1d(width),
                nn.ReLU(),
                nn.Dropout1d(dropout),
                nn.Conv1d(width, width, 1),
            )
            for n in range(depth)
        )
        self.classifier = nn.Conv1d(width, num_classes + 1, 1)

    def features(self, sequence: Tensor, valid: Tensor | None = None) -> Tensor:
        """(B, C, T) to the features before the classifier, (B, width, T), 0 where ``valid`` (B, T) is False."""
        hidden = zeroed(self.embed(zeroed(sequence, valid)), valid)
        for layer in self.layers:
            convolution, norm, *rest = layer.children()
            inner = norm(convolution(hidden), None if valid is None else valid[:, None])
            for part in rest:
                inner = part(inner)
            hidden = zeroed(hidden + inner, valid)
        return torch.relu(hidden)

    def forward(self, sequence: Tensor, valid: Tensor | None = None) -> Tensor:
        """(B, C, T) to logits (B, K + 1, T); padding, where ``valid`` (B, T) is False, reaches no valid logit."""
        out: Tensor = self.classifier(self.features(sequence, valid))
        return out

    def semantics(self, sequence: Tensor) -> Tensor:
        """Features and logits together, (B, width + K + 1, T): what a detector reads as class semantics."""
        features = self.features(sequence)
        return torch.cat([features, self.classifier(features)], dim=1)


def step_labels(segments: Tensor, labels: Tensor, length: int, background: int) -> Tensor:
    """The class of each time step by its middle: (B, T) int64.

    Args:
        segments: (B, G, 2) in steps.
        labels: (B, G) classes, -1 for none.
        length: Number T of steps.
        background: Class of steps without an action.
    """
    middle = torch.arange(length, device=segments.device) + 0.5
    inside = (middle >= segments[..., :1]) & (middle < segments[..., 1:]) & (labels >= 0)[..., None]
    out = torch.full((len(segments), length), background, dtype=torch.int64, device=segments.device)
    for column in range(segments.shape[1]):
        out = torch.where(inside[:, column], labels[:, column, None], out)
    return out


def averaged(windows: Sequence[tuple[float, Floats]], step: float) -> tuple[float, Floats]:
    """One sequence of windows that may overlap: the mean of their values of each step.

    Args:
        windows: Seconds of step 0 and values (K, T), in any order; together they see every step.
        step: Seconds of a step.

    Returns:
        Seconds of step 0, and values (K, T).
    """
    origin = min(start for start, _ in windows)
    firsts = [round((start - origin) / step) for start, _ in windows]
    length = max(first + values.shape[1] for first, (_, values) in zip(firsts, windows, strict=True))
    total, count = np.zeros((windows[0][1].shape[0], length)), np.zeros(length)
    for first, (_, values) in zip(firsts, windows, strict=True):
        total[:, first : first + values.shape[1]] += values
        count[first : first + values.shape[1]] += 1
    return origin, total / np.maximum(count, 1)


def runs(probability: Floats, classes: Sequence[str], origin: float, step: float, duration: float) -> list[Detection]:
    """Detections by the class of each step: a run of one class is a segment, its mean probability the score.

    Args:
        probability: (K + 1, T), background last.
        classes: K names.
        origin: Seconds of step 0.
        step: Seconds of a step.
        duration: Seconds of the video.
    """
    best = probability.argmax(axis=0)
    edges = np.concatenate([[0], np.flatnonzero(np.diff(best)) + 1, [len(best)]])
    found: list[Detection] = []
    for first, last in pairwise(edges):
        label = int(best[first])
        start, end = (float(np.clip(origin + cell * step, 0, duration)) for cell in (first, last))
        if label < len(classes) and end > start:
            score = float(probability[label, first:last].mean())
            found.append({"label": classes[label], "score": score, "segment": [start, end]})
    return sorted(found, key=lambda entry: -entry["score"])
