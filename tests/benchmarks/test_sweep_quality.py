"""The benchmark of sweeps: its functions have their known minima, and the page shows the contestants' targets."""

import json
import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import sweep_quality


def test_branin_has_its_three_minima():
    for x, y in ((-math.pi, 12.275), (math.pi, 2.275), (9.42478, 2.475)):
        assert sweep_quality.branin({"x1": x, "x2": y}) == pytest.approx(0.397887, abs=1e-5)


def test_hartmann_has_its_minimum():
    at = (0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573)
    values = {f"x{number}": value for number, value in enumerate(at, start=1)}
    assert sweep_quality.hartmann(values) == pytest.approx(-3.32237, abs=1e-5)


def test_random_proposals_repeat_themselves():
    found = [sweep_quality.best("random", "Branin", 5, seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


def test_the_page_holds_the_target():
    """Median best within 10 % of the engine's, measured from the minimum, and clearly better than random."""
    records = json.loads(sweep_quality.STEM.with_suffix(".json").read_text(encoding="utf-8"))
    for name, (_, optimum, _) in sweep_quality.FUNCTIONS.items():
        medians = {}
        for contestant in sweep_quality.CONTESTANTS:
            values = [r["best"] for r in records if (r["function"], r["contestant"]) == (name, contestant)]
            assert len(values) == 20
            medians[contestant] = sorted(values)[9:11]
        ours, engine, chance = (sum(medians[key]) / 2 for key in sweep_quality.CONTESTANTS)
        assert ours <= engine + 0.1 * abs(engine), name
        assert ours - optimum < 0.5 * (chance - optimum), name
