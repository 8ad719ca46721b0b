"""Log-probabilities of answers: memory and time of a forward and backward pass through the output matrix.

Four rows of 640 tokens, 28 of them supervised, float32, a frozen output matrix, a gradient for the hidden states:

* ``naive``: logits of all positions, log-softmax, gather.
* ``trl``: TRL's own function, through `add_fused_lm_head`, as its DPO trainer calls it. On a CPU it projects every
  position, in tiles.
* ``positions``: `sequence_logps` with its default budget: supervised positions alone meet the matrix.
* ``chunks``: the same with a budget that takes the vocabulary in chunks.

Times are CPU time of one thread, best of several rounds after one that is not counted, contestants in turn. Memory is
the growth of a child's peak resident size during a second call.

Run: python benchmarks/logprobs.py [--vocabularies 32000 151936] [--rounds 3]
Needs the package trl (1.16.0 for the numbers of the page) and datasets.
Writes docs/results/logprobs.md and docs/results/logprobs.json; with other sizes than the default the page is printed
only.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from peak_memory import peak_mebibytes
from results import describe_run, write_results
from torch import Tensor, nn

from vision_suite.ops.logprobs import BUDGET, sequence_logps
from vision_suite.types.instruct import IGNORED

STEM = Path(__file__).resolve().parents[1] / "docs" / "results" / "logprobs"
SIZES = {"rows": 4, "tokens": 640, "width": 1024, "targets": 28}
VOCABULARIES = (32000, 151936)
CHUNKS = 12 * 2**20  # bytes of a block of logits
CONTESTANTS = ("naive", "trl", "positions", "chunks")
TARGETS = {"mebibytes": 100.0, "speed": 10.0, "trl speed": 10.0, "trl memory": 10.0}


def inputs(vocabulary: int, rows: int, tokens: int, width: int, targets: int) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states (B, S, d), output matrix (V, d) and labels (B, S), supervised at each row's last ids."""
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, tokens, width, generator=draw).requires_grad_()
    weight = torch.randn(vocabulary, width, generator=draw) * width**-0.5
    labels = torch.randint(vocabulary, (rows, tokens), generator=draw)
    labels[:, :-targets] = IGNORED
    return hidden, weight, labels


class Headed(nn.Module):
    """Model of which nothing but the head is computed, for a function that patches models."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        head = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        head.weight = nn.Parameter(weight, requires_grad=False)
        self.head = head
        self.config: Any = SimpleNamespace(get_text_config=lambda: self.config)

    def base_model(self, hidden: Tensor, **_: object) -> Any:
        """States as they are given."""
        return SimpleNamespace(last_hidden_state=hidden)

    def get_output_embeddings(self) -> nn.Module:
        """The head."""
        return self.head

    def forward(self, hidden: Tensor) -> Tensor:
        """All logits."""
        found: Tensor = self.head(hidden)
        return found


def function(name: str, weight: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
    """Sums (B,) of a contestant, of hidden states."""
    if name == "trl":
        from trl.trainer.utils import add_fused_lm_head

        model: Any = Headed(weight)
        add_fused_lm_head(model)
        return lambda hidden: model(hidden, labels=labels, fused_lm_head=True).log_probs.sum(1)
    if name == "naive":

        def naive(hidden: Tensor) -> Tensor:
            logps = (hidden @ weight.T)[:, :-1].log_softmax(-1)
            ids = labels[:, 1:]
            found = logps.gather(2, ids.clamp_min(0)[..., None])[..., 0]
            return torch.where(ids == IGNORED, 0.0, found).sum(1)

        return naive
    return lambda hidden: sequence_logps(hidden, weight, labels, budget=CHUNKS if name == "chunks" else BUDGET)


def step(name: str, *sizes: int) -> Callable[[], Tensor]:
    """Forward and backward pass of a contestant; returns its sums."""
    torch.set_num_threads(1)
    hidden, weight, labels = inputs(*sizes)
    sums = function(name, weight, labels)

    def work() -> Tensor:
        hidden.grad = None
        found = sums(hidden)
        found.sum().backward()
        return found.detach()

    return work


def exact(sizes: list[int]) -> Tensor:
    """Sums in float64, of supervised positions alone."""
    hidden, weight, labels = inputs(*sizes)
    ids = labels[:, 1:]
    rows, places = (ids != IGNORED).nonzero(as_tuple=True)
    logits = hidden.detach()[rows, places].double() @ weight.double().T
    logps = logits.log_softmax(-1).gather(1, ids[rows, places][:, None])[:, 0]
    return torch.zeros(len(labels), dtype=torch.float64).index_add(0, rows, logps)


def run(options: argparse.Namespace) -> list[dict[str, object]]:
    """All measurements."""
    # Children give freed memory back at once, so that none of it hides a peak.
    os.environ |= {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    records: list[dict[str, object]] = []
    for vocabulary in options.vocabularies:
        sizes = [vocabulary, options.rows, options.tokens, options.width, options.targets]
        truth = exact(sizes)
        seconds, error = dict.fromkeys(CONTESTANTS, math.inf), {}
        works = {name: step(name, *sizes) for name in CONTESTANTS}
        for number in range(options.rounds + 1):
            for name, work in works.items():
                start = time.thread_time()
                found = work()
                spent = time.thread_time() - start
                error[name] = float((found - truth).abs().max())
                seconds[name] = min(seconds[name], spent if number else math.inf)
        del works
        for name in CONTESTANTS:
            records.append(
                {"vocabulary": vocabulary, "contestant": name, "seconds": seconds[name], "error": error[name],
                 "mebibytes": peak_mebibytes(__file__, "step", name, *sizes)}
            )  # fmt: skip
    return records


def table(records: list[dict[str, Any]]) -> str:
    """The records as Markdown, and whether the targets are met for the largest vocabulary."""
    lines = [
        "| vocabulary | contestant | s | naive / it | peak memory, MiB | largest difference to float64 |",
        "|---|---|---|---|---|---|",
    ]
    found = {(each["vocabulary"], each["contestant"]): each for each in records}
    for (vocabulary, name), each in found.items():
        ratio = found[vocabulary, "naive"]["seconds"] / each["seconds"]
        lines.append(
            f"| {vocabulary:,} | {name} | {each['seconds']:.2f} | {ratio:.1f} | {each['mebibytes']:.0f} | "
            f"{each['error']:.1e} |"
        )
    largest = max(each["vocabulary"] for each in records)
    naive, trl, ours = (found[largest, name] for name in ("naive", "trl", "chunks"))
    results = {
        f"memory of chunks, MiB (target below {TARGETS['mebibytes']:.0f})": (
            ours["mebibytes"], ours["mebibytes"] < TARGETS["mebibytes"],
        ),
        f"time of naive / chunks (target {TARGETS['speed']:.0f})": _at_least(naive, ours, "seconds", "speed"),
        f"time of trl / chunks (target {TARGETS['trl speed']:.0f})": _at_least(trl, ours, "seconds", "trl speed"),
        f"memory of trl / chunks (target {TARGETS['trl memory']:.0f})": _at_least(trl, ours, "mebibytes", "trl memory"),
    }  # fmt: skip
    lines += ["", f"| vocabulary of {largest:,} | found | met |", "|---|---|---|"]
    lines += [f"| {what} | {value:.1f} | {'yes' if met else 'no'} |" for what, (value, met) in results.items()]
    return "\n".join(lines)


def _at_least(other: dict[str, Any], ours: dict[str, Any], key: str, target: str) -> tuple[float, bool]:
    ratio = other[key] / max(ours[key], 1e-9)
    return ratio, ratio >= TARGETS[target]


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabularies", type=int, nargs="+", default=list(VOCABULARIES))
    parser.add_argument("--rounds", type=int, default=3)
    for name, value in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    torch.set_num_threads(1)
    records = run(options)
    found = table(records)
    usual = tuple(options.vocabularies) == VOCABULARIES and all(getattr(options, k) == v for k, v in SIZES.items())
    if usual:
        note = (
            f"{options.rows} rows of {options.tokens} tokens, {options.targets} supervised, width {options.width}, "
            f"float32, frozen output matrix; forward and backward pass. CPU time of one thread, best of "
            f"{options.rounds} rounds, contestants in turn. TRL {version('trl')}, transformers "
            f"{version('transformers')}.\n\n`positions` has the default budget of {BUDGET // 2**20} MiB a block of "
            f"logits, `chunks` one of {CHUNKS // 2**20} MiB."
        )
        write_results(STEM, "Log-probabilities of answers", note, found, records, describe_run())
    print(found)


if __name__ == "__main__":
    main()
