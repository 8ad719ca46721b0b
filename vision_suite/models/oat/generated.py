"""Generated scanpaths, and what is shared by every way of generating them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from vision_suite.errors import ConfigError, DataError
from vision_suite.models.oat.network import OAT, EncodedScenes
from vision_suite.models.oat.paths import as_sequence, read_paths
from vision_suite.types import BACKGROUND, PADDING, ScanpathBatch


@dataclass(frozen=True)
class Scanpaths:
    """K generated paths in each of B scenes, at most L fixations.

    Attributes:
        sequence: (B, K, L) int64 objects, ``BACKGROUND`` or ``PADDING``.
        length: (B, K) int64 fixations, given ones included.
        terminated: (B, K) bool, False where L cut the path.
        step_log_prob: (B, K, L + 1) nats of each fixation and, at ``length``, of the end, under the network at
            temperature 1; 0 for given fixations, behind the end, and for the end of a cut path.
        log_prob: (B, K) their sum.
        duration: (B, K, L) seconds, NaN behind the end and without a duration head.
        xy: (B, K, L, 2) pixels, centres of the objects (of the picture for the background), NaN behind the end and
            without boxes.
    """

    sequence: Tensor
    length: Tensor
    terminated: Tensor
    step_log_prob: Tensor
    log_prob: Tensor
    duration: Tensor
    xy: Tensor


@dataclass(frozen=True)
class Prefix:
    """Given beginnings of a batch's paths.

    Attributes:
        columns: (B, L) int64 columns of the logits.
        given: (B,) int64 number of them that count.
        duration: (B, L) seconds or NaN.
    """

    columns: Tensor
    given: Tensor
    duration: Tensor

    @staticmethod
    def of(model: OAT, batch: ScanpathBatch, max_length: int) -> Prefix:
        """Read the given fixations.

        Raises:
            ConfigError: ``max_length`` is too short.
            DataError: More fixations are given than there are.
        """
        if max_length < 1:
            raise ConfigError(f"max_length={max_length} must be 1 or more fixations")
        position = batch["position"]
        given = batch.get("given", torch.zeros(len(position), dtype=torch.int64, device=position.device))
        most = int(given.max())
        if most == 0:
            return Prefix(given.new_zeros(len(position), 0), given, position.new_zeros(len(position), 0))
        if most > max_length:
            raise ConfigError(f"max_length={max_length} is below the {most} given fixations: raise it")
        paths = read_paths(batch, model.has_background)
        if bool((given > paths.length).any()):
            raise DataError("given counts more fixations than a path has: lower it")
        columns = paths.columns[:, :most]
        duration = batch["duration"][:, :most] if "duration" in batch else position.new_full(columns.shape, torch.nan)
        return Prefix(columns, given, duration)


class GenerationRecord:
    """Paths as they grow, by scene and number of the path, in the order of the batch.

    Args:
        scenes: The encoded scenes.
        max_length: Most fixations L.
        num_paths: Paths K of a scene.
    """

    def __init__(self, scenes: EncodedScenes, max_length: int, num_paths: int) -> None:
        shape = (len(scenes.usable), num_paths)
        new = scenes.memory.new_full
        self.end = scenes.usable.shape[1] - 1
        self.columns = torch.full((*shape, max_length), self.end, device=scenes.memory.device)
        self.length = self.columns.new_zeros(shape)
        self.terminated = torch.zeros_like(self.length, dtype=torch.bool)
        self.step_log_prob = new((*shape, max_length + 1), 0.0, dtype=torch.float32)
        self.duration = new((*shape, max_length), torch.nan, dtype=torch.float32)

    def select(self, parent: Tensor) -> None:
        """Path k of a scene continues its former path ``parent[b, k]``, (B, K) int64."""
        scene = torch.arange(len(parent), device=parent.device)[:, None]
        for name in ("columns", "length", "terminated", "step_log_prob", "duration"):
            setattr(self, name, getattr(self, name)[scene, parent])

    def clear(self, chosen: Tensor) -> None:
        """Empty the chosen paths, (B, K) bool: no fixation, log-probability -inf."""
        self.columns[chosen], self.length[chosen], self.terminated[chosen] = self.end, 0, False
        self.step_log_prob[chosen], self.duration[chosen] = 0.0, torch.nan
        self.step_log_prob[..., 0][chosen] = -torch.inf

    def write(
        self, step: int, scene: Tensor, path: Tensor, column: Tensor, log_prob: Tensor, duration: Tensor | None
    ) -> None:
        """Add one step of some paths; all tensors are (n,).

        Args:
            step: Number of the step.
            scene: Their scenes.
            path: Their numbers within the scenes.
            column: Chosen columns, the end included.
            log_prob: Log-probability of the choice, nats.
            duration: Seconds, or None.
        """
        ends = column == self.end
        self.columns[scene, path, step] = column
        self.step_log_prob[scene, path, step] = log_prob.float()
        self.terminated[scene, path] = ends
        self.length[scene, path] += (~ends).long()
        if duration is not None:
            self.duration[scene, path, step] = torch.where(ends, torch.nan, duration.float())

    def finish(self, model: OAT, batch: ScanpathBatch) -> Scanpaths:
        """The paths, with objects numbered as in the batch."""
        count = batch["position"].shape[1]
        sequence = as_sequence(self.columns, count, model.has_background)
        total = self.step_log_prob.sum(dim=2)
        xy = fixation_points(sequence, batch)
        return Scanpaths(sequence, self.length, self.terminated, self.step_log_prob, total, self.duration, xy)


def fixation_points(sequence: Tensor, batch: ScanpathBatch) -> Tensor:
    """Pixels of object-level paths.

    Args:
        sequence: (B, K, L) int64 objects, ``BACKGROUND`` or ``PADDING``.
        batch: Scenes with ``boxes``, and ``image_size`` where paths have fixations on the background.

    Returns:
        (B, K, L, 2) x, y: the objects' centres, the picture's for the background; NaN for padding and what is unknown.
    """
    if "boxes" not in batch:
        return torch.full((*sequence.shape, 2), torch.nan, device=sequence.device)
    boxes = batch["boxes"]
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    pick = sequence.clamp(min=0).flatten(1)[..., None].expand(-1, -1, 2)
    points = centre.gather(1, pick).view(*sequence.shape, 2)
    middle = batch["image_size"] / 2 if "image_size" in batch else torch.full_like(centre[:, 0], torch.nan)
    points = torch.where((sequence == BACKGROUND)[..., None], middle[:, None, None], points)
    return torch.where((sequence == PADDING)[..., None], torch.nan, points)


@contextmanager
def evaluating(model: OAT) -> Iterator[None]:
    """Dropout and gradients off; the network's mode is put back afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def first_without_end(logits: Tensor, step: int) -> Tensor:
    """Logits (B, K, C) of one step of K paths; at step 0 no path can end.

    Raises:
        DataError: There is no distribution, as after a training that diverged.
    """
    if not bool(logits.amax(dim=-1).isfinite().all()):
        raise DataError(
            "the network gives the next fixation no probability (NaN or infinity): its weights or input are broken; "
            "if training diverged, lower the learning rate or clip gradients"
        )
    if step > 0:
        return logits
    return torch.cat([logits[..., :-1], torch.full_like(logits[..., -1:], -torch.inf)], dim=-1)
