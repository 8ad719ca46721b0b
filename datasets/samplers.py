"""Samplers of batches: identity batches (P x K), shuffled batches, and shards for evaluation.

Every sampler plans a whole epoch from ``(seed, epoch)`` alone, so the order is the same on every machine, differs
between epochs, and can be continued in the middle. The plan is made for all ranks together and cut up afterwards.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from vision_suite.errors import ConfigError


class EpochBatchSampler(Sampler[list[int]], ABC):
    """A batch sampler that knows its position: an epoch, and the number of its batches that were used.

    `__iter__` yields the batches that are left in the epoch and doesn't change the position, because a loader with
    workers runs ahead of training; the consumer of the batches calls `advance`.
    """

    def __init__(self, *, rank: int = 0, world_size: int = 1) -> None:
        """Start at the first batch of epoch 0.

        Args:
            rank: Number of this process, from 0.
            world_size: Number of processes that train together.
        """
        if not 0 <= rank < world_size:
            raise ConfigError(f"rank={rank} is not one of world_size={world_size} processes")
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.batch = 0

    @abstractmethod
    def plan(self, epoch: int) -> list[list[int]]:
        """All batches of this rank in the epoch."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of batches of every epoch on every rank."""

    def __iter__(self) -> Iterator[list[int]]:
        yield from self.plan(self.epoch)[self.batch :]

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; the position within the epoch is kept if it is the present one."""
        if epoch != self.epoch:
            self.seek(epoch, 0)

    def seek(self, epoch: int, batch: int) -> None:
        """Go to a batch of an epoch; a position behind the last batch means the next epoch."""
        self.epoch, self.batch = (epoch, batch) if batch < len(self) else (epoch + 1, 0)

    def advance(self) -> None:
        """Note that one more batch was used."""
        self.batch += 1

    def state_dict(self) -> dict[str, int]:
        """The position, for a checkpoint."""
        return {"epoch": self.epoch, "batch": self.batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a position kept by `state_dict`."""
        self.seek(state["epoch"], state["batch"])


class IdentityBatchSampler(EpochBatchSampler):
    """Batches of P identities with K pictures each, for triplet losses (TransReID's chunking, with a fixed length).

    In each epoch an identity's pictures are shuffled and cut into chunks of K. An identity with fewer than K pictures
    gives one chunk: all its pictures, filled up with further draws among them. Each step takes one chunk of P different
    identities per rank, so no identity appears twice in a step, not even on another rank.

    TransReID draws identities until fewer than P are left, so its epochs differ in length. Here the number of steps T
    is the largest for which T steps of ``world_size * P`` different identities can be made of the chunks,
    ``sum_i min(chunks_i, T) >= T * world_size * P``; which chunks are left over is drawn anew in each epoch, and
    identities are drawn uniformly except those that must take part in every step that remains. Left over are the
    pictures of those chunks and ``n mod K`` pictures of an identity with n > K.
    """

    def __init__(
        self,
        identities: Sequence[int],
        batch_size: int,
        num_instances: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Count the chunks and the steps.

        Args:
            identities: Identity of each picture of the training set.
            batch_size: Pictures per batch and process, a multiple of `num_instances`.
            num_instances: Pictures per identity (K).
            seed: Seed of the order.
            rank: Number of this process, from 0.
            world_size: Number of processes that train together.

        Raises:
            ConfigError: The batch can't be formed.
        """
        super().__init__(rank=rank, world_size=world_size)
        if num_instances < 1 or batch_size < 1 or batch_size % num_instances:
            lower = max(1, batch_size // max(1, num_instances)) * max(1, num_instances)
            raise ConfigError(
                f"num_instances={num_instances} does not divide batch_size={batch_size}: "
                f"choose a batch size of {lower} or {lower + max(1, num_instances)}"
            )
        self.num_instances = num_instances
        self.per_rank = batch_size // num_instances
        self.per_step = self.per_rank * world_size
        self.seed = seed
        labels = np.asarray(identities, dtype=np.int64)
        order = np.argsort(labels, kind="stable")
        _, starts = np.unique(labels[order], return_index=True)
        self._pictures = np.split(order, starts[1:]) if len(order) else []
        self._chunks = np.array([max(1, len(p) // num_instances) for p in self._pictures], dtype=np.int64)
        if len(self._chunks) < self.per_step:
            raise ConfigError(
                f"a step of {self.per_step} identities ({self.per_rank} on each of {world_size} processes) cannot be "
                f"made of {len(self._chunks)} training identities: lower batch_size or raise num_instances"
            )
        self._steps = self._count_steps()

    def _count_steps(self) -> int:
        low, high = 1, int(self._chunks.sum()) // self.per_step
        while low < high:  # the condition holds up to some T and for none above it
            middle = (low + high + 1) // 2
            if int(np.minimum(self._chunks, middle).sum()) >= middle * self.per_step:
                low = middle
            else:
                high = middle - 1
        return low

    def __len__(self) -> int:
        return self._steps

    def plan(self, epoch: int) -> list[list[int]]:
        """All batches of this rank in the epoch, each `num_instances` pictures of one identity after another."""
        rng = np.random.default_rng([self.seed, epoch])
        chunks = [self._cut(pictures, rng) for pictures in self._pictures]
        left = self._chunk_budget(rng)
        mine = slice(self.rank * self.per_rank, (self.rank + 1) * self.per_rank)
        batches = []
        for remaining in range(self._steps, 0, -1):
            must = np.flatnonzero(left == remaining)
            may = np.flatnonzero((left > 0) & (left < remaining))
            drawn = rng.choice(may, self.per_step - len(must), replace=False)
            chosen = rng.permutation(np.concatenate([must, drawn]))
            left[chosen] -= 1
            batches.append(np.concatenate([chunks[i][left[i]] for i in chosen[mine].tolist()]).tolist())
        return batches

    def _chunk_budget(self, rng: np.random.Generator) -> np.ndarray:
        """Number of chunks of each identity in this epoch: at most one per step, in sum exactly as many as needed."""
        budget = np.minimum(self._chunks, self._steps)
        surplus = int(budget.sum()) - self._steps * self.per_step
        owners = np.repeat(np.arange(len(budget)), budget)
        dropped = rng.choice(owners, surplus, replace=False)
        return np.asarray(budget - np.bincount(dropped, minlength=len(budget)))

    def _cut(self, pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Shuffled pictures of one identity as (chunks, K)."""
        size = self.num_instances
        shuffled = rng.permutation(pictures)
        if len(shuffled) < size:
            shuffled = np.concatenate([shuffled, rng.choice(pictures, size - len(pictures))])
        return shuffled[: len(shuffled) // size * size].reshape(-1, size)


class ShuffledBatchSampler(EpochBatchSampler):
    """Batches of a new random order in each epoch; a last incomplete batch is left out (batch norm needs full ones)."""

    def __init__(self, size: int, batch_size: int, *, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        """Shuffle ``size`` items.

        Args:
            size: Pictures or sequences in the training set.
            batch_size: Pictures or sequences per batch and process.
            seed: Seed of the order.
            rank: Number of this process, from 0.
            world_size: Number of processes that train together.

        Raises:
            ConfigError: There are fewer items than one step needs.
        """
        super().__init__(rank=rank, world_size=world_size)
        if not 1 <= batch_size * world_size <= size:
            raise ConfigError(
                f"batch_size={batch_size} on {world_size} processes does not fit {size} training items: "
                f"choose 1 to {size // world_size}"
            )
        self.size = size
        self.batch_size = batch_size
        self.seed = seed

    def __len__(self) -> int:
        return self.size // (self.batch_size * self.world_size)

    def plan(self, epoch: int) -> list[list[int]]:
        """All batches of this rank in the epoch."""
        order = np.random.default_rng([self.seed, epoch]).permutation(self.size)
        steps = order[: len(self) * self.batch_size * self.world_size].reshape(len(self), self.world_size, -1)
        return [[int(i) for i in step] for step in steps[:, self.rank]]


class ShardedBatchSampler(EpochBatchSampler):
    """Evaluation batches in order; each rank takes every ``world_size``-th picture.

    Every rank gets the same number of pictures, so collective calls stay in step. Where the number of pictures is no
    multiple of the number of ranks, the last ranks see pictures of the start again, which the metrics recognise by
    their index. No picture is left out.
    """

    def __init__(self, size: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> None:
        """Distribute ``size`` pictures over the ranks.

        Args:
            size: Pictures in the evaluation list.
            batch_size: Pictures per batch and process; the last batch may be smaller.
            rank: Number of this process, from 0.
            world_size: Number of processes that evaluate together.
        """
        super().__init__(rank=rank, world_size=world_size)
        if batch_size < 1:
            raise ConfigError(f"eval batch size {batch_size} is below 1")
        self.size = size
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-self._per_rank() // self.batch_size)

    def _per_rank(self) -> int:
        return -(-self.size // self.world_size)

    def plan(self, epoch: int) -> list[list[int]]:
        """All batches of this rank, the same in every epoch."""
        mine = [i % self.size for i in range(self.rank, self._per_rank() * self.world_size, self.world_size)]
        return [mine[start : start + self.batch_size] for start in range(0, len(mine), self.batch_size)]
