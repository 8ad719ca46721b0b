"""Commands of the suite, as benchmarks run them: each in a process of its own, on one core."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[1]
T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """One training of a benchmark.

    Attributes:
        method: Name of the method.
        rate: Peak rate; 0 where there is none.
        seed: Seed.
        steps: Number of optimiser steps.
    """

    method: str
    rate: float
    seed: int
    steps: int

    @property
    def key(self) -> tuple[object, ...]:
        """Identity of the run in the results file."""
        return self.method, self.rate, self.seed, self.steps

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return "_".join(str(part).replace(" ", "-").replace(",", "") for part in self.key)


def call(arguments: list[str]) -> None:
    """Run one command.

    Args:
        arguments: What follows ``vision-suite``.

    Raises:
        RuntimeError: It failed; the end of its messages is told.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "vision_suite", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed: {done.stderr.strip()[-800:]}")


def results(futures: Sequence[Future[T]]) -> Iterator[T]:
    """Yield the results of runs in the order of their ends; a failed run does not keep those of the others back.

    Args:
        futures: Runs of a pool.

    Raises:
        RuntimeError: Runs failed; raised after the last end.
    """
    failed: list[BaseException] = []
    for number, future in enumerate(as_completed(futures), start=1):
        error = future.exception()
        if error is None:
            yield future.result()
        else:
            failed.append(error)
        told = "" if error is None else f", one failed: {type(error).__name__}: {error}"
        print(f"{number} of {len(futures)} runs{told}", file=sys.stderr, flush=True)
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(futures)} runs failed; call again to repeat them") from failed[0]
