"""OAT's cached batch decoding against the step-by-step loop of the authors' code, and the metrics against packages.

The loop has a batch of one and, for every fixation of every path, runs the whole network again: appearance, encoder and
decoder over all fixations so far. Both sides use the same random numbers, and every path must be equal. If rounding
moves a number across a step of the cumulative distribution, the run stops with an error. Times are
CPU time of one thread; with ``--device cuda`` they are wall-clock time until the GPU is done. With ``--loop-samples``
below ``--samples`` the loop walks the first paths only and its time is scaled by fixations, which the table notes.
On a CPU the metrics are compared too, in `oat_references`. Only this benchmark needs GazeParser: pip install
--no-deps GazeParser==0.12.3

Run: python benchmarks/oat_decode.py [--samples 100] [--loop-samples 4] [--device cuda]
Writes docs/results/oat_decode.md and docs/results/oat_decode.json, on a GPU oat_decode_cuda.md and .json.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, cast

import oat_references
import torch
from results import describe_run, write_results

from vision_suite.models.oat import OAT, Scanpaths, sample
from vision_suite.models.oat.decoding import inverse_cdf
from vision_suite.types import PADDING, ScanpathBatch

ROOT = Path(__file__).resolve().parents[1]
STEM = ROOT / "docs" / "results" / "oat_decode"
SEED = 0


def shelf(rows: int, columns: int, appearance: str, feature_dim: int) -> ScanpathBatch:
    """One scene of a grid of random objects."""
    rng = torch.Generator().manual_seed(SEED)
    count = rows * columns
    number = torch.arange(count)
    batch: dict[str, Any] = {
        "position": torch.stack([number // columns, number % columns], dim=-1).float()[None],
        "start": torch.tensor([[rows // 2, columns // 2]]).float(),
        "target": torch.tensor([count // 3]),
    }
    if appearance == "cnn":
        batch["crops"] = torch.randn(1, count, 3, 150, 93, generator=rng)
    else:
        batch["features"] = torch.randn(1, count, feature_dim, generator=rng)
    return cast(ScanpathBatch, batch)


def now(device: torch.device) -> float:
    """Seconds of CPU time of this thread; with a GPU, wall-clock seconds once all work is done."""
    if device.type == "cpu":
        return time.thread_time()
    torch.cuda.synchronize()
    return time.perf_counter()


@torch.no_grad()
def loop(model: OAT, batch: ScanpathBatch, draws: torch.Tensor) -> tuple[list[int], float]:
    """One path and its log-probability, all computed again at every step; ``draws`` (L,) are its random numbers."""
    path: list[int] = []
    total = 0.0
    end = batch["position"].shape[1]
    for draw in draws:
        trial = cast(ScanpathBatch, {**batch, "sequence": torch.tensor([path], dtype=torch.int64, device=draws.device)})
        logits = model(trial).logits[0, -1, :-1].clone()
        if not path:
            logits[-1] = -torch.inf
        column = int(inverse_cdf(logits, draw))
        total += float(logits.log_softmax(dim=0)[column])
        if column == end:
            break
        path.append(column)
    return path, total


def compare(model: OAT, batch: ScanpathBatch, longest: int, samples: int, loops: int, rounds: int) -> dict[str, Any]:
    """Both sides on one scene, their paths compared.

    Raises:
        RuntimeError: A path differs.
    """
    best, paths, device = float("inf"), None, batch["position"].device
    for _ in range(rounds):
        start = now(device)
        paths = sample(model, batch, longest, samples, generator=torch.Generator().manual_seed(SEED))
        best = min(best, now(device) - start)
    assert isinstance(paths, Scanpaths)
    draws = torch.rand((longest, 1, samples), generator=torch.Generator().manual_seed(SEED)).to(device)
    start, walked = now(device), []
    for number in range(loops):
        walked.append(loop(model, batch, draws[:, 0, number]))
    seconds = now(device) - start
    error = 0.0
    for number, (path, log_prob) in enumerate(walked):
        found = paths.sequence[0, number]
        if path != found[found != PADDING].tolist():
            raise RuntimeError(f"path {number} differs: {path} in the loop, {found.tolist()} in the batch")
        error = max(error, abs(log_prob - float(paths.log_prob[0, number])))
    # One step of the network for every fixation and one more for the end of a path that ended.
    steps = (paths.length + paths.terminated.long())[0]
    scaled = seconds * float(steps.sum()) / float(steps[:loops].sum())
    return {
        "fixations": float(paths.length.float().mean()), "loops": loops, "samples": samples, "loop_s": seconds,
        "loop_scaled_s": scaled, "cached_s": best, "ratio": scaled / best, "log_prob_error": error,
    }  # fmt: skip


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--loop-samples", type=int, default=4, help="paths that the loop walks")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--tiny", action="store_true", help="a small network and scene, to try the script")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, columns, longest = (3, 4, 8) if options.tiny else (6, 14, 54)
    lines = ["| appearance | fixations a path | loop | cached | times faster | largest difference of log p |"]
    lines.append("|---|---|---|---|---|---|")
    records: list[dict[str, object]] = []
    for appearance in ("table",) if options.tiny else ("cnn", "table"):
        torch.manual_seed(SEED)
        size: dict[str, Any] = (
            {"embed_dim": 64, "ff_dim": 64, "encoder_layers": 2, "decoder_layers": 2} if options.tiny else {}
        )
        model = OAT(appearance=appearance, feature_dim=512, max_positions=max(columns, 4), **size)
        model.eval().to(options.device)
        scene = shelf(rows, columns, appearance, 512)
        batch = cast(ScanpathBatch, {name: value.to(options.device) for name, value in scene.items()})
        record = compare(model, batch, longest, options.samples, options.loop_samples, options.rounds)
        records.append({"appearance": appearance, "objects": rows * columns, **record})
        scaled = "" if record["loops"] == record["samples"] else f" ({record['loops']} paths walked, scaled)"
        lines.append(
            f"| {appearance} | {record['fixations']:.1f} | {record['loop_scaled_s']:.1f} s{scaled} | "
            f"{record['cached_s']:.2f} s | {record['ratio']:.0f} | {record['log_prob_error']:.1e} |"
        )
    gpu = options.device == "cuda"
    clock = f"Wall-clock time on one {torch.cuda.get_device_name()}" if gpu else "CPU time of one thread"
    note = (
        f"{options.samples} sampled paths of at most {longest} fixations in a scene of {rows * columns} objects, "
        f"untrained network of the reference size. {clock}; cached decoding is the best of "
        f"{options.rounds} rounds. The loop runs the whole network for every step of every path, as the authors' code "
        "does; every path that it walked equals the batch's."
    )
    if not gpu:
        scored = oat_references.compare(8 if options.tiny else 60, options.rounds, SEED)
        records += scored
        lines += ["", "## Metrics against reference packages", "", oat_references.table(scored)]
        note += " " + oat_references.NOTE
    table = "\n".join(lines)
    if not options.tiny:
        stem = STEM.with_name(f"{STEM.name}_cuda") if gpu else STEM
        title = "OAT: cached batch decoding on a GPU" if gpu else "OAT: decoding, and scanpath metrics"
        write_results(stem, title, note, table, records, describe_run())
    print(table)


if __name__ == "__main__":
    main()
