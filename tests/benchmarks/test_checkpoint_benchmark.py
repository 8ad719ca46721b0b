"""The benchmark of checkpoint files runs, small, and its table is whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "checkpoint_files.py"


@pytest.mark.long
def test_every_kind_of_work_is_measured(tmp_path):
    sizes = ["--megabytes=1", "--repeats=1", f"--folder={tmp_path}", f"--output={tmp_path / 'files'}"]
    subprocess.run([sys.executable, str(SCRIPT), *sizes], check=True, capture_output=True)
    records = json.loads((tmp_path / "files.json").read_text())
    assert len(records) == 5
    assert all(record["seconds_per_gb"] > 0 for record in records)
    assert "Lightning" in (tmp_path / "files.md").read_text()
