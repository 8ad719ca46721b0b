"""Counterfactual scenes: objects of a batch are moved or swapped; `search_change` gives the change of search times.

>>> moved = swap_objects(batch, first=batch["target"], second=eye_level)
>>> change = search_change(model, batch, moved, max_length=54)
>>> change.steps, change.standard_error
"""

from __future__ import annotations

import torch
from torch import Tensor

from vision_suite.errors import DataError
from vision_suite.models.oat.paths import present_objects
from vision_suite.types import PADDING, ScanpathBatch

HALF_A_PIXEL = 0.5  # pitches are fitted to pixels


def move_object(batch: ScanpathBatch, number: Tensor, position: Tensor) -> ScanpathBatch:
    """The scenes with one object elsewhere; its box goes along, keeping its size.

    Args:
        batch: Scenes; it is not changed. Recorded paths do not belong to the new scenes and are left out, but for
            the given fixations that a search begins with, which stay on their objects.
        number: (B,) int64 the object to move.
        position: (B, 2) its new row and column, in object pitches. The object's centre stays in the picture; the
            rest may reach over its edge, as that of many an object does.

    Returns:
        New scenes, sharing what did not change.

    Raises:
        DataError: A scene lacks the object, its box has no size, or the centre would leave the picture.
    """
    _check(batch, number)
    _check_place(batch, number, position)
    row = torch.arange(len(number), device=number.device)
    out = without_paths(batch)
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

    Raises:
        DataError: A scene lacks an object, or its box has no size.
    """
    _check(batch, first)
    _check(batch, second)
    row = torch.arange(len(first), device=first.device)
    out = without_paths(batch)
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


def without_paths(batch: ScanpathBatch) -> ScanpathBatch:
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
    """Refuse numbers that name no object, and objects whose box has no size."""
    scenes, count = batch["position"].shape[:2]
    if number.shape != (scenes,) or number.is_floating_point() or number.dtype == torch.bool:
        raise DataError(
            f"object numbers of shape {tuple(number.shape)} and {number.dtype} for {scenes} scenes: give one for each "
            "scene, whole numbers"
        )
    wrong = (number < 0) | (number >= count)
    if bool(wrong.any()):
        scene = int(wrong.nonzero()[0, 0])
        raise DataError(f"object {int(number[scene])} of scene {scene}: scenes have objects 0 to {count - 1}")
    lacking = ~present_objects(batch).gather(1, number[:, None])[:, 0]
    if bool(lacking.any()):
        scene = int(lacking.nonzero()[0, 0])
        own = int(present_objects(batch)[scene].sum())
        raise DataError(
            f"scene {scene} lacks object {int(number[scene])}: it has {own} objects (present is False there)"
        )
    if "boxes" in batch:
        boxes = batch["boxes"][torch.arange(scenes, device=number.device), number]
        sides = boxes[:, 2:] - boxes[:, :2]
        flat = ~(sides > 0).all(dim=1)
        if bool(flat.any()):
            scene = int(flat.nonzero()[0, 0])
            width, height = sides[scene].tolist()
            raise DataError(
                f"object {int(number[scene])} of scene {scene} has a box of {width:g} x {height:g} pixels: an object "
                "without a size cannot be moved, correct its box"
            )


def _check_place(batch: ScanpathBatch, number: Tensor, position: Tensor) -> None:
    """Refuse a row and column by which an object's centre would lie outside of the picture."""
    if position.shape != (len(number), 2):
        raise DataError(f"positions of shape {tuple(position.shape)}: give ({len(number)}, 2), a row and a column each")
    low, high = _range_of_places(batch, number)
    wanted = position.double()
    slack = 1e-6 if "boxes" not in batch else HALF_A_PIXEL / pixels_per_pitch(batch).abs().clamp(min=1.0)
    wrong = ~((wanted >= low - slack) & (wanted <= high + slack)).all(dim=1)
    if bool(wrong.any()):
        scene = int(wrong.nonzero()[0, 0])
        row, column = wanted[scene].tolist()
        (first_row, first_column), (last_row, last_column) = low[scene].tolist(), high[scene].tolist()
        raise DataError(
            f"object {int(number[scene])} of scene {scene} cannot be moved to row {row:g}, column {column:g}, outside "
            f"of the picture: its centre stays in it from row {first_row:.2f} to {last_row:.2f} and from column "
            f"{first_column:.2f} to {last_column:.2f}"
        )


def _range_of_places(batch: ScanpathBatch, number: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 2) first and last row and column of an object's centre: the picture's, or where unknown the objects'."""
    present = present_objects(batch)[..., None]
    if "boxes" not in batch:
        place = batch["position"].double()
        return (
            torch.where(present, place, torch.inf).amin(dim=1),
            torch.where(present, place, -torch.inf).amax(dim=1),
        )
    row = torch.arange(len(number), device=number.device)
    boxes = batch["boxes"].double()
    if "image_size" in batch:
        size = batch["image_size"].double().flip(-1)
        first, last = torch.zeros_like(size), size
    else:
        first = torch.where(present, boxes[..., :2], torch.inf).amin(dim=1).flip(-1)
        last = torch.where(present, boxes[..., 2:], -torch.inf).amax(dim=1).flip(-1)
    centre = ((boxes[..., :2] + boxes[..., 2:]) / 2)[row, number].flip(-1)
    scale, now = pixels_per_pitch(batch), batch["position"].double()[row, number]
    ends = now + (first - centre) / scale, now + (last - centre) / scale
    return torch.minimum(*ends), torch.maximum(*ends)
