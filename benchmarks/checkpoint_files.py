"""Checkpoint files: writing with a checksum and verifying, against Lightning's own saving and loading.

The same contents are written and read in turn in one process, so that the ratios hold on a busy machine too. Loading
is what a command does anyway; verifying comes on top of it once per file and process.

Run: python benchmarks/checkpoint_files.py [--megabytes 1000] [--repeats 5] [--folder /dev/shm]
Writes docs/results/checkpoint_files.md and docs/results/checkpoint_files.json.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from results import ROOT, describe_run, write_results

from vision_suite.checkpoints import files
from vision_suite.checkpoints.lightning import SuiteCheckpointIO

TENSORS = 200


def contents(megabytes: int) -> dict[str, object]:
    """A checkpoint of so many megabytes of weights."""
    size = max(megabytes * 10**6 // 4 // TENSORS, 1)
    weights = {f"model.{number}.weight": torch.randn(size) for number in range(TENSORS)}
    return {"state_dict": weights, "pytorch-lightning_version": "2.6.6", "epoch": 1, "global_step": 10}


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Time on the clock and on all threads of this process."""
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - cpu


def measure(megabytes: int, repeats: int, folder: Path) -> list[dict[str, object]]:
    """A record for each kind of work: medians in seconds per gigabyte."""
    made, own, theirs = contents(megabytes), folder / "own.ckpt", folder / "lightning.ckpt"
    suite, lightning = SuiteCheckpointIO(), TorchCheckpointIO()
    suite.save_checkpoint(made, own)
    lightning.save_checkpoint(made, theirs)

    def verify(path: Path) -> None:
        files._verified.clear()  # a file is read once per process only
        files.verify(path)

    work: dict[str, Callable[[], object]] = {
        "save, Lightning": lambda: lightning.save_checkpoint(made, theirs),
        "save, suite": lambda: suite.save_checkpoint(made, own),
        "load, Lightning": lambda: lightning.load_checkpoint(theirs, weights_only=True),
        "verify, checksum of the whole file": lambda: verify(own),
        "verify, checksums of zip entries": lambda: verify(theirs),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, job in work.items():
            times[name].append(seconds(job))
    gigabytes = own.stat().st_size / 1e9
    return [
        {
            "work": name,
            "seconds_per_gb": statistics.median(clock for clock, _ in found) / gigabytes,
            "cpu_seconds_per_gb": statistics.median(cpu for _, cpu in found) / gigabytes,
        }
        for name, found in times.items()
    ]


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    parser.add_argument("--output", type=Path, default=ROOT / "docs/results/checkpoint_files")
    given = parser.parse_args()
    run = describe_run()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        records = measure(given.megabytes, given.repeats, Path(folder))
    load = next(float(str(r["seconds_per_gb"])) for r in records if r["work"] == "load, Lightning")
    rows = [
        f"| {r['work']} | {r['seconds_per_gb']:.2f} | {r['cpu_seconds_per_gb']:.2f} | "
        f"{float(str(r['seconds_per_gb'])) / load:.2f} |"
        for r in records
    ]
    head = "| work | seconds per GB | CPU seconds per GB | times Lightning's loading |\n|---|---|---|---|\n"
    note = (
        f"{given.megabytes} MB of weights in {TENSORS} tensors in {given.folder}, {torch.get_num_threads()} threads, "
        f"median of {given.repeats} rounds in turn. The suite's saving waits for the disk; Lightning's does not."
    )
    write_results(given.output, "Checkpoint files", note, head + "\n".join(rows), records, run)
    print("\n".join(rows))


if __name__ == "__main__":
    main()
