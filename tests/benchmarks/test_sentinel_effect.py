"""The page of what SENTINEL cures: rates and seeds of a call, and what the tables say about made-up runs."""

import sys
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import pytest
import sentinel_effect as bench
import sentinel_effect_tables as tables
from sentinel_effect_page import write_page
from suite_calls import Run

ORIGIN = {"command": "python x", "commit": "abc"}
LENGTHS = [
    {"sentences": n, "reached": 10, "made_up": 0.02 * n, "made_up_captions": 0.1, "recall": 0.25 * n, "words": 6.0 * n}
    for n in (1, 2, 3)
]  # fmt: skip


def records_of(method, rate, seed, made_up, found, prior, stage="test", pairs=None, lengths=LENGTHS):
    """Records of a run: what is made up and found against the prior, and found with it."""
    own = {"method": method, "rate": rate, "seed": seed, "steps": 120 if rate else 0, **ORIGIN}
    values = {
        "chair_i/adversarial": made_up, "chair_s/adversarial": 2 * made_up, "recall/adversarial": found,
        "words/adversarial": 20.0, "chair_i/prior": made_up / 4, "recall/prior": prior, "words/prior": 20.0,
        "by_length": {"adversarial": lengths},
    }  # fmt: skip
    if pairs is not None:
        values["pairs"] = pairs
    return [{**own, "metric": f"{stage}/{name}", "value": value} for name, value in values.items()]


def made():
    """Records of two seeds: the target is reached with one, and recall is lost with the other."""
    return [
        *records_of("before", 0.0, 1, 0.20, 0.70, 0.90),
        *records_of("before", 0.0, 2, 0.10, 0.70, 0.90),
        *records_of("C-DPO", 1e-3, 1, 0.10, 0.72, 0.88, pairs={"pairs": 400, "wrong_pairs": 0}),
        *records_of("C-DPO", 1e-3, 2, 0.05, 0.69, 0.88, pairs={"pairs": 600, "wrong_pairs": 0}),
        *records_of(
            "C-DPO, two detectors",
            1e-3,
            1,
            0.18,
            0.70,
            0.80,
            pairs={"pairs": 200, "wrong_pairs": 10, "repeat_pairs": 50},
        ),
        *records_of("supervised, true captions", 3e-4, 1, 0.16, 0.75, 0.90),
        *records_of("supervised, true captions", 3e-4, 2, 0.04, 0.75, 0.90),
        *records_of("C-DPO", 3e-4, 1, 0.15, 0.71, 0.89, stage="val"),
    ]


def rows_of(text):
    """Cells of the table rows of a part, by the first."""
    cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in cells[2:]}


def test_ends_are_changes_seed_by_seed():
    rows = rows_of(tables.ends(made()))
    assert rows["before"][:3] == ["2", "15.0 ± 7.1", "0.0 ± 0.0"]
    assert rows["C-DPO at 0.001"][:3] == ["2", "7.5 ± 3.5", "-50.0 ± 0.0"], "of each seed's own start, not of the mean"
    assert rows["C-DPO at 0.001"][7:9] == ["88.0 ± 0.0", "-2.0 ± 0.0"]
    assert "C-DPO at 0.0003" not in rows, "a search is not a test"
    assert list(rows_of(tables.ends(made(), "val"))) == ["C-DPO at 0.0003"]


def test_the_target_counts_recall_of_both_kinds_and_every_control():
    lines = [line for line in tables.targets(made()).splitlines() if line.startswith("- ")]
    assert lines[0].startswith(
        "- seed 1, C-DPO at 0.001: reached: made up -50.0 %, found +2.0 points against it and -2.0"
    )
    assert lines[0].endswith("ahead of every control")
    assert lines[1].startswith("- seed 2, C-DPO at 0.001: missed: made up -50.0 %, found -1.0"), "less was found"
    assert lines[1].endswith("behind supervised, true captions at 0.0003 (-60.0 %)")
    assert lines[2].startswith("- seed 1, C-DPO, two detectors at 0.001: missed: made up -10.0 %")
    assert len(lines) == 3, "no verdict on controls"


def test_captions_are_compared_at_equal_length_and_recall():
    rows = rows_of(tables.matched(made()))
    assert rows["before"] == ["2.0 ± 0.0", "4.0 ± 0.0", "6.0 ± 0.0", "6.0 ± 0.0"]


def test_wrong_labels_stand_beside_the_effect():
    rows = rows_of(tables.labels(made()))
    assert rows == {
        "C-DPO at 0.001": ["500 ± 141", "0.0 ± 0.0", "0.0 ± 0.0", "-50.0 ± 0.0"],
        "C-DPO, two detectors at 0.001": ["200", "5.0", "25.0", "-10.0"],
    }


@pytest.mark.parametrize(
    ("preferred", "rejected", "context", "kind"),
    [
        (["cat"], ["dog"], [], "right"),
        (["cat"], ["cat", "dog"], ["cat"], "right"),
        (["dog"], ["pig"], [], "wrong"),
        (["cat"], ["owl"], [], "wrong"),
        (["cat"], ["owl"], ["owl"], "repeat"),
        (["dog"], ["owl"], ["owl"], "wrong"),
    ],
)
def test_what_the_truth_says_of_a_pair(preferred, rejected, context, kind):
    row = {"objects_of_y_win": preferred, "objects_of_y_lose": rejected, "context_gen_objects": context}
    assert bench.kind_of_pair({**row, "context_gen_hallu_objects": []}, {"cat", "owl"}) == kind


def test_the_page_has_its_parts_and_its_picture(tmp_path):
    write_page(tmp_path / "page", made(), "on a machine")
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Tested once", "## The target, seed by seed", "## At equal length and at equal recall",
        "## Errors of the labels", "## Rates compared on validation scenes",
    ]  # fmt: skip
    assert (tmp_path / "page.png").stat().st_size > 5000
    write_page(tmp_path / "search", [each for each in made() if each["metric"].startswith("val/")], "on a machine")
    assert not (tmp_path / "search.png").exists(), "nothing was tested"


def test_rates_go_by_method_and_seeds_are_outermost():
    options = Namespace(
        seeds=[1, 2], methods=["C-DPO", "C-DPO, order at random"], rates=["all=1e-4", "C-DPO=1e-3,3e-4"], steps=120
    )
    assert list(bench.planned(options)) == [
        run
        for seed in (1, 2)
        for run in (
            Run("before", 0.0, seed, 0), Run("C-DPO", 1e-3, seed, 120), Run("C-DPO", 3e-4, seed, 120),
            Run("C-DPO, order at random", 1e-4, seed, 120),
        )
    ]  # fmt: skip


def test_every_method_that_is_tested_trains_from_labels_or_true_captions():
    assert {labels for labels, _ in bench.METHODS.values()} <= {"", *bench.LABELS}
    assert set(bench.TESTED) < set(bench.METHODS)
    with pytest.raises(KeyError):
        list(bench.planned(Namespace(seeds=[1], methods=["C-DPO"], rates=["DPO=1e-4"], steps=1)))
