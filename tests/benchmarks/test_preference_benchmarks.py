"""The benchmarks of preference learning: contestants compute the same, tables tell whether targets are met."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))


def test_contestants_of_log_probabilities_agree():
    import logprobs

    sizes = [50, 2, 9, 8, 4]
    truth = logprobs.exact(sizes)
    for name in ("naive", "positions", "chunks"):
        torch.testing.assert_close(logprobs.step(name, *sizes)().double(), truth, rtol=0, atol=1e-5)


def test_targets_of_log_probabilities():
    import logprobs

    values = {"naive": (20.0, 4000.0), "trl": (40.0, 900.0), "positions": (1.0, 200.0), "chunks": (2.0, 99.0)}
    records = [
        {"vocabulary": 7, "contestant": name, "seconds": seconds, "mebibytes": memory, "error": 0.0}
        for name, (seconds, memory) in values.items()
    ]
    lines = logprobs.table(records).splitlines()
    assert [line.rsplit("|", 3)[1:3] for line in lines[-4:]] == [
        [" 99.0 ", " yes "], [" 10.0 ", " yes "], [" 20.0 ", " yes "], [" 9.1 ", " no "],
    ]  # fmt: skip


def test_rows_of_pairs_become_branches():
    import preference_step

    # Two pairs: preferred answers first. Id 5 is the placeholder; the second prompt is shorter.
    theirs = {
        "input_ids": torch.tensor([[5, 5, 7, 8, 1, 0], [5, 5, 9, 2, 3, 0], [5, 5, 7, 8, 4, 6], [5, 5, 9, 1, 0, 0]]),
        "completion_mask": torch.tensor(
            [[0, 0, 0, 0, 1, 0], [0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 0, 0]]
        ),
        "pixel_values": torch.arange(4.0).view(4, 1, 1, 1),
    }
    found = preference_step._batch(theirs, 2, 5)
    assert found["input_ids"].tolist() == [[5, 5, 7, 8], [5, 5, 9, 0]]
    assert found["attention_mask"].sum(1).tolist() == [4, 3]
    assert found["position_ids"].tolist() == [[0, 1, 2, 3], [0, 1, 2, 0]]
    assert found["image_of_token"].tolist() == [[0, 0, -1, -1], [1, 1, -1, -1]]
    assert found["image"].flatten().tolist() == [0, 1]
    assert found["branch_ids"].tolist() == [[[1, 0], [4, 6]], [[2, 3], [1, 0]]]
    assert found["branch_mask"].sum(2).tolist() == [[1, 2], [2, 1]]


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("logprobs", ["--vocabularies=300", "--tokens=32", "--width=16", "--targets=5"]),
        ("preference_step", ["--pairs=2", "--side=56", "--width=64", "--layers=2", "--vocabulary=300"]),
    ],
)
def test_benchmarks_run(name, sizes):
    pytest.importorskip("trl", reason="needs the package trl: pip install 'vision-suite[bench]'")
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *sizes, "--rounds=1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| ")]
    if name == "logprobs":
        assert len(rows) == 1 + 4 + 1 + 4
    else:
        assert [row[1].strip() for row in rows[1:]] == ["trl", "rows", "shared", "shared, cached"]
        assert all(abs(float(row[8]) - float(rows[1][8])) < 1e-4 for row in rows[1:])
        assert all(float(row[9]) < 1e-4 for row in rows[1:])
