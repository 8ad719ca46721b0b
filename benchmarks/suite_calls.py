"""Commands of the suite, as benchmarks run them: each in a process of its own, on one core."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


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
