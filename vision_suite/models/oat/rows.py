"""Rows of numbers that carry network output between processes: packing of a batch, unpacking by trial."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vision_suite.models.oat.generated import Scanpaths
from vision_suite.models.oat.network import OATOutput
from vision_suite.types import PADDING, ScanpathBatch
from vision_suite.types.arrays import Bools, Floats, Ints


class PathArrays(NamedTuple):
    """Generated paths of one trial, padded to the greatest length L.

    Attributes:
        sequence: (K, L) int64 objects, ``BACKGROUND`` or ``PADDING``.
        duration: (K, L) float64 seconds, NaN where unknown or padded.
        terminated: (K,) bool, False where L cut the path.
        log_prob: (K,) float64 nats.
    """

    sequence: Ints
    duration: Floats
    terminated: Bools
    log_prob: Floats


def logit_rows(output: OATOutput, batch: ScanpathBatch, objects: int, *, background: bool) -> tuple[Tensor, Tensor]:
    """Logits before every decision, without padding; no path ends before its first fixation.

    Args:
        output: Teacher-forced output.
        batch: Batch of the output, with ``index``.
        objects: Largest number of objects of any scene.
        background: True if the network has a background column.

    Returns:
        Trials (n,) int64 and values (n, objects + 2) float64: objects, background, end; -inf for what cannot come.
    """
    logits = output.logits[..., :-1].double()
    logits[:, 0, -1] = -torch.inf
    count, steps = logits.shape[:2]
    own = batch["present"].shape[1]
    values = logits.new_full((count, steps, objects + 2), -torch.inf)
    values[..., :own] = logits[..., :own]
    if background:
        values[..., objects] = logits[..., own]
    values[..., -1] = logits[..., -1]
    length = (batch["sequence"] != PADDING).sum(dim=1)
    used = torch.arange(steps, device=length.device) <= length[:, None]
    return batch["index"][:, None].expand_as(used)[used], values[used]


def path_rows(paths: Scanpaths, batch: ScanpathBatch) -> tuple[Tensor, Tensor]:
    """Pack generated paths into rows, K of each trial; `unpack_paths` is the inverse.

    Args:
        paths: Generated paths of the batch.
        batch: Batch with ``index``.

    Returns:
        Trials (n,) int64 and values (n, 2 + 2 L) float64: terminated, log-probability, objects, seconds.
    """
    columns = [paths.terminated[..., None], paths.log_prob[..., None], paths.sequence, paths.duration]
    values = torch.cat([column.double() for column in columns], dim=2)
    return batch["index"][:, None].expand(values.shape[:2]).flatten(), values.flatten(0, 1)


def unpack_paths(rows: Floats) -> PathArrays:
    """Unpack the (K, 2 + 2 L) rows of `path_rows`."""
    sequence, duration = np.split(rows[:, 2:], 2, axis=1)
    return PathArrays(sequence.astype(np.int64), duration, rows[:, 0] != 0, rows[:, 1])


def split_rows(trial: Tensor, values: Tensor) -> list[Floats]:
    """Split values (n, c) into those of each trial; trials (n,) ascend and none is missing."""
    # A metric hands on a single row's trial as a scalar.
    starts = np.flatnonzero(np.diff(trial.reshape(-1).numpy())) + 1
    return np.split(values.numpy(), starts)
