"""The benchmarks of detection run, small, and their tables are right."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))


@pytest.mark.long
def test_layers_and_loops_run():
    command = [sys.executable, str(ROOT / "benchmarks/tad_layers.py"), "--tiny", "--rounds=1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 2 + 4


def test_gains_are_taken_seed_by_seed():
    import csa_ablation

    def record(variant, seed, value):
        run = csa_ablation.Run("test", "semantics", "bmn", variant, seed, "as configured")
        return csa_ablation.records_of(run, {"average_mAP": value}, {"command": "c", "commit": "d"})[0]

    records = [record(v, s, value) for v, s, value in [
        ("host", 1, 0.5), ("host", 2, 0.6), ("+CSA", 1, 0.54), ("+CSA", 2, 0.66), ("+SE", 2, 0.59),
    ]]  # fmt: skip
    table = csa_ablation.table(records)
    assert "| BMN +CSA | 2 | 60.00 ± 8.49 | - | - | - | - | - | +5.00 ± 1.41 |" in table
    assert "| BMN +SE | 1 | 59.00 | - | - | - | - | - | -1.00 |" in table
