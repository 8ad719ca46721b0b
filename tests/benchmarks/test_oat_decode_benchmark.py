"""The benchmark of decoding runs, small, and its paths are equal."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_cached_decoding_gives_the_paths_of_the_loop():
    command = [sys.executable, str(ROOT / "benchmarks/oat_decode.py"), "--tiny", "--samples=6", "--loop-samples=6"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(" | ")[0] for line in lines[2 : lines.index("")]] == ["| table"]
    assert "scaled" not in done.stdout
    scores = [line for line in lines if "56 of 56" in line]
    assert [line.split(" | ")[0] for line in scores][:2] == ["| MultiMatch", "| MultiMatch, simplified"]
