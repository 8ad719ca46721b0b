"""Quality of the Bayesian search of sweeps, against W&B's published engine and random points.

Two functions of the literature are minimised: Branin (2 dimensions, minimum 0.398) and Hartmann-6 (6 dimensions,
minimum -3.322). Each contestant proposes one point after the other and is told its value:

* ``vision-suite``: proposals of ``vision-suite sweep`` with ``method: bayes``, read from the events as a sweep does.
* ``sweeps``: `next_run` of the package that W&B publishes, with every earlier point as a finished run.
* ``random``: proposals of ``vision-suite sweep`` with ``method: random``.

A seed decides every contestant's draws; the engine draws from NumPy's and Python's global states, which are seeded.

Run: python benchmarks/sweep_quality.py [--trials 25] [--seeds 20]
Needs Optuna, and the engine in a folder of its own, because it pins an old NumPy:
pip install --no-deps --target .sweeps-ref sweeps==0.3.0 jsonref
Writes docs/results/sweep_quality.md and docs/results/sweep_quality.json; with other numbers than the default the page
is printed only.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from markdown import table
from results import describe_run, write_results

from vision_suite.sweeps.events import TrialEvents
from vision_suite.sweeps.propose import propose
from vision_suite.sweeps.settings import parse_sweep

ROOT = Path(__file__).resolve().parents[1]
STEM = ROOT / "docs" / "results" / "sweep_quality"
ENGINE = ROOT / ".sweeps-ref"
TRIALS, SEEDS = 25, 20
CONTESTANTS = ("vision-suite", "sweeps", "random")
Values = dict[str, float]


def branin(at: Values) -> float:
    """Branin's function on [-5, 10] x [0, 15]."""
    x, y = at["x1"], at["x2"]
    square = (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2
    return square + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def hartmann(at: Values) -> float:
    """Hartmann's function of six variables on the unit cube."""
    alpha = np.array([1.0, 1.2, 3.0, 3.2])
    scale = np.array([[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8],
                      [17, 8, 0.05, 10, 0.1, 14]])  # fmt: skip
    centre = 1e-4 * np.array([[1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
                              [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381]])  # fmt: skip
    point = np.array([at[f"x{number}"] for number in range(1, 7)])
    return -float(alpha @ np.exp(-(scale * (point - centre) ** 2).sum(axis=1)))


FUNCTIONS: dict[str, tuple[Callable[[Values], float], float, dict[str, dict[str, float]]]] = {
    "Branin": (branin, 0.397887, {"x1": {"min": -5.0, "max": 10.0}, "x2": {"min": 0.0, "max": 15.0}}),
    "Hartmann-6": (hartmann, -3.32237, {f"x{number}": {"min": 0.0, "max": 1.0} for number in range(1, 7)}),
}


def sweep_file(name: str, method: str) -> dict[str, Any]:
    """A sweep's file over the box of a function."""
    metric = {"name": "value", "goal": "minimize"}
    return {"method": method, "program": "none", "metric": metric, "parameters": FUNCTIONS[name][2]}


def best_of_suite(name: str, method: str, trials: int, seed: int) -> float:
    """Least value that the suite's proposals find."""
    function, sweep = FUNCTIONS[name][0], parse_sweep(sweep_file(name, method))
    values = []
    with tempfile.TemporaryDirectory() as folder:
        events = TrialEvents(Path(folder) / "trials.jsonl")
        for number in range(1, trials + 1):
            proposal = propose(sweep, events, seed)
            assert proposal is not None
            args, unit = proposal
            values.append(function(args))
            events.add("propose", trial=number, args=args, unit=unit)
            events.add("start", trial=number, attempt=1, resumes=False)
            events.add("value", trial=number, step=1, value=values[-1])
            events.add("end", trial=number, state="finished", status=0, epoch=0)
    return min(values)


def best_of_engine(name: str, trials: int, seed: int) -> float:
    """Least value that W&B's engine finds."""
    import sweeps

    function, file = FUNCTIONS[name][0], sweep_file(name, "bayes")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (the engine draws from it)
    runs: list[Any] = []
    for _ in range(trials):
        run = sweeps.next_run(file, runs)
        value = function({key: float(entry["value"]) for key, entry in run.config.items()})
        run.state, run.history, run.summary_metrics = sweeps.RunState.finished, [{"value": value}], {"value": value}
        runs.append(run)
    return min(run.summary_metrics["value"] for run in runs)


def best(contestant: str, name: str, trials: int, seed: int) -> float:
    """Least value that a contestant finds."""
    if contestant == "sweeps":
        return best_of_engine(name, trials, seed)
    return best_of_suite(name, "bayes" if contestant == "vision-suite" else "random", trials, seed)


def rows(records: Sequence[dict[str, object]]) -> list[str]:
    """The table of medians and extremes."""
    found = []
    for name, (_, optimum, _) in FUNCTIONS.items():
        for contestant in CONTESTANTS:
            values = [
                float(str(record["best"]))
                for record in records
                if (record["function"], record["contestant"]) == (name, contestant)
            ]
            cells = [median(values), min(values), max(values)]
            found.append([name, f"{optimum:.3f}", contestant, *(f"{cell:.3f}" for cell in cells)])
    return table(["function", "minimum", "proposals", "median best", "best", "worst"], found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    given = parser.parse_args()
    sys.path.append(str(ENGINE))
    records: list[dict[str, object]] = []
    for name in FUNCTIONS:
        for seed in range(given.seeds):
            for contestant in CONTESTANTS:
                value = best(contestant, name, given.trials, seed)
                records.append({"function": name, "contestant": contestant, "seed": seed, "best": value})
            told = ", ".join(f"{record['contestant']} {record['best']:.3f}" for record in records[-3:])
            print(f"{name}, seed {seed}: {told}", file=sys.stderr, flush=True)
    note = (
        f"Least value after {given.trials} trials, over {given.seeds} seeds: median, best and worst. Points are "
        f"proposed one by one. Optuna {version('optuna')}, sweeps 0.3.0."
    )
    page = "\n".join(rows(records))
    if (given.trials, given.seeds) == (TRIALS, SEEDS):
        write_results(STEM, "Bayesian search of sweeps", note, page, records, describe_run())
    print(page)


if __name__ == "__main__":
    main()
