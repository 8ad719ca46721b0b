"""Comparison of a written file with the network, picture by picture, at several batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vision_suite.errors import ExportError

Forward = Callable[[Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class Parity:
    """Distance of a written file from the network.

    Attributes:
        pictures: Number of pictures compared.
        near_ties: Pictures left out of the comparison of outputs: two patches had equal weights but for rounding, and
            the runtimes picked different ones.
        worst: Largest relative distance of a picture's values, |a - b| / |a|, by output.
    """

    pictures: int
    near_ties: int
    worst: dict[str, float]


def compare(
    reference: Forward,
    exported: Forward,
    image_size: tuple[int, int],
    num_queries: int,
    batches: Sequence[int],
    tolerance: float,
    seed: int = 0,
) -> Parity:
    """Compare two ways to run a network on generated pictures.

    Picked patches are compared as sets. Where the sets differ, the patches in question must have had the same weight to
    within the tolerance; such a picture is counted and its other outputs are not compared, for they rest on the choice.

    Args:
        reference: The network.
        exported: The file.
        image_size: Height and width of the pictures.
        num_queries: Number of patches picked by their rollout, 0 for none.
        batches: Batch sizes.
        tolerance: Largest relative distance allowed.
        seed: Seed of the pictures.

    Raises:
        ExportError: Outputs, their shapes or their names differ, or no picture could be compared.
    """
    generator = torch.Generator().manual_seed(seed)
    worst: dict[str, float] = {}
    pictures = near_ties = 0
    for size in batches:
        image = _pictures(size, image_size, generator)
        with torch.no_grad():
            expected, found = reference(image), exported(image)
        shapes = [{name: tuple(value.shape) for name, value in outputs.items()} for outputs in (expected, found)]
        if shapes[0] != shapes[1]:
            raise ExportError(f"at batch size {size} the written file gives {shapes[1]}, the network {shapes[0]}")
        usable = torch.ones(size, dtype=torch.bool)
        if num_queries and "rollout" in expected:
            usable = _same_choice(expected["rollout"], found["rollout"], num_queries, tolerance)
        for name, value in expected.items():
            distance = _distances(value, found[name])[usable]
            if not bool((distance <= tolerance).all()):  # a NaN fails too
                raise ExportError(
                    f"the written file's {name} differs from the network's by {float(distance.max()):.2g} (relative, "
                    f"batch size {size}; at most {tolerance:.2g} is allowed): the file was deleted"
                )
            if len(distance):
                worst[name] = max(worst.get(name, 0.0), float(distance.max()))
        pictures += size
        near_ties += size - int(usable.sum())
    if near_ties == pictures:
        raise ExportError(f"none of {pictures} pictures could be compared: all had patches of equal weight")
    return Parity(pictures, near_ties, worst)


def _same_choice(expected: Tensor, found: Tensor, count: int, tolerance: float) -> Tensor:
    """(B,) True where both rollouts (B, h, w) pick the same patches; raises if another choice is no near tie."""
    expected, found = expected.flatten(1), found.flatten(1)
    same = torch.ones(len(expected), dtype=torch.bool)
    for row, (a, b) in enumerate(zip(expected, found, strict=True)):
        kept, other = (set(weights.topk(count).indices.tolist()) for weights in (a, b))
        if kept != other:
            gap = float(a[list(kept - other)].max() - a[list(other - kept)].min())
            if not abs(gap) <= tolerance * float(a.abs().max()):
                raise ExportError(
                    f"the written file picks {len(kept - other)} of {count} patches otherwise than the network, with "
                    f"weights {gap:.2g} apart: the file was deleted"
                )
            same[row] = False
    return same


def _distances(expected: Tensor, found: Tensor) -> Tensor:
    """(B,) relative Euclidean distance of each picture's values."""
    expected, found = expected.flatten(1).double(), found.flatten(1).double()
    length = torch.linalg.vector_norm(expected, dim=1).clamp_min(1e-30)
    relative: Tensor = torch.linalg.vector_norm(expected - found, dim=1) / length
    return relative


def _pictures(count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """(count, 3, h, w) normalised pictures with coarse and fine structure, for attention to choose from."""
    coarse = torch.randn(count, 3, max(2, size[0] // 16), max(2, size[1] // 16), generator=generator)
    fine = torch.randn(count, 3, *size, generator=generator)
    return (F.interpolate(coarse, size, mode="bilinear") + 0.3 * fine).clamp(-2, 2)
