"""Tables of `wings_forgetting` that compare runs: losses reached, drift at equal loss, naming paired, label leak."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from markdown import show, table
from scipy.stats import t as student

from vision_suite.metrics.instruct.shares import clustered_difference

START = "projector before"
FROZEN = ("projector only", "visual wing only")
WINGS, LEAK, LORA, FULL = "Wings", "Wings with label leak", "LoRA", "full fine-tuning"
MARGIN = -2.0  # points of naming that Wings may lie below LoRA
ERRORS = 2.0  # standard errors above guessing from which a model sees
Record = dict[str, Any]
Key = tuple[str, float, int]  # method, rate, steps
Course = dict[int, float]


def courses(records: list[Record], metric: str) -> dict[Key, dict[int, Course]]:
    """Values of a metric by run, then seed, then step."""
    found: dict[Key, dict[int, Course]] = defaultdict(lambda: defaultdict(dict))
    for record in records:
        if record["metric"] == metric:
            key = record["method"], float(record["rate"]), record["steps"]
            found[key][record["seed"]][record["step"]] = record["value"]
    return found


def longest(records: list[Record]) -> int:
    """Number of steps of the runs that are compared."""
    return max((record["steps"] for record in records if record["method"] != START), default=0)


def named(key: Key) -> str:
    """Method with its rate."""
    return key[0] + (f" at {key[1]:g}" if key[1] else "")


def reached(records: list[Record]) -> str:
    """Lowest loss of answers of each run, by seed."""
    losses = {
        key: seeds
        for key, seeds in courses(records, "val/loss_answers").items()
        if key[2] == longest(records) or key[0] == START
    }
    if not losses:
        return ""
    every = sorted({seed for seeds in losses.values() for seed in seeds})
    rows = []
    for key, seeds in losses.items():
        cells = [named(key), "frozen" if key[0] in (*FROZEN, START) else "trained", str(key[2])]
        for seed in every:
            course = seeds.get(seed, {})
            best = min(course, key=course.__getitem__, default=None)
            cells.append("-" if best is None else f"{course[best]:.3f} ({best + 1})")
        rows.append(cells)
    text = "Lowest loss of answers on validation, and the step where it was reached."
    heads = ["run", "decoder", "steps", *(f"seed {seed}" for seed in every)]
    return "\n".join(["## Losses reached", "", text, "", *table(heads, rows)])


def seeing(records: list[Record]) -> str:
    """Names on the unseen design against guessing, by seed: a model that guesses has learnt nothing to compare."""
    right: Any = courses(records, "test/right/name")
    found = {key: seeds for key, seeds in right.items() if key[2] == longest(records)}
    if not found:
        return ""
    every = sorted({seed for seeds in found.values() for seed in seeds})
    rows = []
    for key, seeds in found.items():
        cells = [named(key)]
        for seed in every:
            counts = list(seeds[seed][max(seeds[seed])].values()) if seed in seeds else []
            cells.append(_above_chance([each / total for each, total in counts]) if counts else "-")
        rows.append(cells)
    text = (
        "Right names in percent on the unseen design, and their distance from guessing in standard errors over names. "
        "Below two, a model is blind: it has learnt the form of the answers and not to look, and its loss and drift "
        "say nothing about learning to see."
    )
    return "\n".join(["## Is anything seen", "", text, "", *table(["run", *(f"seed {seed}" for seed in every)], rows)])


def _above_chance(shares: list[float]) -> str:
    """Mean of the shares of right answers by name, and how far it is above one in that many."""
    count, mean = len(shares), sum(shares) / len(shares)
    error = math.sqrt(sum((share - mean) ** 2 for share in shares) / max(count - 1, 1) / count)
    distance = (mean - 1 / count) / error if error else 0.0
    return f"{100 * mean:.1f} ({distance:+.1f}{', blind' if distance < ERRORS else ''})"


def equal_loss(records: list[Record]) -> str:
    """KL of each method where its course reaches given losses, by seed."""
    losses, drifts = courses(records, "val/loss_answers"), courses(records, "val/kl")
    rows, verdicts, steps = [], [], longest(records)
    tuned = [key for key in losses if key[2] == steps and key[0] not in (*FROZEN, START, LEAK) and key in drifts]
    compared = [key for key in tuned if key[0] in (WINGS, FULL, LORA)]
    for seed in sorted({seed for key in compared for seed in losses[key]}):
        own = [key for key in compared if seed in losses[key] and seed in drifts[key]]
        frozen = [
            value
            for key, seeds in losses.items()
            if key[0] == START or (key[0] in FROZEN and key[2] == steps)
            for value in seeds.get(seed, {}).values()
        ]
        if len({key[0] for key in own}) < 2 or not any(seed in losses[key] for key in losses if key[0] in FROZEN):
            continue
        least, common = min(frozen), max(min(losses[key][seed].values()) for key in own)
        start = _start(losses, drifts, seed)
        for level in [least, (least + common) / 2, common] if common < least else [common]:
            read = {key: _read(losses[key].get(seed, {}), drifts[key].get(seed, {}), level, start) for key in tuned}
            where = "no" if level < least else "just" if level == least else "yes"
            cells = ["-" if math.isnan(value) else f"{value:.4f}" for value in read.values()]
            rows.append([str(seed), f"{level:.3f}", where, *cells])
        verdicts.append(_verdict(seed, common, least, {key: read[key] for key in own}))
    if not rows:
        return ""
    text = (
        "KL (nats a token of Python's manual), where the loss of answers first falls to a level. A course is read "
        "linearly between validations, and begins at the common start. Levels go from the lowest loss of a frozen "
        "decoder to the lowest that Wings, LoRA and full fine-tuning all reach. Forgetting is needed only below what "
        "a frozen decoder reaches. The run with label leak is left out: its losses are read with the answer in sight."
    )
    heads = ["seed", "loss", "a frozen decoder reaches it", *map(named, tuned)]
    return "\n".join(["## Drift at equal loss of answers", "", text, "", *table(heads, rows), "", *verdicts])


def _start(
    losses: dict[Key, dict[int, Course]], drifts: dict[Key, dict[int, Course]], seed: int
) -> tuple[float, float]:
    """Loss and KL of the common start; NaN if they are not known."""
    for key, seeds in losses.items():
        course = seeds.get(seed, {})
        if key[0] == START and course:
            last = max(course)
            return course[last], drifts.get(key, {}).get(seed, {}).get(last, math.nan)
    return math.nan, math.nan


def _read(loss: Course, drift: Course, level: float, start: tuple[float, float]) -> float:
    """Drift where a course that begins at the start falls to a level."""
    if any(map(math.isnan, start)):
        return at_level(loss, drift, level)
    return at_level({-1: start[0], **loss}, {-1: start[1], **drift}, level)


def at_level(loss: Course, drift: Course, level: float) -> float:
    """Drift where a course of losses first falls to a level, between two points linearly; NaN if it does not."""
    steps = [step for step in sorted(loss) if step in drift]
    for before, after in zip([None, *steps], steps, strict=False):
        if loss[after] <= level:
            if before is None or loss[before] == loss[after]:
                return drift[after]
            share = (loss[before] - level) / (loss[before] - loss[after])
            return drift[before] + share * (drift[after] - drift[before])
    return math.nan


def _verdict(seed: int, common: float, least: float, read: dict[Key, float]) -> str:
    """Line on whether Wings drifts less than LoRA, and than full fine-tuning at the same rate."""
    if common >= least:
        return (
            f"- Seed {seed}: a frozen decoder reaches {least:.3f}, below the {common:.3f} that all three reach: "
            "nothing needed forgetting."
        )
    told = [
        f"{named(key)} {read[key]:.4f} against {read[other]:.4f} of {named(other)}: "
        f"{'lower' if read[key] < read[other] else 'not lower'}"
        for key in read
        for other in read
        if key[0] == WINGS and (other[0] == LORA or (other[0] == FULL and other[1] == key[1]))
    ]
    return f"- Seed {seed}, loss {common:.3f}: {'; '.join(told) or 'nothing to compare Wings with'}."


def naming(records: list[Record]) -> str:
    """Names on the unseen design, Wings against LoRA on the same pictures, by seed."""
    right: Any = courses(records, "test/right/name")
    rows = []
    for own, other, seed, steps in _pairs(right, WINGS, LORA):
        first, second = (right[key][seed][steps] for key in (other, own))
        found = clustered_difference(first, second)
        reach = float(student.ppf(0.975, len(first) - 1)) * 100 * found.error
        shares = [100 * sum(each for each, _ in counts.values()) / found.questions for counts in (second, first)]
        low, high = 100 * found.value - reach, 100 * found.value + reach
        cells = [str(seed), f"{named(own)} against {named(other)}", *(f"{value:.2f}" for value in shares)]
        cells += [f"{100 * found.value:+.2f}", f"{low:+.2f} to {high:+.2f}", "yes" if low > MARGIN else "no"]
        rows.append(cells)
    if not rows:
        return ""
    text = (
        "Right names in percent, and their difference in points over the same questions. The interval takes the names "
        "as drawn, not the questions: questions about one drawing are alike (clusters, Student's t)."
    )
    heads = ["seed", "runs", WINGS, LORA, "difference", "95 % interval", f"above {MARGIN:g} points"]
    return "\n".join(["## Naming, Wings against LoRA", "", text, "", *table(heads, rows)])


def _pairs(found: dict[Key, dict[int, Any]], one: str, other: str) -> Iterator[tuple[Key, Key, int, int]]:
    """Runs of two methods with equal steps, with a seed that both have and the last step of it."""
    for first in sorted(key for key in found if key[0] == one):
        for second in sorted(key for key in found if key[0] == other and key[2] == first[2]):
            for seed in sorted(found[first].keys() & found[second].keys()):
                yield first, second, seed, max(found[first][seed])


def leak(records: list[Record]) -> str:
    """Label leak off against on, at equal steps and rates."""
    columns = (("loss_answers", "loss of answers", 1, 3), ("kl", "KL", 1, 4), ("accuracy/name", "names %", 100, 1),
               ("accuracy/group", "groups %", 100, 1))  # fmt: skip
    found = {f"{kind}/{name}": courses(records, f"{kind}/{name}") for kind in ("val", "test") for name, *_ in columns}
    losses = found["val/loss_answers"]
    rows = []
    for off in sorted(key for key in losses if key[0] == WINGS and (LEAK, *key[1:]) in losses):
        on = (LEAK, *off[1:])
        both = sorted(losses[off].keys() & losses[on].keys())
        steps = sorted({step for key in (off, on) for seed in both for step in losses[key][seed]})
        for step, kind in [*((step, "val") for step in steps), (off[2], "test")]:
            cells = [f"{off[1]:g}", str(step + (kind == "val")), "validation" if kind == "val" else "test"]
            for name, _, factor, digits in columns:
                courses_of = [found[f"{kind}/{name}"].get(key, {}) for key in (off, on)]
                values = [[seeds.get(seed, {}).get(step) for seed in both] for seeds in courses_of]
                cells += [show([factor * value for value in each if value is not None], digits) for each in values]
            rows.append(cells)
    if not rows:
        return ""
    text = (
        "The released code lets a text token's wing read text behind it. Same rows, steps and rates; seeds that both "
        "have. With the leak the loss of right answers, and groups, which are chosen by likelihood, are read with the "
        "answer in sight; names are written, so nothing of them is in sight. KL is that on the manual, in the test "
        "that on the pages."
    )
    heads = ["rate", "step", "split"]
    heads += [f"{name}, {kind}" for _, name, _, _ in columns for kind in ("off", "on")]
    return "\n".join(["## Label leak off and on", "", text, "", *table(heads, rows)])
