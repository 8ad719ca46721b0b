"""Samples as batches: padded on the right, or packed into one row without padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from vision_suite.datasets.conversations.encode import Sample
from vision_suite.datasets.conversations.pictures import PictureStore
from vision_suite.datasets.loading import BatchKey
from vision_suite.types.conversations import IGNORED


def padded(samples: Sequence[Sample], pad_id: int) -> dict[str, Tensor]:
    """Text entries of a batch, one row for each sample, padded on the right.

    Args:
        samples: Samples; their pictures are numbered on through the batch.
        pad_id: Id of the padding.
    """
    shape = (len(samples), max(len(sample.ids) for sample in samples))
    ids = torch.full(shape, pad_id, dtype=torch.int64)
    mask = torch.zeros(shape, dtype=torch.bool)
    positions = torch.zeros(shape, dtype=torch.int64)
    labels = torch.full(shape, IGNORED, dtype=torch.int64)
    image_of_token = torch.full(shape, -1, dtype=torch.int64)
    first = 0
    for row, sample in enumerate(samples):
        length = len(sample.ids)
        ids[row, :length] = torch.from_numpy(sample.ids)
        mask[row, :length] = True
        positions[row, :length] = torch.arange(length)
        labels[row, :length] = torch.from_numpy(sample.labels)
        image_of_token[row, :length] = _numbered_from(first, sample)
        first += len(sample.images)
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "position_ids": positions,
        "labels": labels,
        "image_of_token": image_of_token,
    }


def packed(samples: Sequence[Sample]) -> dict[str, Tensor]:
    """Text entries of a batch of one row, in which the samples follow each other, each with positions from 0.

    Args:
        samples: Samples; their pictures are numbered on through the batch.
    """
    lengths = [len(sample.ids) for sample in samples]
    firsts = [sum(len(sample.images) for sample in samples[:n]) for n in range(len(samples))]
    ids = torch.cat([torch.from_numpy(sample.ids) for sample in samples])
    image_of_token = [_numbered_from(first, sample) for first, sample in zip(firsts, samples, strict=True)]
    entries = {
        "input_ids": ids,
        "attention_mask": torch.ones(len(ids), dtype=torch.bool),
        "position_ids": torch.cat([torch.arange(length) for length in lengths]),
        "segments": torch.repeat_interleave(torch.arange(len(samples)), torch.tensor(lengths)),
        "labels": torch.cat([torch.from_numpy(sample.labels) for sample in samples]),
        "image_of_token": torch.cat(image_of_token),
    }
    return {name: values[None] for name, values in entries.items()}


class InstructBatches(Dataset[dict[str, Tensor]]):
    """Data set that turns a `BatchKey` into a `vision_suite.types.conversations.InstructBatch`.

    Args:
        sample: Function that gives the sample at an index.
        size: Number of samples.
        sources: (size,) index of each sample's source.
        pictures: Pictures of the stage; None for a model that sees none.
        pad_id: Id of the padding.
        pack: Pack the samples of a batch into one row.
        step_targets: Function that gives the supervised ids of the optimiser step of a batch, by epoch and index of the
            batch; None in evaluation.
    """

    def __init__(
        self,
        sample: Callable[[int], Sample],
        size: int,
        *,
        sources: Sequence[int],
        pictures: PictureStore | None,
        pad_id: int,
        pack: bool = False,
        step_targets: Callable[[int, int], int] | None = None,
    ) -> None:
        self._sample, self._size, self._sources = sample, size, torch.as_tensor(sources, dtype=torch.int64)
        self._pictures, self._pad_id, self._pack, self._step_targets = pictures, pad_id, pack, step_targets

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, key: BatchKey) -> dict[str, Tensor]:
        samples = [self._sample(index) for index in key.indices]
        batch = packed(samples) if self._pack else padded(samples, self._pad_id)
        index = torch.tensor(key.indices)
        source = self._sources[index]
        batch |= {"index": index[None], "source": source[None]} if self._pack else {"index": index, "source": source}
        if self._pictures is not None:
            batch |= self._pictures([ref for sample in samples for ref in sample.images])
        if self._step_targets is not None:
            batch["step_targets"] = torch.tensor(self._step_targets(key.epoch, key.step))
        return batch


def _numbered_from(first: int, sample: Sample) -> Tensor:
    numbers = torch.from_numpy(sample.image_of_token)
    return torch.where(numbers < 0, numbers, numbers + first)
