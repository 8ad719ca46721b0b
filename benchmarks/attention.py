"""The suite's attention operators against those of PyTorch, on the same tensors in one process.

Contestants, in turn in every round:

* ``ours``: `cross_attention` and related operators; ``ours, pair view`` where the batch holds partners side by side.
* ``sdpa``: `scaled_dot_product_attention`; for pairs ``pair view, sdpa`` and ``cat, sdpa`` (keys copied together).
* ``eager``: two matrix products and a softmax, the way to maps and read-outs without this suite.
* ``augmented v``: read-outs as further value columns of SDPA. ``swap``: rollout by the gradient of SDPA's values.
* ``flex``: FlexAttention, forward only on a CPU, without its compile time (``--flex``).

Time is CPU time of the one thread; ``--threads N`` takes wall clock with N threads instead. Errors are against float64.

Run: python benchmarks/attention.py [--cases self pwca] [--rounds 7] [--threads 1] [--flex]
Writes docs/results/attention.md and docs/results/attention.json.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from peak_memory import peak_mebibytes
from results import describe_run, write_results
from torch import Tensor
from tqdm import tqdm

from vision_suite.ops.attention import (
    attention_rollout,
    cross_attention,
    pair_attention,
    rollout_from_maps,
    status,
)

HEADS, WIDTH = 12, 64
Work = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        group: Name of the group in ``--cases``.
        name: Row of the table.
        contestants: Work of each contestant; names of the suite's begin with ours.
        flops: Floating-point operations, a multiply-add counted as two; 0 where they are no measure.
        target: Least ratio of the best other to ``ours``, or None.
        error: Largest deviation of ``ours`` from float64, as text.
    """

    group: str
    name: str
    contestants: dict[str, Work]
    flops: float = 0.0
    target: float | None = None
    error: Callable[[], float] | None = field(default=None)


def tensors(dtype: torch.dtype, batch: int, tokens: int, queries: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value as [B, H, N, D] views of [B, N, H, D], the layout that a projection leaves."""
    torch.manual_seed(0)
    shapes = [(batch, rows, HEADS, WIDTH) for rows in (queries or tokens, tokens, tokens)]
    query, key, value = (torch.randn(shape).to(dtype).transpose(1, 2) for shape in shapes)
    return query, key, value


def eager(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention with a materialised map."""
    return torch.softmax(query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5, -1) @ value


def eager_map(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """The same, and the mean of the maps over heads."""
    attention = torch.softmax(query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5, -1)
    return attention @ value, attention.float().mean(1)


def on_pairs(work: Callable[[Tensor, Tensor, Tensor], Tensor], *qkv: Tensor) -> Tensor:
    """Any attention over pairs of neighbours, each pair as one sequence of twice the length."""
    batch, heads, tokens, width = qkv[0].shape
    joined = [x.transpose(1, 2).reshape(batch // 2, 2 * tokens, heads, width).transpose(1, 2) for x in qkv]
    return work(*joined).transpose(1, 2).reshape(batch, tokens, heads, width).transpose(1, 2)


def concatenated(query: Tensor, key: Tensor, value: Tensor, partner: Tensor) -> Tensor:
    """SDPA over the concatenated keys of an image and its partner."""
    both = [torch.cat([x, x.index_select(0, partner)], 2) for x in (key, value)]
    return F.scaled_dot_product_attention(query, *both)


def training(work: Callable[[Tensor, Tensor, Tensor], Tensor], qkv: tuple[Tensor, ...], gradient: Tensor) -> Work:
    """Forward and backward of an attention."""

    def step() -> object:
        leaves = [x.detach().requires_grad_() for x in qkv]
        return torch.autograd.grad(work(*leaves), leaves, gradient)

    return step


def deviation(result: Tensor, query: Tensor, key: Tensor, value: Tensor) -> float:
    """Largest absolute difference to eager attention in float64."""
    return (result.double() - eager(query.double(), key.double(), value.double())).abs().max().item()


def self_cases(dtype: torch.dtype) -> Iterator[Case]:
    """Plain attention, its head-mean map, and its training step."""
    half = dtype == torch.bfloat16
    for batch, tokens in ((16, 197), (4, 785)):
        qkv = tensors(dtype, batch, tokens)
        flops = 4.0 * batch * HEADS * tokens * tokens * WIDTH
        gradient = torch.randn(batch, tokens, HEADS, WIDTH).to(dtype).transpose(1, 2)
        label = f"{str(dtype)[6:]} B{batch} N{tokens}"
        yield Case(
            "self", f"forward {label}",
            {
                "sdpa": lambda q=qkv: F.scaled_dot_product_attention(*q), "eager": lambda q=qkv: eager(*q),
                "ours": lambda q=qkv: cross_attention(*q).out,
            },
            flops, (2.2 if tokens > 500 else 1.6) if half else 1.25,
            lambda q=qkv: deviation(cross_attention(*q).out, *q),
        )  # fmt: skip
        yield Case(
            "map", f"with head-mean map {label}",
            {
                "eager": lambda q=qkv: eager_map(*q),
                "ours": lambda q=qkv: cross_attention(*q, need=("out", "mean_map")),
                "ours, no map": lambda q=qkv: cross_attention(*q),
            },
            flops,
        )  # fmt: skip
        yield Case(
            "training", f"forward and backward {label}",
            {
                "sdpa": training(F.scaled_dot_product_attention, qkv, gradient),
                "eager": training(eager, qkv, gradient),
                "ours": training(lambda q, k, v: cross_attention(q, k, v).out, qkv, gradient),
            },
            3.5 * flops, 1.3 if half else 1.15,
        )  # fmt: skip


def glca_cases(dtype: torch.dtype) -> Iterator[Case]:
    """Few queries, many keys."""
    for batch, tokens in ((16, 197), (4, 785)):
        for share in (0.1, 0.3):
            queries = 1 + int(share * (tokens - 1))
            qkv = tensors(dtype, batch, tokens, queries)
            yield Case(
                "glca", f"{share:.0%} queries {str(dtype)[6:]} B{batch} N{tokens}",
                {
                    "sdpa": lambda q=qkv: F.scaled_dot_product_attention(*q), "eager": lambda q=qkv: eager(*q),
                    "ours": lambda q=qkv: cross_attention(*q).out,
                },
                4.0 * batch * HEADS * tokens * queries * WIDTH,
                (1.6 if dtype == torch.bfloat16 else 1.1) if share == 0.1 else None,
            )  # fmt: skip


def pair_cases(dtype: torch.dtype) -> Iterator[Case]:
    """Attention over the keys of an image and its partner."""
    half = dtype == torch.bfloat16
    for batch, tokens in ((16, 197), (16, 211), (4, 785)):
        qkv = tensors(dtype, batch, tokens)
        partner = torch.arange(batch) ^ 1
        flops = 8.0 * batch * HEADS * tokens * tokens * WIDTH
        gradient = torch.randn(batch, tokens, HEADS, WIDTH).to(dtype).transpose(1, 2)
        label = f"{str(dtype)[6:]} B{batch} N{tokens}"
        others: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
            "cat, sdpa": lambda q, k, v, p=partner: concatenated(q, k, v, p),
            "pair view, sdpa": lambda q, k, v: on_pairs(F.scaled_dot_product_attention, q, k, v),
            "pair view, eager": lambda q, k, v: on_pairs(eager, q, k, v),
            "ours": lambda q, k, v: pair_attention(q, k, v),
            "ours, partner": lambda q, k, v, p=partner: cross_attention(q, k, v, partner=p).out,
        }
        yield Case(
            "pwca", f"forward {label}",
            {name: lambda w=work, q=qkv: w(*q) for name, work in others.items()},
            flops, (2.0 if tokens > 500 else 1.5) if half else 1.15,
        )  # fmt: skip
        yield Case(
            "pwca-training", f"forward and backward {label}",
            {name: training(work, qkv, gradient) for name, work in others.items()},
            3.5 * flops, (1.8 if tokens > 500 else 1.15) if half else 1.1,
        )  # fmt: skip


def rollout_cases(dtype: torch.dtype) -> Iterator[Case]:
    """Class row through 12 layers, from queries, keys and log-sum-exps of a forward pass."""
    for batch, tokens in ((16, 197), (2, 785)):
        layers = [tensors(dtype, batch, tokens) for _ in range(12)]
        queries, keys = [q for q, _, _ in layers], [k for _, k, _ in layers]
        lses = [cross_attention(*x, need=("lse",)).lse for x in layers]

        def product(layers: list[tuple[Tensor, Tensor, Tensor]] = layers) -> Tensor:
            eye = torch.eye(layers[0][0].shape[2])
            total = eye
            for query, key, value in layers:
                total = (0.5 * eager_map(query, key, value)[1] + 0.5 * eye) @ total
            return total[:, 0]

        def swap(layers: list[tuple[Tensor, Tensor, Tensor]] = layers) -> Tensor:
            weights = torch.zeros(layers[0][0].shape[0], layers[0][0].shape[2])
            weights[:, 0] = 1.0
            for query, key, _ in reversed(layers):
                values = torch.zeros_like(key, dtype=torch.float32).requires_grad_()
                out = F.scaled_dot_product_attention(query.float(), key.float(), values)
                carried = weights[:, None, :, None].expand_as(out) / out.shape[-1]
                weights = 0.5 * weights + 0.5 * torch.autograd.grad(out, values, carried)[0].sum(-1).mean(1)
            return weights

        yield Case(
            "rollout", f"12 layers {str(dtype)[6:]} B{batch} N{tokens}",
            {
                "eager maps": product, "swap": swap,
                "ours": lambda q=queries, k=keys, s=lses: attention_rollout(q, k, s),
            },
            2.0 * 12 * batch * HEADS * tokens * tokens * WIDTH, 3.5,
            lambda q=queries, k=keys, s=lses, p=product: (attention_rollout(q, k, s) - p()).abs().max().item(),
        )  # fmt: skip
        maps = [cross_attention(*x, need=("mean_map",)).mean_map for x in layers]
        yield Case(
            "rollout",
            f"12 layers from maps {str(dtype)[6:]} B{batch} N{tokens}",
            {"matrix product": lambda m=maps: chain(m), "ours": lambda m=maps: rollout_from_maps(m)},
        )


def chain(maps: list[Tensor]) -> Tensor:
    """The whole product of existing maps."""
    eye = torch.eye(maps[0].shape[-1])
    total = eye
    for each in maps:
        total = (0.5 * each + 0.5 * eye) @ total
    return total[:, 0]


def readout_cases(dtype: torch.dtype) -> Iterator[Case]:
    """Two read-outs of the probabilities, at a language model's size."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 1024, 16, 128).to(dtype).transpose(1, 2) for _ in range(3))
    readout = torch.randn(1024, 2)

    def by_map() -> object:
        attention = torch.softmax(query @ key.transpose(-2, -1) * 128**-0.5, -1)
        return attention @ value, attention.float() @ readout

    def augmented() -> object:
        columns = readout.to(dtype).expand(1, 16, -1, -1)
        q, k = (F.pad(x, (0, 8)) for x in (query, key))
        out = F.scaled_dot_product_attention(q, k, torch.cat([value, columns, columns.new_zeros(1, 16, 1024, 6)], -1),
                                             scale=128**-0.5)  # fmt: skip
        return out[..., :128], out[..., 128:130]

    yield Case(
        "readout", f"two read-outs {str(dtype)[6:]} B1 H16 N1024 D128",
        {
            "eager": by_map, "augmented v": augmented,
            "ours": lambda: cross_attention(query, key, value, readout=readout, need=("out", "extra")),
            "ours, no read-out": lambda: cross_attention(query, key, value),
        },
        4.0 * 16 * 1024 * 1024 * 128,
    )  # fmt: skip


MEMORY = ("cat, sdpa", "pair view, eager", "ours, partner")
GROUPS = (self_cases, glca_cases, pair_cases, rollout_cases, readout_cases)


def measure(case: Case, rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Median milliseconds of each contestant; they run in turn within every round."""
    times: dict[str, list[float]] = {name: [] for name in case.contestants}
    for work in case.contestants.values():
        work()
    for _ in range(rounds):
        for name, work in case.contestants.items():
            start = clock()
            work()
            times[name].append(1e3 * (clock() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def flex_case() -> tuple[Case, float]:
    """FlexAttention against ``ours`` in float32, and the seconds of its compilation."""
    from torch.nn.attention.flex_attention import flex_attention

    qkv = tensors(torch.float32, 16, 197)
    compiled = torch.compile(flex_attention)
    start = time.perf_counter()
    with torch.no_grad():
        compiled(*qkv)
    seconds = time.perf_counter() - start

    def flex() -> Tensor:
        with torch.no_grad():
            return compiled(*qkv)  # type: ignore[no-any-return]

    contestants: dict[str, Work] = {"flex": flex, "ours": lambda: cross_attention(*qkv).out}
    return Case("flex", "forward float32 B16 N197", contestants), seconds


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=[], help="groups, such as self pwca rollout; default all")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--flex", action="store_true", help="FlexAttention too; compiles for some seconds")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs" / "results")
    parser.add_argument("--name", default="attention", help="of the page")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.thread_time if options.threads == 1 else time.perf_counter
    cases = [c for dtype in (torch.float32, torch.bfloat16) for group in GROUPS for c in group(dtype)]
    cases = [c for c in cases if not options.cases or c.group in options.cases]
    clock_name = "CPU time" if options.threads == 1 else "wall clock"
    served = status()["cpu"]
    note = (
        f"{options.threads} thread(s), {clock_name}, median of {options.rounds} interleaved rounds, milliseconds; "
        "largest error against float64, or for rollouts against the product of maps. Operators: "
        f"{served['isa'] if served['loaded'] else 'not built'}."  # type: ignore[index]
    )
    if options.flex:
        case, seconds = flex_case()
        cases.append(case)
        note += f" FlexAttention compiled for {seconds:.1f} s."
    records: list[dict[str, object]] = []
    lines = [
        "| case | contestants (ms) | best other / ours | target | GFLOP/s | largest error |",
        "|---|---|---|---|---|---|",
    ]
    for case in tqdm(cases, desc="cases"):
        times = measure(case, options.rounds, clock)
        best = min(value for name, value in times.items() if not name.startswith("ours"))
        ratio = best / times["ours"]
        error = f"{case.error():.1e}" if case.error else ""
        shown = ", ".join(f"{name} {value:.1f}" for name, value in times.items())
        speed = f"{case.flops / times['ours'] / 1e6:.0f}" if case.flops else ""
        target = f"{case.target:.2f}" if case.target else ""
        lines.append(f"| {case.group}: {case.name} | {shown} | {ratio:.2f} | {target} | {speed} | {error} |")
        origin = {"experiment": case.group, "case": case.name, "threads": options.threads, "seed": 0}
        for name, value in times.items():
            records.append({**origin, "variant": name, "metric": "ms", "value": round(value, 4)})
        records.append({**origin, "variant": "ours", "metric": "ratio_to_best_other", "value": round(ratio, 4)})
    if not options.cases:
        names = " | ".join(MEMORY)
        lines += ["", f"| peak memory above the inputs, MiB | {names} |"]
        lines += ["|---|---|---|---|", *peak_rows(records)]
    write_results(options.output / options.name, "Attention operators", note, "\n".join(lines), records, describe_run())
    print("\n".join(lines))


def peak_rows(records: list[dict[str, object]]) -> Iterator[str]:
    """Forward and backward of pairs, each contestant in a process of its own."""
    for batch, tokens in ((16, 197), (4, 785)):
        cells = []
        for name in MEMORY:
            value = peak_mebibytes(str(Path(__file__)), "pair_step", name, batch, tokens)
            cells.append(f"{value:.0f}")
            records.append(
                {
                    "experiment": "memory",
                    "case": f"PWCA forward and backward float32 B{batch} N{tokens}",
                    "variant": name,
                    "metric": "MiB",
                    "value": round(value, 1),
                }
            )
        yield f"| PWCA forward and backward float32 B{batch} N{tokens} | " + " | ".join(cells) + " |"


def pair_step(name: str, batch: int, tokens: int) -> Work:
    """Work of one contestant of the memory table."""
    cases = {case.name: case for case in pair_cases(torch.float32) if case.group == "pwca-training"}
    return cases[f"forward and backward float32 B{batch} N{tokens}"].contestants[name]


if __name__ == "__main__":
    main()
