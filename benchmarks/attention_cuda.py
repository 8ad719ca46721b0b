"""The suite's attention operators on a GPU, in bfloat16, against the chip's roof and PyTorch's operators.

Each work is timed between two events: with its inputs in the L2 cache as the work before left them (warm), after a
write of more than the cache holds (cold), and as a replayed graph. While a work is launched the GPU is kept busy, so
that the events hold the GPU's time and not the host's. The roof is the larger of arithmetic and memory traffic at the
given ceilings; the fraction of it and the ratio are those of the warm times, and have targets.

Run: python benchmarks/attention_cuda.py [--rounds 20] [--tflops 790] [--tbytes 4.3]
Writes docs/results/attention_cuda.md and .json. ``--device cpu --tiny`` runs the same works on a CPU in a few seconds,
which only shows that they run; it writes nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from results import describe_run, write_results
from torch import Tensor

from vision_suite.ops.attention import attention_rollout, cross_attention, status

HEADS, WIDTH = 12, 64
FLUSHED = 256 * 2**20  # bytes written to empty the L2 cache
LAUNCHING = 4_000_000  # cycles for which the GPU waits, about two milliseconds, while the host launches
Work = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        name: First cell of the row.
        works: Works by name, the suite's first.
        flops: Floating-point operations of a work.
        traffic: Bytes that a work reads and writes.
        target: Least fraction of the roof, or least ratio to ``against``; 0 for none.
        against: Name of the work that the suite's is compared with.
        most: Most milliseconds, for works without another target.
    """

    name: str
    works: dict[str, Work]
    flops: float
    traffic: float
    target: float
    against: str = ""
    most: float = 0.0

    def verdict(self, milliseconds: float, fraction: float, ratio: float) -> tuple[str, str]:
        """The target in words, and whether it is met."""
        if self.most:
            return f"{self.most:g} ms", "yes" if milliseconds <= self.most else "no"
        if not self.target:
            return "", ""
        if self.against:
            return f"{self.target:g} times", "yes" if ratio >= self.target else "no"
        return f"{100 * self.target:.0f} %", "yes" if fraction >= self.target else "no"


def heads(batch: int, rows: int, device: str) -> Tensor:
    """Heads (B, H, rows, D) in the layout that a projection leaves."""
    return torch.randn(batch, rows, HEADS, WIDTH, device=device, dtype=torch.bfloat16).transpose(1, 2)


def joined(q: Tensor, k: Tensor, v: Tensor, partner: Tensor) -> Tensor:
    """Pair-wise attention by concatenated keys."""
    both = [torch.cat([x, x.index_select(0, partner)], 2) for x in (k, v)]
    return F.scaled_dot_product_attention(q, *both)


def trained(work: Callable[..., Tensor], *leaves: Tensor) -> Work:
    """Forward and backward."""
    leaves = tuple(x.detach().requires_grad_() for x in leaves)
    gradient = torch.ones_like(leaves[0])

    def step() -> object:
        return torch.autograd.grad(work(*leaves), leaves, gradient)

    return step


def cases(device: str, tiny: bool) -> Iterator[Case]:
    """The rows of the roofline table."""
    for batch, tokens in ((2, 5), (2, 9)) if tiny else ((64, 211), (16, 785)):
        q, k, v = (heads(batch, tokens, device) for _ in range(3))
        flops, traffic = 4.0 * batch * HEADS * tokens**2 * WIDTH, 8.0 * batch * HEADS * tokens * WIDTH
        partner = torch.arange(batch, device=device) ^ 1
        size = f"B{batch} N{tokens}"
        groups = torch.rand(tokens, 2, device=device)

        def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(q, k, v)

        def own(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return cross_attention(q, k, v, need=("out", "lse")).out

        def paired(q: Tensor, k: Tensor, v: Tensor, p: Tensor = partner) -> Tensor:
            return cross_attention(q, k, v, partner=p, need=("out",)).out

        def by_cat(q: Tensor, k: Tensor, v: Tensor, p: Tensor = partner) -> Tensor:
            return joined(q, k, v, p)

        def read(q: Tensor = q, k: Tensor = k, v: Tensor = v, g: Tensor = groups) -> object:
            return cross_attention(q, k, v, readout=g, need=("out", "extra"))

        yield Case(f"forward with lse {size}", {"ours": lambda f=own, x=(q, k, v): f(*x)}, flops, traffic, 0.40)
        yield Case(f"forward with two read-outs {size}", {"ours": read}, flops, traffic, 0.40)
        yield Case(
            f"forward against SDPA {size}",
            {"ours": lambda f=own, x=(q, k, v): f(*x), "sdpa": lambda f=plain, x=(q, k, v): f(*x)},
            flops, traffic, 0.7, "sdpa",
        )  # fmt: skip
        yield Case(f"forward and backward {size}", {"ours": trained(own, q, k, v)}, 3.5 * flops, 3.5 * traffic, 0.30)
        few = heads(batch, max(1, tokens // 10), device)
        yield Case(
            f"10 % of the queries {size}",
            {"ours": lambda f=own, x=(few, k, v): f(*x)},
            flops / 10,
            0.55 * traffic,
            0.50,
        )
        yield Case(
            f"partner {size}",
            {"ours": lambda f=paired, x=(q, k, v): f(*x), "cat, sdpa": lambda f=by_cat, x=(q, k, v): f(*x)},
            2 * flops, traffic, 1.8, "cat, sdpa",
        )  # fmt: skip
        yield Case(
            f"partner, forward and backward {size}",
            {"ours": trained(paired, q, k, v), "cat, sdpa": trained(by_cat, q, k, v)},
            7 * flops, 3.5 * traffic, 1.5, "cat, sdpa",
        )  # fmt: skip
        lse = cross_attention(q, k, v, need=("lse",)).lse
        yield Case(
            f"rollout, 12 layers {size}",
            {"ours": lambda q=q, k=k, lse=lse: attention_rollout([q] * 12, [k] * 12, [lse] * 12)},
            6 * flops, 6 * traffic, 0.0, most=0.5 if tokens == 211 else 0.0,
        )  # fmt: skip


class GpuClock:
    """Milliseconds between events, warm, cold and as a graph."""

    def __init__(self) -> None:
        self.cache = torch.empty(FLUSHED, dtype=torch.uint8, device="cuda")

    def once(self, work: Work, cold: bool) -> float:
        """One run."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(LAUNCHING)
        if cold:
            self.cache.zero_()
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end))

    def measure(self, work: Work, rounds: int) -> dict[str, float]:
        """Medians."""
        for _ in range(20):
            work()
        times = {
            "warm": statistics.median(self.once(work, False) for _ in range(rounds)),
            "cold": statistics.median(self.once(work, True) for _ in range(rounds)),
        }
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        times["graph"] = statistics.median(self.once(graph.replay, False) for _ in range(rounds))
        return times


class CpuClock:
    """Wall clock, to try the works without a GPU."""

    def measure(self, work: Work, rounds: int) -> dict[str, float]:
        """Medians."""
        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            work()
            times.append(1e3 * (time.perf_counter() - start))
        return {"warm": statistics.median(times)}


def main() -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tflops", type=float, default=790.0, help="ceiling of bfloat16 products; default: an H200's")
    parser.add_argument("--tbytes", type=float, default=4.3, help="ceiling of memory traffic, TB/s; default: an H200's")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    if options.device == "cuda" and not status()["cuda"]["loaded"]:
        print(f"the CUDA operators are not loaded: {status()['cuda']['reason']}", file=sys.stderr)
        return 1
    clock = GpuClock() if options.device == "cuda" else CpuClock()
    records: list[dict[str, object]] = []
    verdicts: list[str] = []
    lines = ["| case | milliseconds | of the roof | ratio | target | met |", "|---|---|---|---|---|---|"]
    for case in cases(options.device, options.tiny):
        times = {name: clock.measure(work, options.rounds) for name, work in case.works.items()}
        roof = 1e3 * max(case.flops / options.tflops, case.traffic / options.tbytes) / 1e12
        fraction, ratio = roof / times["ours"]["warm"], 0.0
        if case.against:
            ratio = times[case.against]["warm"] / times["ours"]["warm"]
        shown = "; ".join(
            f"{name} " + ", ".join(f"{kind} {value:.3f}" for kind, value in of.items()) for name, of in times.items()
        )
        kept = f"{ratio:.2f}" if case.against else ""
        target, met = case.verdict(times["ours"]["warm"], fraction, ratio)
        verdicts += [met] if met else []
        lines.append(f"| {case.name} | {shown} | {100 * fraction:.0f} % | {kept} | {target} | {met} |")
        for name, of in times.items():
            for kind, value in of.items():
                records.append({"case": case.name, "variant": name, "metric": f"ms_{kind}", "value": round(value, 5)})
    print("\n".join(lines))
    if options.device == "cuda":
        name = torch.cuda.get_device_name()
        note = (
            f"One {name}, torch {torch.__version__}, bfloat16, {HEADS} heads of width {WIDTH}, median of "
            f"{options.rounds} rounds; roof {options.tflops:g} TFLOP/s, {options.tbytes:g} TB/s.\n\n"
            f"Targets met: {verdicts.count('yes')} of {len(verdicts)}."
        )
        stem = Path(__file__).parents[1] / "docs" / "results" / "attention_cuda"
        write_results(stem, "Attention operators on a GPU", note, "\n".join(lines), records, describe_run())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
