"""The GPU benchmark's works run, here on a CPU and tiny; without a GPU it says so in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "attention_cuda.py"


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


@pytest.mark.long
def test_every_work_runs():
    done = run("--device", "cpu", "--tiny", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ") and not line.startswith("| case")]
    assert len(rows) == 16
    assert sum("cat, sdpa" in row for row in rows) == 4


@pytest.mark.long
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_without_a_gpu_it_says_so():
    done = run()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("the CUDA operators are not loaded: ")
