"""Batches of sequences of unequal length: sources mixed by weight, neighbours of like length, whole optimiser steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count, islice

import numpy as np

from vision_suite.datasets.samplers import EpochBatchSampler
from vision_suite.errors import ConfigError
from vision_suite.types.arrays import Bools, Ints

MOST = 2**31  # rows of an epoch
CHUNK = 50  # batches among which rows are sorted by length, as in transformers' length grouping


@dataclass(frozen=True)
class Mixture:
    """Share of each source in an epoch, drawn without replacement over the epochs.

    An epoch has ``sum(weight x size)`` rows. At temperature 1 a source of weight 0.25 gives a quarter of its rows, the
    next quarter in the next epoch, and one of weight 2 gives each row twice. At a higher temperature T a source's share
    is in proportion to ``weight x size^(1/T)``.

    Attributes:
        sizes: Number of rows of each source.
        weights: Weight of each source.
        temperature: Temperature T, 1 or more.

    Raises:
        ConfigError: A weight is negative, all are zero, or the temperature is below 1.
    """

    sizes: tuple[int, ...]
    weights: tuple[float, ...]
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if any(weight < 0 or not math.isfinite(weight) for weight in self.weights):
            raise ConfigError(f"weights={list(self.weights)}: give 0 or more for each source")
        if not self.temperature >= 1:
            raise ConfigError(f"temperature={self.temperature}: give 1 (sources by their size) or more")
        if not any(self.quotas):
            raise ConfigError(f"no row is drawn: weights={list(self.weights)} of sources of {list(self.sizes)} rows")
        if sum(self.quotas) > MOST:
            raise ConfigError(f"weights={list(self.weights)} make {sum(self.quotas):.2g} rows an epoch: lower them")

    @cached_property
    def quotas(self) -> tuple[int, ...]:
        """Number of rows of each source in an epoch."""
        plain = [weight * size for weight, size in zip(self.weights, self.sizes, strict=True)]
        if self.temperature == 1:
            return tuple(_drawn_rows(each) for each in plain)
        flat = [weight * size ** (1 / self.temperature) for weight, size in zip(self.weights, self.sizes, strict=True)]
        return tuple(_drawn_rows(each * sum(plain) / sum(flat)) if each else 0 for each in flat)

    def drawn(self, seed: int, epoch: int) -> Ints:
        """Rows of an epoch in random order; the rows of the sources are numbered on, one source after the other.

        Args:
            seed: Seed of the order.
            epoch: Index of the epoch.
        """
        parts = []
        for source, (size, quota) in enumerate(zip(self.sizes, self.quotas, strict=True)):
            if quota:
                first, last = epoch * quota, (epoch + 1) * quota
                passes = range(first // size, (last - 1) // size + 1)
                rows = np.concatenate([np.random.default_rng([seed, source, n]).permutation(size) for n in passes])
                begin = first - passes[0] * size
                parts.append(sum(self.sizes[:source]) + rows[begin : begin + quota])
        return np.asarray(np.random.default_rng([seed, epoch]).permutation(np.concatenate(parts)), dtype=np.int64)


def _drawn_rows(expected: float) -> int:
    """Rows of an epoch of a source; one that has a weight is never left out."""
    return max(round(expected), 1) if expected > 0 else 0


class LengthBatchSampler(EpochBatchSampler):
    """Batches of sequences of like length, planned as whole optimiser steps over all processes and micro-batches.

    Rows are drawn from a `Mixture`, sorted by length within chunks of `CHUNK` batches and cut; a batch has sequences
    with pictures or sequences without, but for the last ones of an epoch, which take what is left. The batches of a
    chunk are put in random order, so one process may have pictures while another has none. Two processes, or
    two micro-batches on one, take the same batches to a step.

    With a budget the number of rows differs from batch to batch. An epoch has as many steps as epoch 0 makes; where
    another epoch would make fewer, it goes on with rows drawn anew.
    """

    def __init__(
        self,
        lengths: Ints,
        targets: Ints,
        pictured: Bools,
        mixture: Mixture,
        *,
        batch_size: int,
        batch_tokens: int | None = None,
        packed: bool = False,
        accumulate: int = 1,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        used: float | None = None,
    ) -> None:
        """Count the steps.

        Args:
            lengths: (N,) length of each sequence.
            targets: (N,) supervised ids of each sequence.
            pictured: (N,) True for a sequence with pictures.
            mixture: Rows of an epoch; its sizes add up to N.
            batch_size: Largest number of sequences per batch and process.
            batch_tokens: Largest number of tokens per batch and process, padding included; None for no limit.
            packed: Batches have no padding.
            accumulate: Batches per optimiser step and process.
            seed: Seed of the order.
            rank: Number of this process, from 0.
            world_size: Number of processes that train together.
            used: Batches of each process that an epoch uses, or their share; None for all. Where they cut a step, the
                batches that are left make one.

        Raises:
            ConfigError: There are fewer sequences than one step needs, or one is longer than the budget.
        """
        super().__init__(rank=rank, world_size=world_size)
        self._lengths, self._targets, self._pictured, self._mixture = lengths, targets, pictured, mixture
        self._batch_size, self._batch_tokens, self._packed = batch_size, batch_tokens, packed
        self._seed, self._accumulate, self._per_step = seed, accumulate, accumulate * world_size
        drawn = np.repeat(np.array(mixture.quotas) > 0, mixture.sizes)
        longest = int(lengths[drawn].max(initial=0))
        if batch_tokens is not None and longest > batch_tokens:
            raise ConfigError(
                f"batch_tokens={batch_tokens} is below the longest sequence of {longest}: raise it, or lower max_length"
            )
        self._planned: tuple[int, list[Ints]] = (-1, [])
        if batch_tokens is None:  # every batch is full
            self._batches = sum(mixture.quotas) // batch_size
        else:
            self._batches = sum(1 for _ in self._stream(0, 0))
        self._steps = self._batches // self._per_step
        if not self._steps:
            raise ConfigError(
                f"{sum(mixture.quotas)} sequences an epoch make {self._batches} batches of up to {batch_size}, and one "
                f"step needs {self._per_step} ({accumulate} on each of {world_size} processes): lower batch_size or "
                "batch_tokens"
            )
        limit = len(self) if used is None else int(len(self) * used) if isinstance(used, float) else used
        self._used = min(limit, len(self)) * world_size

    def __len__(self) -> int:
        return self._steps * self._accumulate

    def plan(self, epoch: int) -> list[list[int]]:
        """All batches of this rank in the epoch."""
        whole = self._whole(epoch)
        return [[int(row) for row in batch] for batch in whole[self.rank :: self.world_size]]

    def step_targets(self, epoch: int, batch: int) -> int:
        """Supervised ids of a whole optimiser step, over its micro-batches and all processes.

        Args:
            epoch: Index of the epoch.
            batch: Index of any of its batches in the plan of a rank.
        """
        first = batch // self._accumulate * self._per_step
        end = first + self._per_step
        end = min(end, self._used) if first < self._used else end
        return sum(int(self._targets[rows].sum()) for rows in self._whole(epoch)[first:end])

    def _whole(self, epoch: int) -> list[Ints]:
        """Batches of all ranks in the epoch, those of one step after another."""
        if self._planned[0] != epoch:
            endless = chain.from_iterable(self._stream(epoch, part) for part in count())
            self._planned = (epoch, list(islice(endless, self._steps * self._per_step)))
        return self._planned[1]

    def _stream(self, epoch: int, part: int) -> Iterator[Ints]:
        """Batches of the rows of an epoch; a part after the first has the same rows in another order."""
        rows = self._mixture.drawn(self._seed, epoch)
        rng = np.random.default_rng([self._seed, epoch, part, 1])
        if part:
            rows = rng.permutation(rows)
        waiting = {kind: rows[:0] for kind in (True, False)}
        for start in range(0, len(rows), CHUNK * self._batch_size):
            chunk = rows[start : start + CHUNK * self._batch_size]
            made: list[Ints] = []
            for kind in (True, False):
                own = np.concatenate([waiting[kind], chunk[self._pictured[chunk] == kind]])
                batches, waiting[kind] = self._cut(own)
                made += batches
            yield from (made[n] for n in rng.permutation(len(made)))
        batches, rest = self._cut(np.concatenate([waiting[True], waiting[False]]))
        yield from batches
        if self._batch_tokens is not None and len(rest):
            yield rest

    def _cut(self, rows: Ints) -> tuple[list[Ints], Ints]:
        """Full batches of rows sorted by length, and the rows that are left."""
        rows = rows[np.argsort(self._lengths[rows], kind="stable")]
        ends = list(self._ends(self._lengths[rows].tolist()))
        starts = [0, *ends]
        return [rows[a:b] for a, b in zip(starts, ends, strict=False)], rows[starts[-1] :]

    def _ends(self, lengths: Sequence[int]) -> Iterator[int]:
        """Places in sorted lengths at which a batch is full."""
        if self._batch_tokens is None:
            yield from range(self._batch_size, len(lengths) + 1, self._batch_size)
            return
        start = total = 0
        for place, length in enumerate(lengths):
            tokens = total + length if self._packed else length * (place - start + 1)
            if tokens > self._batch_tokens or place - start == self._batch_size:
                yield place
                start, total = place, 0
            total += length
