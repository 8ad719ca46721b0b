"""Tables of `sentinel_effect`: ends, the target by seed, equal lengths and recall, wrong labels, rates compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import mean
from typing import Any

from markdown import show, table

from vision_suite.metrics.hallucination.matched import at_length, at_recall

BEFORE = "before"
CDPO = "C-DPO"
LABELLED = ("C-DPO", "C-DPO, two detectors", "C-DPO, one detector")
JUDGED = ("wrong_pairs", "repeat_pairs")
CONTROLS = ("supervised, true captions", "supervised, preferred sentences", "C-DPO, order at random")
ADVERSARIAL, PRIOR = "adversarial", "prior"
FALL, LOSS = 0.40, 0.05  # of made-up objects against the prior, and of recall where it holds
Record = dict[str, Any]
Key = tuple[str, float]  # method, rate
Values = dict[str, Any]


def by_run(records: list[Record], stage: str) -> dict[Key, dict[int, Values]]:
    """Values of each metric by method and rate, then seed."""
    found: dict[Key, dict[int, Values]] = {}
    for record in records:
        kind, _, name = str(record["metric"]).partition("/")
        if kind == stage:
            runs = found.setdefault((record["method"], float(record["rate"])), {})
            runs.setdefault(record["seed"], {})[name] = record["value"]
    return found


def named(key: Key) -> str:
    """Method with its rate."""
    return key[0] + (f" at {key[1]:g}" if key[1] else "")


def _percent(runs: Mapping[int, Values], metric: str) -> str:
    return show([100 * values[metric] for values in runs.values()], 1)


def _against(runs: Mapping[int, Values], start: Mapping[int, Values], change: Callable[[Values, Values], float]) -> str:
    return show([100 * change(values, start[seed]) for seed, values in runs.items() if seed in start], 1)


def fall(after: Values, before: Values) -> float:
    """Relative change of the share of made-up objects where the prior misleads."""
    return float(after[f"chair_i/{ADVERSARIAL}"] / before[f"chair_i/{ADVERSARIAL}"] - 1)


def gain(after: Values, before: Values) -> float:
    """Change of the share of found objects where the prior holds."""
    return float(after[f"recall/{PRIOR}"] - before[f"recall/{PRIOR}"])


def ends(records: list[Record], stage: str = "test") -> str:
    """Scores of all runs, and their changes."""
    found = by_run(records, stage)
    if not found:
        return ""
    start = found.get((BEFORE, 0.0), {})
    heads = [
        "method", "seeds", "against: made up %", "change %", "captions with it %", "found %", "words",
        "prior: made up %", "found %", "change, points", "words",
    ]  # fmt: skip
    rows = []
    for key, runs in found.items():
        rows.append([
            named(key), str(len(runs)), _percent(runs, f"chair_i/{ADVERSARIAL}"), _against(runs, start, fall),
            _percent(runs, f"chair_s/{ADVERSARIAL}"), _percent(runs, f"recall/{ADVERSARIAL}"),
            show([values[f"words/{ADVERSARIAL}"] for values in runs.values()], 1), _percent(runs, f"chair_i/{PRIOR}"),
            _percent(runs, f"recall/{PRIOR}"), _against(runs, start, gain),
            show([values[f"words/{PRIOR}"] for values in runs.values()], 1),
        ])  # fmt: skip
    title = "## Tested once" if stage == "test" else "## Rates compared on validation scenes"
    return "\n".join([title, "", *table(heads, rows)])


def targets(records: list[Record]) -> str:
    """The target, read for each seed and each run of C-DPO."""
    found = by_run(records, "test")
    start = found.get((BEFORE, 0.0), {})
    lines = []
    for key, runs in found.items():
        for seed, values in sorted(runs.items()) if key[0] in LABELLED and start else ():
            before = start[seed]
            change, recall = (
                fall(values, before),
                {task: values[f"recall/{task}"] - before[f"recall/{task}"] for task in (ADVERSARIAL, PRIOR)},
            )
            reached = change <= -FALL and recall[ADVERSARIAL] >= 0 and recall[PRIOR] >= -LOSS
            others = {
                other: fall(theirs[seed], before)
                for other, theirs in found.items()
                if other[0] in CONTROLS and seed in theirs
            }
            behind = [f"{named(other)} ({100 * other_change:+.1f} %)" for other, other_change in others.items()
                      if other_change <= change]  # fmt: skip
            ahead = "ahead of every control" if not behind else "behind " + ", ".join(behind)
            lines.append(
                f"- seed {seed}, {named(key)}: {'reached' if reached else 'missed'}: made up {100 * change:+.1f} %, "
                f"found {100 * recall[ADVERSARIAL]:+.1f} points against it and {100 * recall[PRIOR]:+.1f} with it"
                + (f"; {ahead}" if others else "")
            )
    title = (
        f"The target is a fall of made-up objects by {100 * FALL:.0f} % against the prior with as much found there, "
        f"and at most {100 * LOSS:.0f} points less found where the prior holds. Controls are the supervised runs and "
        "pairs in random order. DPO on whole captions is none: both sides of a pair have the same context, whose "
        "log-probabilities cancel, so it differs from C-DPO in the end of the answer only."
    )
    return "\n".join(["## The target, seed by seed", "", title, "", *lines]) if lines else ""


def matched(records: list[Record]) -> str:
    """Made-up objects against the prior at equal numbers of sentences, and at equal recall."""
    found = by_run(records, "test")
    seeds = sorted({seed for runs in found.values() for seed in runs})
    if not seeds:
        return ""
    cells: dict[Key, list[list[float]]] = {key: [[], [], [], []] for key in found}
    for seed in seeds:
        rows = {key: runs[seed]["by_length"][ADVERSARIAL] for key, runs in found.items() if seed in runs}
        models = {named(key): each for key, each in rows.items()}
        equal = at_recall(models)
        for key in rows:
            for place, sentences in enumerate((1, 2, 3)):
                cells[key][place].append(100 * at_length(models, sentences)[named(key)]["made_up"])
            cells[key][3].append(100 * equal[named(key)])
    heads = ["method", "1 sentence", "2 sentences", "3 sentences", "equal recall"]
    body = [
        [named(key), *(show([each for each in column if not math.isnan(each)], 1) for column in columns)]
        for key, columns in cells.items()
    ]
    return "\n".join([
        "## At equal length and at equal recall", "",
        "Made-up objects against the prior, %, of captions cut behind the same sentence, and where captions are cut so "
        "that all methods of a seed find the same share of objects: the highest that all of them reach.", "",
        *table(heads, body),
    ])  # fmt: skip


def labels(records: list[Record]) -> str:
    """Wrong labels against the effect."""
    found = by_run(records, "test")
    start = found.get((BEFORE, 0.0), {})
    rows = []
    for key, runs in found.items():
        mined = [values["pairs"] for values in runs.values() if "pairs" in values]
        if key[0] in LABELLED and mined:
            rows.append([
                named(key), show([each["pairs"] for each in mined], 0),
                *(show([100 * each.get(kind, 0) / max(each["pairs"], 1) for each in mined], 1) for kind in JUDGED),
                _against(runs, start, fall),
            ])  # fmt: skip
    if not rows:
        return ""
    heads = ["labels", "pairs", "wrong pairs %", "repeats %", "change of made-up objects %"]
    note = (
        "A pair is wrong where its preferred sentence names something that is missing from the picture, or its "
        "rejected one neither does so nor repeats what was named before: the truth of these scenes is known."
    )
    return "\n".join(["## Errors of the labels", "", note, "", *table(heads, rows)])


def points(records: list[Record]) -> dict[Key, tuple[float, float]]:
    """Means of found objects where the prior holds and made-up ones where it misleads, for the picture."""
    return {
        key: (
            mean(values[f"recall/{PRIOR}"] for values in runs.values()),
            mean(values[f"chair_i/{ADVERSARIAL}"] for values in runs.values()),
        )
        for key, runs in by_run(records, "test").items()
    }
