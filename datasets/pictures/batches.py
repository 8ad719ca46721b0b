"""From records to batches of pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vision_suite.datasets.loading import BatchKey
from vision_suite.datasets.pictures.images import Reader
from vision_suite.datasets.pictures.transforms import Prepare


class PictureBatches(Dataset[dict[str, Tensor]]):
    """Data set that turns a `BatchKey` into a batch: pictures from memory or disk, prepared, with their columns."""

    def __init__(
        self,
        paths: Sequence[str],
        columns: dict[str, Tensor],
        prepare: Prepare,
        *,
        read: Reader,
        memory: tuple[Tensor, Tensor] | None,
        seed: int,
        rank: int,
    ) -> None:
        """Keep what is needed to make batches.

        Args:
            paths: Address of each picture.
            columns: Further batch entries by name, each with one value per picture.
            prepare: Augmentation and normalisation.
            read: Reader that resizes a picture.
            memory: Resized pictures (U, 3, h, w) uint8 and the row of each picture, or None to read from disk.
            seed: Seed of the augmentation.
            rank: Number of this process, from 0; each process draws its own augmentation.
        """
        self._paths = np.array(paths, dtype=np.str_)  # one buffer: forked workers don't copy it by counting references
        self._columns = {**columns, "index": torch.arange(len(paths))}
        self._prepare = prepare
        self._read = read
        self._memory = memory
        self._seed = seed
        self._rank = rank

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, key: BatchKey) -> dict[str, Tensor]:
        rows = torch.tensor(key.indices, dtype=torch.int64)
        if self._memory is None:
            addresses = self._paths[rows.numpy()].tolist()
            images = torch.stack([self._read(address) for address in addresses])
        else:
            pictures, row_of = self._memory
            images = pictures[row_of[rows]]
        words = np.random.SeedSequence([self._seed, key.epoch, key.step, self._rank]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(words[0]))
        image = self._prepare(images, generator)
        return {"image": image, **{name: column[rows] for name, column in self._columns.items()}}
