"""From a batch of network output to rows of numbers, and from the rows of a split to scanpaths of its trials."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vision_suite.models.oat.generated import Scanpaths
from vision_suite.models.oat.network import OATOutput
from vision_suite.types import PADDING, ScanpathBatch
from vision_suite.types.arrays import Floats

TERMINATED, LOG_PROB, PATH = range(3)


def logit_rows(output: OATOutput, batch: ScanpathBatch, objects: int, *, background: bool) -> tuple[Tensor, Tensor]:
    """The scores before every decision, padding left out; no path ends before its first fixation.

    Args:
        output: Teacher-forced output.
        batch: Its batch, with ``index``.
        objects: Most objects of any scene.
        background: Whether the network has a background column.

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
    """Generated paths as rows, K of each trial.

    Returns:
        Trials (n,) int64 and values (n, 2 + 2 L) float64: terminated, log-probability, objects, seconds.
    """
    columns = [
        paths.terminated[..., None].double(), paths.log_prob[..., None].double(), paths.sequence.double(),
        paths.duration.double(),
    ]  # fmt: skip
    values = torch.cat(columns, dim=2)
    return batch["index"][:, None].expand(values.shape[:2]).flatten(), values.flatten(0, 1)


def split_rows(trial: Tensor, values: Tensor) -> list[Floats]:
    """Values (n, c) of each trial in turn; trials (n,) ascend and none is missing."""
    # A metric hands on a single row's trial as a scalar.
    places = np.flatnonzero(np.diff(trial.reshape(-1).numpy())) + 1
    return np.split(values.numpy(), places)


def path_of(row: Floats) -> tuple[list[int], Floats, bool, float]:
    """Objects, seconds, whether the path ended, and its log-probability, of a row of `path_rows`."""
    objects, seconds = np.split(row[PATH:], 2)
    used = objects != PADDING
    return objects[used].astype(np.int64).tolist(), seconds[used], bool(row[TERMINATED]), float(row[LOG_PROB])
