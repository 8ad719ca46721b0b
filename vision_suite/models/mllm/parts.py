"""Parts of a batch of conversations, for passes that need less memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from vision_suite.types.instruct import InstructBatch
from vision_suite.types.preference import PreferenceBatch

ROWS = ("input_ids", "attention_mask", "position_ids", "segments", "image_of_token", "labels")
ANSWERS = ("branch_ids", "branch_mask", "branch_weights", "reference_logps", "context_length")


def cut_batch(batch: InstructBatch, parts: int) -> list[InstructBatch]:
    """Cut a training batch into parts of about the same number of rows, each with its own pictures.

    Padding that a part does not need is cut off. Where there are fewer rows than parts, packed rows are cut too,
    between conversations. A conversation stays whole.

    Args:
        batch: Conversations, padded on the right or packed.
        parts: Number of parts; there are fewer where the conversations are fewer.

    Example:
        >>> batch = {"input_ids": torch.arange(6).view(3, 2), "attention_mask": torch.ones(3, 2, dtype=torch.bool)}
        >>> [part["input_ids"].tolist() for part in cut_batch(batch, 2)]
        [[[0, 1], [2, 3]], [[4, 5]]]
    """
    count = len(batch["input_ids"])
    if parts <= count or "segments" not in batch:
        return [select_rows(batch, rows.tolist()) for rows in torch.arange(count).tensor_split(min(parts, count))]
    each = -(-parts // count)
    spans = [(row, start, end) for row in range(count) for start, end in _spans(batch["segments"][row], each)]
    return [_span(batch, *span) for span in spans]


def select_rows(batch: InstructBatch, rows: Sequence[int]) -> InstructBatch:
    """Rows of a batch with their pictures, without the columns that are padding in all of them.

    Args:
        batch: Conversations, padded on the right or packed.
        rows: Rows in ascending order.
    """
    chosen = torch.as_tensor(rows, dtype=torch.int64, device=batch["input_ids"].device)
    kept = batch["segments"] >= 0 if "segments" in batch else batch["attention_mask"].bool()
    length = max(int(_length(kept[chosen])), 1)
    entries = cast("dict[str, Tensor]", batch)
    part = {name: value[chosen, :length] for name, value in entries.items() if name in ROWS}
    part |= {name: entries[name][chosen] for name in ("index", "source") if name in entries}
    return _with_pictures(entries, part)


def select_pairs(batch: PreferenceBatch, rows: Sequence[int]) -> PreferenceBatch:
    """Rows of a batch of beginnings and their continuations, with their pictures.

    Args:
        batch: Beginnings, padded on the right, and their continuations.
        rows: Rows in ascending order.
    """
    part = cast("dict[str, Tensor]", select_rows(cast("InstructBatch", batch), rows))
    entries = cast("dict[str, Tensor]", batch)
    chosen = torch.as_tensor(rows, dtype=torch.int64, device=batch["input_ids"].device)
    part |= {name: entries[name][chosen] for name in ANSWERS if name in entries}
    return cast("PreferenceBatch", part)


def _spans(segments: Tensor, parts: int) -> list[tuple[int, int]]:
    """Starts and ends of up to so many runs of whole conversations in a packed row, of about the same length."""
    length = int((segments >= 0).sum())
    lengths = torch.bincount(segments[:length])
    ends = lengths[lengths > 0].cumsum(0).tolist()
    if not ends:
        return [(0, len(segments))]
    wanted = [length * (number + 1) / parts for number in range(parts)]
    cuts = sorted({min(ends, key=lambda end: abs(end - place)) for place in wanted} | {length})
    return list(zip([0, *cuts[:-1]], cuts, strict=True))


def _span(batch: InstructBatch, row: int, start: int, end: int) -> InstructBatch:
    """Part of a packed row as a row of its own."""
    entries = cast("dict[str, Tensor]", batch)
    part = {name: value[row : row + 1, start:end] for name, value in entries.items() if name in ROWS}
    numbers = torch.unique(part["segments"])
    part |= {
        name: entries[name][row : row + 1, numbers[numbers >= 0]] for name in ("index", "source") if name in entries
    }
    return _with_pictures(entries, part)


def _with_pictures(batch: dict[str, Tensor], part: dict[str, Tensor]) -> InstructBatch:
    """Add the pictures that the part's tokens belong to, and what counts for the whole batch."""
    if "image_of_token" in part:
        used = torch.unique(part["image_of_token"])
        used = used[used >= 0]
        # In the order of their placeholders, which is that of their numbers.
        for name in ("image", "features"):
            if name in batch:
                part[name] = batch[name][used]
        places = torch.searchsorted(used, part["image_of_token"].clamp_min(0))
        part["image_of_token"] = torch.where(part["image_of_token"] >= 0, places, -1)
    if "step_targets" in batch:
        part["step_targets"] = batch["step_targets"]
    return cast("InstructBatch", part)


def _length(kept: Tensor) -> Tensor:
    """Number of columns up to the last one that any row keeps."""
    columns = torch.arange(1, kept.shape[1] + 1, device=kept.device)
    return (kept.any(0) * columns).max()
