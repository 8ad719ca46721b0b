"""Counterfactual scenes: move or swap objects of a batch, and read the change in expected search time.

>>> moved = swap_objects(batch, first=batch["target"], second=eye_level)
>>> search_time(model, moved, 54).steps - search_time(model, batch, 54).steps

Both calls draw from the same seed, which takes much of the sampling noise out of the difference, but not all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vision_suite.errors import DataError
from vision_suite.models.oat.decoding import sample
from vision_suite.models.oat.network import OAT
from vision_suite.types import PADDING, ScanpathBatch


@dataclass(frozen=True)
class SearchTime:
    """Length of the search for each scene's target, over sampled paths.

    Attributes:
        steps: (B,) mean fixations until the first on a target, paths that never find one counting ``max_length``.
        steps_if_found: (B,) mean over the paths that find one, NaN for none.
        found: (B,) share of the paths that find one.
        standard_error: (B,) standard error of ``steps``, over the sampled paths; NaN for one path.
    """

    steps: Tensor
    steps_if_found: Tensor
    found: Tensor
    standard_error: Tensor


def search_time(
    model: OAT, batch: ScanpathBatch, max_length: int, num_samples: int = 100, *, seed: int = 0
) -> SearchTime:
    """Expected number of fixations until a target is fixated.

    Args:
        model: The network.
        batch: Scenes with ``targets`` or ``target``.
        max_length: Most fixations of a path.
        num_samples: Sampled paths of each scene.
        seed: Seed of the random numbers.

    Raises:
        DataError: A scene has no target.
    """
    wanted = _targets(batch)
    if not bool(wanted.any(dim=1).all()):
        raise DataError("a scene has no target to be found: search time is defined for target-present trials")
    paths = sample(model, batch, max_length, num_samples, generator=torch.Generator().manual_seed(seed))
    hit = wanted[:, None].expand(-1, num_samples, -1).gather(2, paths.sequence.clamp(min=0)) & (paths.sequence >= 0)
    found = hit.any(dim=2)
    first = hit.long().argmax(dim=2).double() + 1
    steps = torch.where(found, first, float(max_length))
    return SearchTime(
        steps.mean(dim=1),
        torch.where(found, first, torch.nan).nanmean(dim=1),
        found.double().mean(dim=1),
        steps.std(dim=1) / num_samples**0.5 if num_samples > 1 else torch.full_like(steps[:, 0], torch.nan),
    )


def move_object(batch: ScanpathBatch, number: Tensor, position: Tensor) -> ScanpathBatch:
    """The scenes with one object elsewhere; its box goes along, keeping its size.

    Args:
        batch: Scenes; it is not changed. Recorded paths do not belong to the new scenes and are left out, but for
            the given fixations that a search begins with, which stay on their objects.
        number: (B,) int64 the object to move.
        position: (B, 2) its new row and column, in object pitches.

    Returns:
        New scenes, sharing what did not change.
    """
    _check(batch, number)
    row = torch.arange(len(number), device=number.device)
    out = _scenes(batch)
    out["position"] = batch["position"].clone()
    out["position"][row, number] = position.to(out["position"])
    if "boxes" in batch:
        step = (position - batch["position"][row, number]) * pixels_per_pitch(batch)
        out["boxes"] = batch["boxes"].clone()
        out["boxes"][row, number] += step.flip(-1).repeat(1, 2).to(out["boxes"])
    return out


def swap_objects(batch: ScanpathBatch, first: Tensor, second: Tensor) -> ScanpathBatch:
    """The scenes with the positions of two objects swapped; both keep their number, appearance and box size.

    Args:
        batch: Scenes; it is not changed. Recorded paths do not belong to the new scenes and are left out, but for
            the given fixations that a search begins with, which stay on their objects.
        first: (B,) int64 object.
        second: (B,) int64 object.
    """
    _check(batch, first)
    _check(batch, second)
    row = torch.arange(len(first), device=first.device)
    out = _scenes(batch)
    out["position"] = batch["position"].clone()
    out["position"][row, first] = batch["position"][row, second]
    out["position"][row, second] = batch["position"][row, first]
    if "boxes" in batch:
        centre = (batch["boxes"][..., :2] + batch["boxes"][..., 2:]) / 2
        step = (centre[row, second] - centre[row, first]).repeat(1, 2)
        step[first == second] = 0.0
        out["boxes"] = batch["boxes"].clone()
        out["boxes"][row, first] += step
        out["boxes"][row, second] -= step
    return out


def pixels_per_pitch(batch: ScanpathBatch) -> Tensor:
    """(B, 2) pixels that one row and one column stand for, by least squares over the objects of each scene.

    Raises:
        DataError: All objects of a scene stand in one row and in one column, so that there is no scale.
    """
    weight = (batch["present"] if "present" in batch else torch.ones_like(batch["position"][..., 0])).double()[
        ..., None
    ]
    centre = ((batch["boxes"][..., :2] + batch["boxes"][..., 2:]) / 2).flip(-1).double()
    position = batch["position"].double()
    total = weight.sum(dim=1, keepdim=True)
    position, centre = (v - (v * weight).sum(dim=1, keepdim=True) / total for v in (position, centre))
    spread = (weight * position.square()).sum(dim=1)
    slope = (weight * position * centre).sum(dim=1) / spread
    flat = spread < 1e-9
    if bool(flat.all(dim=1).any()):
        raise DataError("a scene has all its objects on one spot: a move in pitches has no size in pixels there")
    # A single row says nothing of the rows' distance; the columns' stands in.
    return torch.where(flat, slope.flip(-1), slope)


def _targets(batch: ScanpathBatch) -> Tensor:
    """(B, N) bool."""
    if "targets" in batch:
        return batch["targets"]
    return torch.arange(batch["position"].shape[1], device=batch["target"].device) == batch["target"][:, None]


def _scenes(batch: ScanpathBatch) -> ScanpathBatch:
    """The batch without its recorded paths; a network that was always told how they begin needs that still."""
    out = batch.copy()
    for name in ("sequence", "xy", "duration", "given", "terminated"):
        out.pop(name, None)  # type: ignore[misc]
    if "given" in batch and bool((batch["given"] > 0).any()):
        out["given"] = batch["given"]
        most = int(out["given"].max())
        known = torch.arange(most, device=out["given"].device) < out["given"][:, None]
        out["sequence"] = torch.where(known, batch["sequence"][:, :most], PADDING)
        if "duration" in batch:
            out["duration"] = torch.where(known, batch["duration"][:, :most], torch.nan)
    return out


def _check(batch: ScanpathBatch, number: Tensor) -> None:
    scenes, count = batch["position"].shape[:2]
    if number.shape != (scenes,):
        raise DataError(f"{tuple(number.shape)} object numbers for {scenes} scenes: give one for each scene")
    if bool(((number < 0) | (number >= count)).any()):
        raise DataError(f"object {number.tolist()}: scenes have objects 0 to {count - 1}")
    if "present" in batch and not bool(batch["present"].gather(1, number[:, None]).all()):
        raise DataError(f"object {number.tolist()}: a scene lacks its object (present is False there)")
