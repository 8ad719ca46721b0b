"""Scanpaths as columns of the logits: objects 0..N-1, the background where there is one, the end, and padding last."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vision_suite.errors import DataError
from vision_suite.types import BACKGROUND, PADDING, ScanpathBatch

IGNORED = -100  # label of a step that is neither trained nor scored


class Paths(NamedTuple):
    """Recorded paths of a batch.

    Attributes:
        columns: (B, L) int64 column of each fixation, 0 where padded.
        labels: (B, L + 1) int64 column to predict at each step, the end included, or ``IGNORED``.
        length: (B,) int64 fixations.
    """

    columns: Tensor
    labels: Tensor
    length: Tensor


def present_objects(batch: ScanpathBatch) -> Tensor:
    """(B, N) bool, which objects exist; all where the batch does not say."""
    if "present" in batch:
        return batch["present"]
    shape = batch["position"].shape[:2]
    return torch.ones(shape, dtype=torch.bool, device=batch["position"].device)


def read_paths(batch: ScanpathBatch, background: bool) -> Paths:
    """Columns and labels of a batch's fixations.

    The first ``given`` fixations have no label. Behind the last fixation stands the end, unless the recording goes on
    behind the cut (``terminated`` False).

    Args:
        batch: With ``sequence``, and ``given`` and ``terminated`` where they are not 0 and True.
        background: True if the network has a background column.

    Raises:
        DataError: A path names an object that does not exist, or the background where there is none, or has padding
            before its end.
    """
    if "sequence" not in batch:
        raise DataError("the batch has no sequence, the recorded path: greedy, sample and beam_search do without")
    sequence = batch["sequence"]
    count = batch["position"].shape[1]
    step = torch.arange(sequence.shape[1] + 1, device=sequence.device)
    real = sequence != PADDING
    length = real.sum(dim=1)
    _check(sequence, real, present_objects(batch), background)
    columns = torch.where(sequence == BACKGROUND, count, sequence).clamp(min=0)
    labels = torch.cat([torch.where(real, columns, IGNORED), sequence.new_full((len(sequence), 1), IGNORED)], dim=1)
    given = batch["given"] if "given" in batch else torch.zeros_like(length)
    labels = torch.where(step < given[:, None], IGNORED, labels)
    ends = step == length[:, None]
    if "terminated" in batch:
        ends = ends & batch["terminated"][:, None]
    return Paths(columns, torch.where(ends, count + int(background), labels), length)


def as_sequence(columns: Tensor, count: int, background: bool) -> Tensor:
    """Columns of generated paths as object numbers, ``BACKGROUND`` and ``PADDING``; the end and behind is padding."""
    sequence = torch.where(columns < count, columns, PADDING)
    return torch.where(columns == count, BACKGROUND, sequence) if background else sequence


def _check(sequence: Tensor, real: Tensor, present: Tensor, background: bool) -> None:
    count = present.shape[1]
    if not sequence.shape[1]:
        return
    if bool((real[:, 1:] & ~real[:, :-1]).any()):
        raise DataError("a scanpath has padding between fixations: padding (-1) stands behind the last one only")
    if bool((sequence >= count).any()) or bool((sequence < BACKGROUND).any()):
        found = int(sequence.max()) if int(sequence.max()) >= count else int(sequence.min())
        raise DataError(f"a scanpath names object {found}, but scenes have objects 0 to {count - 1}")
    if not background and bool((sequence == BACKGROUND).any()):
        raise DataError("a scanpath has fixations on the background: set background=true, or assign them to objects")
    if bool((~present.gather(1, sequence.clamp(min=0)) & (sequence >= 0)).any()):
        raise DataError("a scanpath names an object that its scene lacks (present is False there)")
