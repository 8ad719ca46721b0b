"""OAT's results page: what is planned, what is kept of a run, and what the tables say."""

import argparse
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import oat_results
import oat_tables
import pytest

ORIGIN = {"command": "python x", "commit": "abc"}


def run_of(data="onestop", by="image", fold=2, position="gauss_hermite", seed=1, split="test", relative=None):
    relative = 24 * (data == "onestop") if relative is None else relative
    return oat_results.Run(split, data, by, fold, position, relative, seed, "as configured")


def options(**changes):
    usual = {"split": "test", "data": ["amazon", "onestop"], "seeds": [1, 2], "extra": []}
    return argparse.Namespace(**{**usual, **changes})


def test_seeds_are_outermost_and_runs_differ():
    runs = list(oat_results.planned(options()))
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)
    assert len({run.key for run in runs}) == len(runs) == 2 * (6 + 3 + 4)
    assert {run.fold for run in runs if run.data == "amazon"} == {0, 1}
    assert len(list(oat_results.planned(options(data=["onestop"], seeds=[3])))) == 6


def test_extra_flags_name_a_run():
    first, second = (next(oat_results.planned(options(extra=extra))) for extra in ([], ["--trainer.max_epochs=1"]))
    assert first.key != second.key


def test_what_a_predictor_lacks_is_left_out_and_runs_are_found_again():
    metrics = {"sequence_score": 0.25, "human/sequence_score": 0.3, "nats_per_fixation": 2.2, "delta": math.inf,
               "offsets/top1": None, "pixels/top1": 0.2, "sorted_by": 3.0}  # fmt: skip
    records = oat_results.records_of(run_of(), metrics, ORIGIN)
    assert {(r["predictor"], r["metric"]) for r in records} == {
        ("model", "sequence_score"), ("human", "sequence_score"), ("model", "nats_per_fixation"), ("pixels", "top1"),
    }  # fmt: skip
    assert oat_results.finished(records) == {run_of().key}


def made(nats):
    """Records by (fold, seed)."""
    found = []
    for (fold, seed), value in nats.items():
        metrics = {"nats_per_fixation": value, "sequence_score": value / 10, "pixels/nats_per_fixation": 2.3}
        found += oat_results.records_of(run_of(fold=fold, seed=seed), metrics, ORIGIN)
    return found


def test_means_are_over_folds_then_over_seeds():
    table = oat_tables.table(made({(0, 1): 2.0, (2, 1): 2.2, (0, 2): 2.4, (2, 2): 2.2}))
    assert "### OneStop-mini, unseen pages" in table
    row = next(line for line in table.splitlines() if line.startswith("| OAT, sampled"))
    # Seeds 2.1 and 2.3.
    assert "| 2 | 22.0 ± 1.4 |" in row
    assert "| 2.200 ± 0.141 |" in row


@pytest.mark.parametrize(("nats", "verdict"), [(2.20, "better than"), (2.30, "not better than")])
def test_the_published_fold_is_compared_honestly(nats, verdict):
    alone = oat_results.records_of(run_of(relative=0), {"nats_per_fixation": 2.5}, ORIGIN)
    table = oat_tables.table(made({(0, 1): 1.0, (2, 1): nats, (2, 2): nats}) + alone)
    line = next(line for line in table.splitlines() if line.startswith("Pages of the third fold"))
    assert f"OAT {nats:.3f} ± 0.000 nats" in line
    assert f", {verdict} the 2.244" in line
    assert line.endswith("(192 wide, two layers): 2.500.")
    assert "2.5" not in next(line for line in table.splitlines() if line.startswith("| OAT, sampled"))


def test_position_codes_have_a_table_of_their_own_beside_the_usual_row():
    records = []
    for position, value in (("additive_gaussian", 0.1), ("sinusoid2d", 0.2)):
        run = run_of("amazon", "image", 0, position)
        records += oat_results.records_of(run, {"sequence_score": value, "human/sequence_score": 0.3}, ORIGIN)
    table = oat_tables.table(records)
    codes = table.split("position codes")[1]
    assert "| sinusoid2d | 1 | 20.0 |" in codes
    assert "| OAT, sampled | 1 | 10.0 |" in table.split("position codes")[0]
    assert "20.0" not in table.split("position codes")[0]
