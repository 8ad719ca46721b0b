"""Search times by sampled paths: how many fixations until a target, and how a changed scene changes that.

Path k of a scene draws the same random numbers before and after a change (common random numbers), so the two paths of a
pair are compared with each other: as far as they agree, no sampling noise is left in the difference.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vision_suite.errors import DataError
from vision_suite.models.oat.counterfactual import without_paths
from vision_suite.models.oat.decoding import sample
from vision_suite.models.oat.network import OAT
from vision_suite.types import ScanpathBatch


@dataclass(frozen=True)
class SearchTime:
    """Length of the search for each scene's target, over sampled paths.

    Attributes:
        steps: (B,) mean fixations until the first on a target, paths that never find one counting ``max_length``.
        steps_if_found: (B,) mean over the paths that find one, NaN for none.
        found: (B,) share of the paths that find one.
        standard_error: (B,) standard error of ``steps``, over the sampled paths; NaN for one path.
        each: (B, K) fixations until the first on a target of each sampled path, ``max_length`` without one.
    """

    steps: Tensor
    steps_if_found: Tensor
    found: Tensor
    standard_error: Tensor
    each: Tensor


@dataclass(frozen=True)
class SearchChange:
    """Change of search times by a move, over pairs of paths that drew the same random numbers.

    Attributes:
        steps: (B,) change of the mean number of fixations, below 0 if targets are found sooner.
        standard_error: (B,) standard error of that change, over the pairs; NaN for one pair.
        found: (B,) change of the share of the paths that find a target.
        before: Search times in the scenes as they are.
        after: Search times in the changed scenes.
    """

    steps: Tensor
    standard_error: Tensor
    found: Tensor
    before: SearchTime
    after: SearchTime


def search_change(
    model: OAT, batch: ScanpathBatch, changed: ScanpathBatch, max_length: int, num_samples: int = 100, *, seed: int = 0
) -> SearchChange:
    """Change of the expected number of fixations until a target is fixated, with the error of the paired difference.

    Scenes in which nothing was changed have a change of exactly 0.

    Args:
        model: The network.
        batch: Scenes with ``targets`` or ``target``.
        changed: The same scenes behind `move_object` or `swap_objects`.
        max_length: Most fixations of a path.
        num_samples: Sampled paths of each scene, K pairs.
        seed: Seed of the random numbers, which both sides share.

    Raises:
        DataError: A scene has no target, or the two sides are not of equally many scenes.
    """
    if len(changed["position"]) != len(batch["position"]):
        raise DataError(f"{len(batch['position'])} scenes before and {len(changed['position'])} after: give the same")
    before = search_time(model, batch, max_length, num_samples, seed=seed)
    after = search_time(model, changed, max_length, num_samples, seed=seed)
    # What stands beside a scene in its batch changes roundings, and so one path in millions.
    same = _unchanged(batch, changed)
    after = SearchTime(
        *(torch.where(_like(same, new), old, new) for old, new in zip(_parts(before), _parts(after), strict=True))
    )
    return SearchChange(
        after.steps - before.steps,
        _standard_error(after.each - before.each),
        after.found - before.found,
        before,
        after,
    )


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
        _standard_error(steps),
        steps,
    )


def _targets(batch: ScanpathBatch) -> Tensor:
    """(B, N) bool."""
    if "targets" in batch:
        return batch["targets"]
    return torch.arange(batch["position"].shape[1], device=batch["target"].device) == batch["target"][:, None]


def _unchanged(batch: ScanpathBatch, changed: ScanpathBatch) -> Tensor:
    """(B,) bool, True for scenes whose every part is as it was; recorded paths do not count."""
    before = without_paths(batch)
    same = torch.ones(len(before["position"]), dtype=torch.bool, device=before["position"].device)
    for name, new in without_paths(changed).items():
        old = before.get(name)
        if not isinstance(new, Tensor) or not isinstance(old, Tensor) or old.shape != new.shape:
            return torch.zeros_like(same)
        if old is not new:
            # NaN, an unknown duration, is equal to itself here.
            same = same & ((old == new) | ((old != old) & (new != new))).reshape(len(same), -1).all(dim=1)
    return same


def _parts(time: SearchTime) -> tuple[Tensor, ...]:
    return time.steps, time.steps_if_found, time.found, time.standard_error, time.each


def _like(scenes: Tensor, values: Tensor) -> Tensor:
    """(B,) as (B, 1) where values are (B, K)."""
    return scenes[:, None] if values.ndim == 2 else scenes


def _standard_error(each: Tensor) -> Tensor:
    """(B,) standard error of the mean of (B, K) values; NaN for one value."""
    count = each.shape[1]
    return each.std(dim=1) / count**0.5 if count > 1 else torch.full_like(each[:, 0], torch.nan)
