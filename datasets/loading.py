"""A loader of whole batches that can be stopped and continued."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vision_suite.datasets.samplers import EpochBatchSampler

Cache = Literal["memory", "none"]


class BatchKey(NamedTuple):
    """Everything a batch depends on besides the data: its items and its position in the run."""

    indices: list[int]
    epoch: int
    step: int


class BatchLoader:
    """Iterable of batches that always continues at its sampler's position.

    Lightning sees an iterable that is not a torch ``DataLoader``, so it never swaps the sampler for a distributed one
    (which would break identity batches); it also finds `state_dict` and `load_state_dict`, and saves the position.

    Iteration starts when the first batch is asked for, not when an iterator is made: Lightning makes iterators before
    it knows the position of a resumed run. The position counts batches handed out, however far the workers are ahead.
    """

    def __init__(
        self,
        batches: Dataset[dict[str, Tensor]],
        sampler: EpochBatchSampler,
        *,
        num_workers: int,
        pin_memory: bool,
        position: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        """Set the loader up; workers start with the first iteration and stay.

        Args:
            batches: Data set that makes the batches.
            sampler: Indices of the items of each batch.
            num_workers: Worker processes; 0 makes the batches in this process.
            pin_memory: Copy batches to page-locked memory, for a GPU.
            position: Function that gives the epoch and the number of its batches already done, called at the start of
                each iteration; without it the sampler's own position counts, and the next epoch follows a finished one.
        """
        self._sampler = sampler
        self._position = position
        self._keys: list[BatchKey] = []
        # A private generator: the loader's own draw must not move the global one, or a resumed run would differ.
        self._loader: DataLoader[dict[str, Tensor]] = DataLoader(
            batches,
            batch_size=None,
            sampler=self._keys,
            num_workers=num_workers,
            pin_memory=pin_memory,
            persistent_workers=num_workers > 0,
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        sampler = self._sampler
        sampler.seek(*(self._position() if self._position else (sampler.epoch, sampler.batch)))
        epoch, start = sampler.epoch, sampler.batch
        self._keys[:] = [BatchKey(indices, epoch, start + n) for n, indices in enumerate(sampler)]
        for batch in self._loader:
            sampler.advance()
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The position, for a checkpoint."""
        return self._sampler.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a position kept by `state_dict`."""
        self._sampler.load_state_dict(state)


def available_cores() -> int:
    """Cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def worker_count(requested: int | None, cache: Cache) -> int:
    """Worker processes of a loader: the requested number; by default none for data in memory, else up to 8."""
    if requested is not None:
        return requested
    return 0 if cache == "memory" else min(8, available_cores())
