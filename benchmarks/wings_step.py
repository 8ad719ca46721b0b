"""Cost of wings on SmolLM2-135M: read-outs, prefill, decoding, training steps and memory, and how exact they are.

Contestants, on the same rows in one process, in turn:

* ``base``: the decoder alone, on the suite's attention; ``base sdpa``: on PyTorch's.
* ``wings``: both wings and the router, read-outs in the operator's own pass; ``low_rank``: with the small cache.
* ``exact``: the model's own attention, and read-outs by a second pass.
* ``eager``: read-outs from the whole attention matrix of every head, as the released code forces it.

Times are CPU time of one thread, best of several rounds; of prefill and decoding the median too. A training step is
forward and backward pass with a frozen decoder and picture embeddings that get a gradient; the wings of the contestants
that have them are trained. Memory is the growth of a child's peak resident size during a second step.

Run: python benchmarks/wings_step.py [--lengths 128 256 512 1024] [--rounds 5] [--decoder smollm2]
Writes docs/results/wings_step.md and docs/results/wings_step.json; the last paragraph of the page is by hand.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from peak_memory import peak_mebibytes
from results import describe_run, write_results
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vision_suite.layers.decoders import load_decoder
from vision_suite.models.wings.attach import attach, wings_parameters
from vision_suite.models.wings.config import WingsConfig
from vision_suite.ops.attention import cross_attention, status
from vision_suite.ops.logprobs import supervised_nll

STEM = Path(__file__).resolve().parents[1] / "docs" / "results" / "wings_step"
RANK, PICTURE, TARGETS, CONTEXT, STEPS = 16, 5, 16, 256, 16
CONTESTANTS: dict[str, tuple[str, dict[str, Any] | None]] = {
    "base": ("vision_suite", None),
    "base sdpa": ("sdpa", None),
    "wings": ("vision_suite", {}),
    "low_rank": ("vision_suite", {"cache": "low_rank"}),
    "exact": ("sdpa", {"stats": "exact"}),
    "eager": ("sdpa", {"stats": "eager"}),
}
DECODING = ("base", "wings", "low_rank", "exact", "eager")
TRAINING = ("base", "base sdpa", "wings", "exact", "eager")
MEMORY = ("base", "wings", "eager")
MODELS: dict[str, Any] = {}


def model_of(name: str, source: str, zero: bool = False) -> Any:
    """A contestant; all share the weights of one decoder. Wings are random, or as they start."""
    if "" not in MODELS:
        MODELS[""] = load_decoder(source).requires_grad_(False)
    attention, changes = CONTESTANTS[name]
    first: Any = MODELS[""]
    model = copy.deepcopy(first, {id(each): each for each in first.parameters()})
    model.set_attn_implementation(attention)
    if changes is not None:
        torch.manual_seed(0)
        attach(model, WingsConfig(rank=RANK, s_max=2048, **changes))
        if not zero:
            for each in wings_parameters(model).values():
                nn.init.normal_(each, std=0.02)
    return model


def row(length: int, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Ids (1, S) of a row, and which of them stand for a picture."""
    ids = torch.randint(100, vocabulary, (1, length), generator=torch.Generator().manual_seed(length))
    is_image = torch.zeros(1, length, dtype=torch.bool)
    is_image[:, 3 : 3 + PICTURE] = True
    return ids, is_image


def prefill(model: Any) -> Callable[[], Any]:
    """One pass over the context that fills a cache."""
    ids, is_image = row(CONTEXT, model.config.vocab_size)

    @torch.inference_mode()
    def work() -> Any:
        return model(input_ids=ids, use_cache=True, logits_to_keep=1, is_image=is_image).past_key_values

    return work


def decoding(model: Any) -> Callable[[], float]:
    """Seconds of CPU time of one token after the context."""
    ids, _ = row(STEPS, model.config.vocab_size)
    fill = prefill(model)

    @torch.inference_mode()
    def work() -> float:
        cache = fill()
        start = time.thread_time()
        for step in range(STEPS):
            model(input_ids=ids[:, step : step + 1], past_key_values=cache, use_cache=True)
        return (time.thread_time() - start) / STEPS

    return work


def training(name: str, length: int, source: str = "smollm2") -> Callable[[], None]:
    """Forward and backward pass of one row, supervised at its last tokens."""
    torch.set_num_threads(1)
    model = model_of(name, source)
    ids, is_image = row(length, model.config.vocab_size)
    embeds = model.get_input_embeddings()(ids).requires_grad_()
    labels = torch.where(torch.arange(length) >= length - TARGETS, ids, -100)

    def work() -> None:
        out = model.model(inputs_embeds=embeds, use_cache=False, is_image=is_image)
        supervised_nll(out.last_hidden_state, model.lm_head.weight, labels)[0].backward()
        embeds.grad = None
        for each in model.parameters():
            each.grad = None

    return work


def readout(columns: int, eager: bool = False) -> Callable[[], None]:
    """Forward and backward pass of the attention alone: 768 tokens, 9 query and 3 key heads of 64."""
    torch.manual_seed(0)
    q = torch.randn(1, 9, 768, 64, requires_grad=True)
    k, v = (torch.randn(1, 3, 768, 64, requires_grad=True) for _ in range(2))
    read = torch.randn(1, 768, max(columns, 1), requires_grad=True)
    mask = torch.full((768, 768), -torch.inf).triu(1)

    def work() -> None:
        if eager:
            key, value = k.repeat_interleave(3, 1), v.repeat_interleave(3, 1)
            attention = (q @ key.transpose(-1, -2) / 8 + mask).softmax(-1)
            total = (attention @ value).sum() + (attention @ read[:, None]).square().sum()
        elif columns:
            result = cross_attention(q, k, v, causal=True, readout=read, need=("out", "extra"))
            assert result.out is not None
            assert result.extra is not None
            total = result.out.sum() + result.extra.square().sum()
        else:
            out = cross_attention(q, k, v, causal=True).out
            assert out is not None
            total = out.sum()
        total.backward()  # type: ignore[no-untyped-call]

    return work


def seconds(work: Callable[[], Any]) -> float:
    """CPU time of one call, or what it measured itself."""
    start = time.thread_time()
    measured = work()
    return measured if isinstance(measured, float) else time.thread_time() - start


def measured(works: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """CPU times of each by round, all in turn in every round, after one round that is not counted."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            spent = seconds(work)
            if number:
                found[name].append(spent)
    return found


def best(works: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Least CPU time of each."""
    return {name: min(times) for name, times in measured(works, rounds).items()}


def against_base(times: dict[str, list[float]]) -> Iterator[dict[str, object]]:
    """Least CPU time of each contestant, and the median over rounds of its ratio to the base in the same round."""
    for name, own in times.items():
        ratio = median(one / base for one, base in zip(own, times["base"], strict=True))
        yield {"contestant": name, "seconds": min(own), "median": median(own), "ratio": ratio}


class Largest(TorchDispatchMode):
    """Number of elements of the largest tensor that an operation made, weights and their views aside."""

    def __init__(self, weights: set[int]) -> None:
        super().__init__()
        self.weights, self.elements = weights, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for each in tree_leaves(out):
            if isinstance(each, Tensor) and each.untyped_storage().data_ptr() not in self.weights:
                self.elements = max(self.elements, each.untyped_storage().nbytes() // each.element_size())
        return out


@torch.inference_mode()
def exactness(source: str) -> list[dict[str, object]]:
    """Distances of logits, as a share of the largest one."""
    records: list[dict[str, object]] = []

    def tell(what: str, found: Tensor, expected: Tensor) -> None:
        distance = float((found - expected).abs().max() / expected.abs().max())
        records.append({"part": "exactness", "what": what, "relative": distance, "equal": torch.equal(found, expected)})

    base, plain = model_of("base", source), model_of("base sdpa", source)
    ids, is_image = row(CONTEXT, base.config.vocab_size)
    for name, model in (("wings", base), ("exact", plain)):
        winged = model_of(name, source, zero=True)
        tell(
            f"new wings ({name}) against the base",
            winged(input_ids=ids, use_cache=False, is_image=is_image).logits,
            model(input_ids=ids, use_cache=False).logits,
        )
    for name in ("wings", "low_rank"):
        winged = model_of(name, source)
        whole = winged(input_ids=ids, use_cache=False, is_image=is_image).logits
        cut = CONTEXT - STEPS
        out = winged(input_ids=ids[:, :cut], use_cache=True, is_image=is_image[:, :cut])
        parts, cache = [out.logits], out.past_key_values
        for place in range(cut, CONTEXT):
            parts.append(winged(input_ids=ids[:, place : place + 1], past_key_values=cache, use_cache=True).logits)
        tell(f"token by token with cache ({name}) against one pass", torch.cat(parts, 1), whole)
    return records


def run(options: argparse.Namespace) -> list[dict[str, object]]:
    """All measurements."""
    source = options.decoder
    # Children give freed memory back at once, so that none of it hides a peak.
    os.environ |= {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    records = exactness(source)
    read = best({"0": readout(0), "2": readout(2), "6": readout(6), "eager": readout(6, True)}, 5 * options.rounds)
    records += [{"part": "read-out", "columns": name, "seconds": value} for name, value in read.items()]
    models = {name: model_of(name, source) for name in DECODING}
    for part, make in (("prefill", prefill), ("decode", decoding)):
        times = measured({name: make(model) for name, model in models.items()}, 3 * options.rounds)
        records += [{"part": part, **each} for each in against_base(times)]
    del models
    for length in options.lengths:
        found = best({name: training(name, length, source) for name in TRAINING}, max(1, options.rounds // 2))
        records += [
            {"part": "step", "contestant": name, "length": length, "seconds": value} for name, value in found.items()
        ]
        for name in MEMORY:
            mebibytes = peak_mebibytes(__file__, "training", name, length)
            records.append({"part": "memory", "contestant": name, "length": length, "mebibytes": mebibytes})
    length = options.lengths[-1]
    weights = {each.untyped_storage().data_ptr() for each in MODELS[""].parameters()}
    for name in ("wings", "eager"):
        work = training(name, length, source)
        with Largest(weights) as largest:
            work()
        heads = MODELS[""].config.num_attention_heads
        records.append(
            {"part": "largest", "contestant": name, "length": length, "elements": largest.elements,
             "matrix": heads * length * length}
        )  # fmt: skip
    return records


def table(records: list[dict[str, Any]]) -> str:
    """The records as Markdown, with ratios to the base and the targets."""

    def of(part: str) -> list[dict[str, Any]]:
        return [record for record in records if record["part"] == part]

    lines = ["| exactness | largest difference / largest logit | bit-equal |", "|---|---|---|"]
    lines += [
        f"| {each['what']} | {each['relative']:.1e} | {'yes' if each['equal'] else 'no'} |" for each in of("exactness")
    ]
    none = next(each["seconds"] for each in of("read-out") if each["columns"] == "0")
    lines += ["", "| attention with read-out columns | ms | ratio to none (target 1.15) |", "|---|---|---|"]
    lines += [
        f"| {each['columns']} | {1000 * each['seconds']:.1f} | {each['seconds'] / none:.2f} |"
        for each in of("read-out")
    ]
    for part, target in (("prefill", "1.2"), ("decode", "1.8, low_rank 1.3")):
        base = next(each["seconds"] for each in of(part) if each["contestant"] == "base")
        unit = f"{CONTEXT} tokens" if part == "prefill" else f"a token after {CONTEXT}"
        lines += [
            "",
            f"| {part}, {unit} | least ms | median ms | ratio of least times (target {target}) | median ratio |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {each['contestant']} | {1000 * each['seconds']:.1f} | {1000 * each['median']:.1f} | "
            f"{each['seconds'] / base:.2f} | {each['ratio']:.2f} |"
            for each in of(part)
        ]
    lengths = sorted({each["length"] for each in of("step")})
    for part, key, title in (("step", "seconds", "training step, s"), ("memory", "mebibytes", "peak memory, MiB")):
        lines += ["", f"| {title} | " + " | ".join(f"{length} tokens" for length in lengths) + " |"]
        lines.append("|---" * (len(lengths) + 1) + "|")
        for name in dict.fromkeys(each["contestant"] for each in of(part)):
            values = {each["length"]: each[key] for each in of(part) if each["contestant"] == name}
            form = "{:.2f}" if part == "step" else "{:.0f}"
            lines.append(f"| {name} | " + " | ".join(form.format(values[length]) for length in lengths) + " |")
    for each in of("largest"):
        lines += [
            "",
            f"Largest tensor of a step of {each['length']} tokens, {each['contestant']}: {each['elements']:,} elements "
            f"(a matrix of all heads has {each['matrix']:,}).",
        ]
    return "\n".join(lines)


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 256, 512, 1024])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--decoder", default="smollm2")
    options = parser.parse_args()
    torch.set_num_threads(1)
    records = run(options)
    isa = status()["cpu"]["isa"] or "none"  # type: ignore[index]
    note = (
        f"SmolLM2-135M in float32, wings of rank {RANK} in all layers, stage 2, router by position; one row with a "
        f"picture of {PICTURE} tokens. CPU time of one thread, best of {options.rounds} rounds "
        f"({max(1, options.rounds // 2)} of steps, {3 * options.rounds} of prefill and decoding, {5 * options.rounds} "
        "of read-outs), contestants in turn; the median ratio is that to the base of the same round. "
        f"Compiled operators: {isa}.\n\n`base` is the decoder on the suite's attention, `base sdpa` on PyTorch's; "
        "`low_rank` is wings with the small cache, `exact` reads beside the model's own attention, `eager` from the "
        "whole matrix, as the released code does. Steps train the wings; the decoder is frozen."
    )
    write_results(STEM, "Cost of wings", note, table(records), records, describe_run())
    print(table(records))


if __name__ == "__main__":
    main()
