"""Folded boundary matching against the dense matrix, and vectorised suppression, labels and evaluation against loops.

Times are CPU time of one thread, the two sides in turn on the same work, best of several rounds. Memory is the growth
of a child process's peak resident size over its state before the layer is built, so it includes the set-up.

Run: python benchmarks/tad_layers.py [--rounds 3]
Writes docs/results/tad_layers.md and docs/results/tad_layers.json.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from results import describe_run, write_results

from vision_suite.layers.proposal_map import ProposalMap
from vision_suite.losses.tad.targets import iou_targets
from vision_suite.metrics.tad.scoring import ACTIVITYNET, average_recall, mean_average_precision
from vision_suite.models.csa.boundary_matching import DenseSampledConvolution, SampledConvolution
from vision_suite.models.csa.sampling import bmn_weights
from vision_suite.ops.segments import soft_nms

ROOT = Path(__file__).resolve().parents[1]
STEM = ROOT / "docs" / "results" / "tad_layers"
CHANNELS, OUT = 256, 512
# Name: cells T, longest proposal D, sequences, whether the dense form is run too.
CASES = {
    "T=D=100, B=1": (100, 100, 1, True),
    "T=D=100, B=4": (100, 100, 4, True),
    "T=128, D=64, B=1": (128, 64, 1, True),
    "T=256, D=64, B=1": (256, 64, 1, False),
    "T=D=256, B=1": (256, 256, 1, False),
}


def layer_run(kind: str, cells: int, duration: int, batch: int, train: bool, rounds: int) -> dict[str, float]:
    """Seconds of CPU time and peak memory of one layer; run it in a process of its own."""
    torch.set_num_threads(1)
    warm = torch.randn(8, 8) @ torch.randn(8, 8)  # libraries load before memory is read
    torch.sparse.mm(torch.eye(4).to_sparse_csr(), torch.randn(4, 4))
    torch.nn.functional.conv3d(torch.randn(1, 2, 2, 2, 2), torch.randn(2, 2, 2, 1, 1))
    before = peak_mib()
    del warm
    torch.manual_seed(0)
    proposals = ProposalMap(cells, duration)
    kinds = {"folded": SampledConvolution, "dense": DenseSampledConvolution}
    layer = kinds[kind](CHANNELS, OUT, proposals, bmn_weights(proposals), 32)
    sequence = torch.randn(batch, CHANNELS, cells, requires_grad=train)
    best = math.inf
    for _ in range(rounds):
        start = time.thread_time()
        if train:
            layer(sequence).square().sum().backward()
            layer.zero_grad(set_to_none=True)
            sequence.grad = None
        else:
            with torch.no_grad():
                layer(sequence)
        best = min(best, time.thread_time() - start)
    return {"seconds": best, "mib": peak_mib() - before}


def peak_mib() -> float:
    """Peak resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_child(*arguments: object) -> dict[str, float]:
    """`layer_run` in a process of its own."""
    command = [sys.executable, __file__, "--child", json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def best_time(work: Callable[[], object], rounds: int) -> float:
    """Least CPU time of several calls."""
    times = []
    for _ in range(rounds):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return min(times)


def loop_soft_nms(segments: np.ndarray, scores: np.ndarray, sigma: float, keep: int) -> list[int]:
    """Soft suppression over Python lists, as in the public codes."""
    start, end, left, place = (
        segments[:, 0].tolist(),
        segments[:, 1].tolist(),
        scores.tolist(),
        list(range(len(scores))),
    )
    out = []
    while left and len(out) < keep:
        best = left.index(max(left))
        for n in range(len(left)):
            if n != best:
                inter = max(0.0, min(end[best], end[n]) - max(start[best], start[n]))
                union = (end[best] - start[best]) + (end[n] - start[n]) - inter
                if inter > 0:
                    left[n] *= math.exp(-((inter / union) ** 2) / sigma)
        out.append(place[best])
        for column in (start, end, left, place):
            column.pop(best)
    return out


def loop_iou(segments: list[tuple[float, float]], cells: int) -> np.ndarray:
    """Overlap labels cell by cell."""
    out = np.zeros((cells, cells))
    for d in range(cells):
        for s in range(cells - d):
            for a, b in segments:
                inter = max(0.0, min(b, s + d + 1) - max(a, s))
                out[d, s] = max(out[d, s], inter / ((d + 1) + (b - a) - inter))
    return out


def scored_set(videos: int) -> tuple[dict[str, object], dict[str, object]]:
    """Annotations like ActivityNet's and 100 detections per video."""
    rng = random.Random(0)
    database, results = {}, {}
    for number in range(videos):
        notes = []
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            start = rng.uniform(0, 80)
            notes.append({"segment": [start, start + rng.uniform(1, 40)], "label": f"c{rng.randrange(20)}"})
        database[f"v{number}"] = {"subset": "validation", "duration": 120.0, "annotations": notes}
        found = []
        for _ in range(100):
            note = rng.choice(notes)
            start, end = sorted(x + rng.gauss(0, 4) for x in note["segment"])
            found.append({"segment": [start, end + 0.1], "score": rng.random(), "label": note["label"]})
        results[f"v{number}"] = found
    return {"database": database}, {"results": results}


def loops(videos: int, rounds: int) -> list[dict[str, object]]:
    """Vectorised code against loops on the same input."""
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    from tad_reference import loop_map, loop_recall

    rng = np.random.default_rng(0)
    segments, scores = np.sort(rng.random((4950, 2)), axis=1), rng.random(4950)
    assert loop_soft_nms(segments, scores, 0.4, 100) == soft_nms(segments, scores, sigma=0.4)[0].tolist()
    annotated = [(12.3, 30.1), (40.0, 71.7)]
    batch, present = torch.tensor([annotated], dtype=torch.float64), torch.ones(1, 2, dtype=torch.bool)
    np.testing.assert_allclose(loop_iou(annotated, 100), iou_targets(batch, present, ProposalMap(100, 100))[0])
    truth, found = scored_set(videos)
    database, results = truth["database"], found["results"]
    ap = loop_map(database, results, ACTIVITYNET)
    ours = mean_average_precision(truth, found)
    expected = [[ap[t, c] for c in ours["classes"]] for t in ACTIVITYNET]
    np.testing.assert_allclose(ours["ap"], expected, atol=1e-12)
    work = {
        "soft suppression, 4,950 proposals": (
            lambda: loop_soft_nms(segments, scores, 0.4, 100),
            lambda: soft_nms(segments, scores, sigma=0.4),
        ),
        "overlap labels, T=D=100": (
            lambda: loop_iou(annotated, 100),
            lambda: iou_targets(batch, present, ProposalMap(100, 100)),
        ),
        f"mAP at 10 thresholds, {videos} videos x 100": (
            lambda: loop_map(database, results, ACTIVITYNET),
            lambda: mean_average_precision(truth, found),
        ),
        f"AR@AN, {videos} videos x 100": (
            lambda: loop_recall(database, results, 100, ACTIVITYNET),
            lambda: average_recall(truth, found),
        ),
    }
    rows: list[dict[str, object]] = []
    for name, (loop, vector) in work.items():
        slow, fast = best_time(loop, 1), best_time(vector, rounds)
        rows.append({"what": name, "loops_s": slow, "ours_s": fast, "ratio": slow / fast})
    return rows


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--tiny", action="store_true", help="small sizes, to try the script")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(layer_run(*json.loads(options.child))))
        return
    torch.set_num_threads(1)
    cases = {"T=D=20, B=1": (20, 20, 1, True)} if options.tiny else CASES
    records: list[dict[str, object]] = []
    lines = ["| layer (C=256, O=512) | pass | dense | folded | times faster | memory dense | memory folded | share |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for name, (cells, duration, batch, both) in cases.items():
        for train in (False, True):
            folded = in_child("folded", cells, duration, batch, train, options.rounds)
            dense = in_child("dense", cells, duration, batch, train, options.rounds) if both else None
            what = "training step" if train else "forward"
            records.append({"case": name, "pass": what, "folded": folded, "dense": dense})
            times = f"{dense['seconds'] / folded['seconds']:.1f}" if dense else "-"
            share = f"{folded['mib'] / dense['mib']:.2f}" if dense else "-"
            cells_ = [f"{dense['seconds']:.2f} s" if dense else "not run", f"{folded['seconds']:.3f} s", times]
            cells_ += [f"{dense['mib']:.0f} MiB" if dense else "-", f"{folded['mib']:.0f} MiB", share]
            lines.append(f"| {name} | {what} | " + " | ".join(cells_) + " |")
    lines += ["", "| what | loops | vectorised | times faster |", "|---|---|---|---|"]
    for record in loops(10 if options.tiny else options.videos, options.rounds):
        records.append(record)
        lines.append(
            f"| {record['what']} | {record['loops_s']:.3f} s | {record['ours_s']:.4f} s | {record['ratio']:.0f} |"
        )
    note = (
        "CPU time of one thread, best of several rounds; memory is the peak above the state before the layer is built. "
        "The dense form holds the sampling matrix and the tensor of all samples, as the public codes do. Loops are "
        "plain versions in this repository, checked in the same run to give the same numbers; the mAP loop compares "
        "each prediction only with the annotations of its video."
    )
    if options.tiny:
        print("\n".join(lines))
        return
    write_results(
        STEM, "Layers and metrics of temporal action detection", note, "\n".join(lines), records, describe_run()
    )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
