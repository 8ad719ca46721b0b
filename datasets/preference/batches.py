"""Pairs as batches: the beginning padded on the right, the continuations beside it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from vision_suite.datasets.conversations.batches import padded
from vision_suite.datasets.conversations.pictures import PictureStore
from vision_suite.datasets.loading import BatchKey
from vision_suite.datasets.preference.encode import PairSample, changed_weights
from vision_suite.datasets.preference.stage import PairRows


def pair_batch(samples: Sequence[PairSample], pad_id: int, *, changed_weight: float | None = None) -> dict[str, Tensor]:
    """Entries of a `vision_suite.types.preference.PreferenceBatch` but for pictures, index and source.

    Args:
        samples: Pairs; their pictures are numbered on through the batch.
        pad_id: Id of the padding.
        changed_weight: Weight of ids in which the continuations differ; None for a batch without weights.
    """
    batch = padded([sample.prefix for sample in samples], pad_id)
    del batch["labels"]
    longest = max(len(ids) for sample in samples for ids in sample.branches)
    shape = (len(samples), 2, longest)
    ids, mask = torch.full(shape, pad_id, dtype=torch.int64), torch.zeros(shape, dtype=torch.bool)
    weights = torch.zeros(shape, dtype=torch.float32)
    for row, sample in enumerate(samples):
        for side, own in enumerate(sample.branches):
            ids[row, side, : len(own)] = torch.from_numpy(own)
            mask[row, side, : len(own)] = True
            if changed_weight is not None:
                found = changed_weights(own, sample.branches[1 - side], changed_weight)
                weights[row, side, : len(own)] = torch.from_numpy(found)
    batch |= {"branch_ids": ids, "branch_mask": mask}
    if changed_weight is not None:
        batch["branch_weights"] = weights
    batch["context_length"] = torch.tensor([sample.context for sample in samples])
    return batch


class PreferenceBatches(Dataset[dict[str, Tensor]]):
    """Data set that turns a `BatchKey` into a `vision_suite.types.preference.PreferenceBatch`.

    Args:
        rows: Pairs of the stage.
        sources: (size,) index of each pair's source.
        pictures: Pictures of the stage; None for a model that sees none.
        pad_id: Id of the padding.
        changed_weight: Weight of ids in which the continuations differ; None for batches without weights.
    """

    def __init__(
        self,
        rows: PairRows,
        *,
        sources: Sequence[int],
        pictures: PictureStore | None,
        pad_id: int,
        changed_weight: float | None = None,
    ) -> None:
        self._rows, self._sources = rows, torch.as_tensor(sources, dtype=torch.int64)
        self._pictures, self._pad_id, self._changed = pictures, pad_id, changed_weight

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, key: BatchKey) -> dict[str, Tensor]:
        samples = [self._rows.sample(index) for index in key.indices]
        index = torch.tensor(key.indices)
        batch = pair_batch(samples, self._pad_id, changed_weight=self._changed)
        batch |= {"index": index, "source": self._sources[index]}
        if self._pictures is not None:
            batch |= self._pictures([ref for sample in samples for ref in sample.images])
        if self._rows.reference is not None:
            batch["reference_logps"] = self._rows.reference[index]
        return batch
