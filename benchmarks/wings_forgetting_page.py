"""The page of `wings_forgetting`: scores at the end, drift at equal loss of the answers, and their picture."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

import matplotlib
import numpy as np

matplotlib.use("Agg")

import matplotlib.pyplot as plt

FROZEN = ("projector only", "visual wing only")
TASKS = ("definitions", "synonyms", "countries")
COLUMNS = {
    "test/accuracy/name": ("names", 100),
    "test/accuracy/group": ("groups", 100),
    "test/kl": ("KL on the pages", 1),
    "test/agreement": ("same likeliest token", 100),
    "test/perplexity/pages": ("perplexity of the pages", 1),
}
NOTE = (
    "SmolLM2-135M as its package brings it, dequantised from 4 bits. Pictures are Emoji-Scenes, a stand-in drawn "
    "by a rule: these figures say nothing about any published table. All methods of a seed start from one "
    "projector, trained for 300 steps beside the frozen decoder, and see the same rows in the same order; `rate` "
    "is the peak rate of the decoder, or that of LoRA. Names and groups are tested on a design that neither tower "
    "nor projector nor decoder was trained on. KL is KL(untouched || trained) in nats a token. Retention and "
    "drops compare the shares of right answers on three choice sets of 500 questions each with the untouched "
    "model's. Mean and standard deviation over seeds."
)


def write_page(stem: Path, records: list[dict[str, object]], run: str) -> None:
    """Write the page, its picture, and its machine-readable twin."""
    if not records:
        return
    stem.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join("  " + json.dumps(record) for record in records)
    stem.with_suffix(".json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    commands = sorted({f"- `{r['command']}`, commit {r['commit']}" for r in records})
    parts = ["# What a language model forgets while it learns to see", run, "\n".join(commands), NOTE]
    parts += [ends(records), equal_loss(records)]
    if picture(stem.with_suffix(".png"), records):
        parts.append(f"![Drift on text against the loss of answers]({stem.name}.png)")
    stem.with_suffix(".md").write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


def groups(records: list[dict[str, object]]) -> dict[tuple[str, float, int], dict[int, dict[str, float]]]:
    """Last value of each metric by method, rate and steps, then seed."""
    found: dict[tuple[str, float, int], dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for record in sorted(records, key=lambda record: int(str(record["step"]))):
        key = str(record["method"]), float(str(record["rate"])), int(str(record["steps"]))
        found[key][int(str(record["seed"]))][str(record["metric"])] = float(str(record["value"]))
    return found


def ends(records: list[dict[str, object]]) -> str:
    """Scores of the last step."""
    found = groups(records)
    untouched = {
        seed: values for (method, _, _), seeds in found.items() if method == FROZEN[0] for seed, values in seeds.items()
    }
    heads = ["method", "rate", "steps", "seeds", "loss of answers", "KL, manual"]
    heads += [*(name for name, _ in COLUMNS.values()), "retention %", "mean drop", "hinge drop"]
    lines = ["## At the end", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for (method, rate, steps), seeds in found.items():
        values = list(seeds.values())
        cells = [method, f"{rate:g}" if rate else "-", str(steps), str(len(seeds))]
        cells += [show([v["val/loss_answers"] for v in values if "val/loss_answers" in v], 3)]
        cells += [show([v["val/kl"] for v in values if "val/kl" in v], 4)]
        for metric, (_, factor) in COLUMNS.items():
            digits = 4 if metric == "test/kl" else 2
            cells.append(show([factor * v[metric] for v in values if metric in v], digits))
        cells += forgotten(seeds, untouched)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


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


def courses(records: list[dict[str, object]], metric: str) -> dict[tuple[str, float, int, int], dict[int, float]]:
    """Values of a validation metric by method, rate, steps and seed, then by step."""
    found: dict[tuple[str, float, int, int], dict[int, float]] = defaultdict(dict)
    for r in records:
        if r["metric"] == metric:
            key = str(r["method"]), float(str(r["rate"])), int(str(r["steps"])), int(str(r["seed"]))
            found[key][int(str(r["step"]))] = float(str(r["value"]))
    return found


def equal_loss(records: list[dict[str, object]]) -> str:
    """KL of each method where its course reaches the losses that the others reach, by seed."""
    losses, drifts = courses(records, "val/loss_answers"), courses(records, "val/kl")
    longest = max((key[2] for key in losses), default=0)
    lines = []
    for seed in sorted({key[3] for key in losses}):
        mine = {key: losses[key] for key in losses if key[3] == seed and key[2] == longest and key in drifts}
        frozen = min((min(course.values()) for key, course in mine.items() if key[0] in FROZEN), default=None)
        tuned = {key: course for key, course in mine.items() if key[0] not in FROZEN}
        if frozen is None or len(tuned) < 2:
            continue
        level = max(min(course.values()) for course in tuned.values())
        reached = frozen <= level
        lines.append(
            f"| {seed} | {frozen:.3f} | {level:.3f} | {'yes' if reached else 'no'} | "
            + ", ".join(
                f"{key[0]} at {key[1]:g}: {at_level(course, drifts[key], level):.4f}" for key, course in tuned.items()
            )
            + " |"
        )
    if not lines:
        return ""
    heads = "| seed | lowest loss, decoder frozen | loss that all tuned reach | reached by a frozen one | KL there |"
    text = (
        "The course of each run, between its validations linearly, is read where the loss of answers first falls to "
        "the lowest loss that all tuned methods reach."
    )
    return "\n".join(["## Drift at equal loss of answers", "", text, "", heads, "|---|---|---|---|---|", *lines])


def at_level(loss: dict[int, float], drift: dict[int, float], level: float) -> float:
    """Drift where a course of losses first falls to a level, between two points linearly; NaN if it does not."""
    steps = [step for step in sorted(loss) if step in drift]
    for before, after in zip([None, *steps], steps, strict=False):
        if loss[after] <= level:
            if before is None or loss[before] == loss[after]:
                return drift[after]
            share = (loss[before] - level) / (loss[before] - loss[after])
            return drift[before] + share * (drift[after] - drift[before])
    return float("nan")


def picture(path: Path, records: list[dict[str, object]]) -> bool:
    """Draw KL on text against the loss of answers, one line a run; False if there is nothing to draw."""
    losses, drifts = courses(records, "val/loss_answers"), courses(records, "val/kl")
    longest = max((key[2] for key in losses), default=0)
    drawn = [key for key in losses if key[2] == longest and key in drifts and "before" not in key[0]]
    if not drawn:
        return False
    figure, axes = plt.subplots(figsize=(8, 5), constrained_layout=True)
    colours = {name: f"C{number}" for number, name in enumerate(dict.fromkeys((key[0], key[1]) for key in drawn))}
    for key in drawn:
        steps = [step for step in sorted(losses[key]) if step in drifts[key]]
        name = key[0] + (f" at {key[1]:g}" if key[1] else "")
        axes.plot(
            [losses[key][step] for step in steps], np.maximum([drifts[key][step] for step in steps], 1e-5), "o-",
            color=colours[key[0], key[1]], label=name, markersize=3, linewidth=1,
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


def show(values: list[float], digits: int) -> str:
    """Mean and standard deviation."""
    if not values:
        return "-"
    return f"{mean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")
