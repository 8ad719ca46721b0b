"""The page of `wings_forgetting`: its parts, the scores at the end, and the picture of drift against loss."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import mean

import matplotlib
import numpy as np

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from markdown import show, table
from results import write_results
from wings_forgetting_tables import (
    FROZEN,
    START,
    Record,
    courses,
    equal_loss,
    leak,
    longest,
    named,
    naming,
    reached,
    seeing,
)

TASKS = ("definitions", "synonyms", "countries")
COLUMNS = {
    "test/accuracy/name": ("names", 100),
    "test/accuracy/group": ("groups", 100),
    "test/kl": ("KL on the pages", 1),
    "test/agreement": ("same likeliest token", 100),
    "test/perplexity/pages": ("perplexity of the pages", 1),
}
NOTE = (
    "SmolLM2-135M as its package brings it, dequantised from 4 bits. Pictures are Emoji-Scenes, a stand-in drawn by a"
    " rule: these figures say nothing about any published table. All methods of a seed start from one projector "
    "(another where a name says so), "
    "trained without the decoder towards the embeddings of the names, and see the same rows in the same order; `rate`"
    " is the peak rate of the decoder, or that of LoRA. Names and groups are tested on a design that neither tower "
    "nor projector nor decoder was trained on. KL is KL(untouched || trained) in nats a token. Retention and drops "
    "compare the shares of right answers on three choice sets of 500 questions each with the untouched model's. Mean "
    "and standard deviation over seeds."
)


def write_page(stem: Path, records: list[Record], run: str) -> None:
    """Write the page, its picture, and its machine-readable twin."""
    if not records:
        return
    stem.parent.mkdir(parents=True, exist_ok=True)
    commands = sorted({f"- `{r['command']}`, commit {r['commit']}" for r in records})
    parts = [ends(records), seeing(records), reached(records), equal_loss(records), naming(records), leak(records)]
    if picture(stem.with_suffix(".png"), records):
        parts.append(f"![Drift on text against the loss of answers]({stem.name}.png)")
    note, tables = "\n".join(commands) + f"\n\n{NOTE}", "\n\n".join(part for part in parts if part)
    write_results(stem, "What a language model forgets while it learns to see", note, tables, records, run)


def groups(records: list[Record]) -> dict[tuple[str, float, int], dict[int, dict[str, float]]]:
    """Last value of each metric by method, rate and steps, then seed."""
    found: dict[tuple[str, float, int], dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for record in sorted(records, key=lambda record: record["step"]):
        if record["method"] != START and not isinstance(record["value"], dict):
            key = record["method"], float(record["rate"]), record["steps"]
            found[key][record["seed"]][record["metric"]] = record["value"]
    return found


def ends(records: list[Record]) -> str:
    """Scores of the last step."""
    found = groups(records)
    untouched = {
        seed: values for (method, _, _), seeds in found.items() if method == FROZEN[0] for seed, values in seeds.items()
    }
    heads = ["method", "rate", "steps", "seeds", "loss of answers", "KL, manual"]
    heads += [*(name for name, _ in COLUMNS.values()), "retention %", "mean drop", "hinge drop"]
    rows = []
    for (method, rate, steps), seeds in found.items():
        values = list(seeds.values())
        cells = [method, f"{rate:g}" if rate else "-", str(steps), str(len(seeds))]
        cells += [show([v["val/loss_answers"] for v in values if "val/loss_answers" in v], 3)]
        cells += [show([v["val/kl"] for v in values if "val/kl" in v], 4)]
        for metric, (_, factor) in COLUMNS.items():
            digits = 4 if metric == "test/kl" else 2
            cells.append(show([factor * v[metric] for v in values if metric in v], digits))
        cells += forgotten(seeds, untouched)
        rows.append(cells)
    return "\n".join(["## At the end", "", *table(heads, rows)])


def forgotten(seeds: dict[int, dict[str, float]], untouched: dict[int, dict[str, float]]) -> list[str]:
    """Retention, mean drop and hinge drop over the choice sets, in percent and points."""
    kept, drops, hinges = [], [], []
    for seed, values in seeds.items():
        pairs = [
            (values[name], untouched[seed][name])
            for name in (f"test/accuracy/{task}" for task in TASKS)
            if name in values and name in untouched.get(seed, {})
        ]
        if pairs:
            kept.append(100 * mean(own / before for own, before in pairs))
            drops.append(100 * mean(before - own for own, before in pairs))
            hinges.append(100 * mean(max(0.0, before - own) for own, before in pairs))
    return [show(kept, 1), show(drops, 2), show(hinges, 2)]


def picture(path: Path, records: list[Record]) -> bool:
    """Draw KL on text against the loss of answers, one line a run; False if there is nothing to draw."""
    losses, drifts = courses(records, "val/loss_answers"), courses(records, "val/kl")
    drawn = [key for key in losses if key[2] == longest(records) and key in drifts and key[0] != START]
    if not drawn:
        return False
    figure, axes = plt.subplots(figsize=(8, 5), constrained_layout=True)
    for number, key in enumerate(drawn):
        for seed, course in losses[key].items():
            steps = [step for step in sorted(course) if step in drifts[key].get(seed, {})]
            axes.plot(
                [course[step] for step in steps], np.maximum([drifts[key][seed][step] for step in steps], 1e-5), "o-",
                color=f"C{number}", label=named(key), markersize=3, linewidth=1,
            )  # fmt: skip
    axes.set(xlabel="loss of right answers on validation, nats a token", ylabel="KL from the untouched model, nats")
    axes.set_yscale("log")
    axes.invert_xaxis()
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    axes.legend(unique.values(), unique.keys(), fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True
