"""The page of what a language model forgets: what is stored of a run, and what the tables say about made-up runs."""

import json
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import pytest
import wings_forgetting as bench
import wings_forgetting_tables as tables
import yaml
from scipy import stats
from suite_calls import results
from wings_forgetting_page import write_page

from vision_suite.metrics.instruct.shares import clustered_difference

ORIGIN = {"command": "python x", "commit": "abc"}


def records_of(method, rate, seed, course, right=None, steps=200):
    """Records of a run, of its losses and KL by step."""
    own = {"method": method, "rate": rate, "seed": seed, "steps": steps, **ORIGIN}
    found = []
    for step, (loss, kl) in course.items():
        for metric, value in (("loss_answers", loss), ("kl", kl), ("accuracy/name", 0.5), ("accuracy/group", 0.25)):
            found.append({**own, "step": step, "metric": f"val/{metric}", "value": value})
    if right is not None:
        share = sum(each for each, _ in right.values()) / sum(total for _, total in right.values())
        for metric, value in (("accuracy/name", share), ("right/name", right), ("kl", 0.3), ("accuracy/synonyms", 0.4)):
            found.append({**own, "step": steps, "metric": f"test/{metric}", "value": value})
    return found


def made(wings=0.02):
    """Records of a start, a frozen decoder and three tuned ones, one seed."""
    names = {f"name {number}": [20 + number % 3, 50] for number in range(40)}
    better = {name: [right + 5 * (number % 2), total] for number, (name, (right, total)) in enumerate(names.items())}
    return [
        *records_of("projector before", 0.0, 1, {999: (2.0, 0.0)}, steps=1000),
        *records_of("projector only", 0.0, 1, {99: (1.8, 0.0), 199: (1.6, 0.0)}, names),
        *records_of("LoRA", 5e-4, 1, {99: (1.4, 0.05), 199: (1.0, 0.10)}, names),
        *records_of("full fine-tuning", 2e-4, 1, {99: (1.2, 0.04), 199: (0.8, 0.20)}, names),
        *records_of("Wings", 2e-4, 1, {99: (1.2, wings), 199: (0.9, 2 * wings)}, better),
        *records_of("Wings with label leak", 2e-4, 1, {99: (0.2, 0.02), 199: (0.1, 0.04)}, names),
    ]


def rows_of(text):
    """Cells of the table rows of a part."""
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines() if line.startswith("|")][2:]


def test_right_answers_are_counted_by_name(tmp_path):
    answers = [("name", "fox", True), ("name", "fox", False), ("name", "car", True), ("group", "fox", True)]
    lines = [{"task": task, "reference": reference, "right": right} for task, reference, right in answers]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert bench.right_by_name(path, "name") == {"car": [1, 1], "fox": [1, 2]}


def test_losses_of_every_run_with_those_of_a_frozen_decoder():
    rows = rows_of(tables.reached(made()))
    assert ["projector before", "frozen", "1000", "2.000 (1000)"] in rows
    assert ["projector only", "frozen", "200", "1.600 (200)"] in rows
    assert ["full fine-tuning at 0.0002", "trained", "200", "0.800 (200)"] in rows


def test_a_model_that_always_says_one_name_is_blind():
    names = {f"name {number}": [0, 50] for number in range(40)}
    constant, guess = names | {"name 3": [50, 50]}, {name: [1 + number % 2, 50] for number, name in enumerate(names)}
    records = [
        *records_of("LoRA", 5e-4, 1, {199: (1.0, 0.1)}, {name: [20 + n % 3, 50] for n, name in enumerate(names)}),
        *records_of("full fine-tuning", 2e-4, 1, {199: (1.1, 0.2)}, constant),
        *records_of("Wings", 2e-4, 1, {199: (1.1, 0.2)}, guess | {name: [1, 50] for name in list(names)[:10]}),
    ]
    rows = {row[0]: row[1] for row in rows_of(tables.seeing(records))}
    assert rows["full fine-tuning at 0.0002"] == "2.5 (+0.0, blind)"
    assert rows["Wings at 0.0002"].endswith(", blind)"), "2.75 % of 40 names, less than two errors above 2.5"
    assert rows["LoRA at 0.0005"].startswith("42.0 (+")
    assert "blind" not in rows["LoRA at 0.0005"]


def test_drift_is_read_at_losses_that_no_frozen_decoder_reaches():
    text = tables.equal_loss(made())
    rows = {row[1]: row[3:] for row in rows_of(text)}
    # The lowest of a frozen decoder, the lowest that all three reach, and between them.
    assert list(rows) == ["1.600", "1.300", "1.000"]
    # LoRA, full fine-tuning, Wings: from the start (loss 2, KL 0) linearly.
    assert rows["1.600"] == ["0.0333", "0.0200", "0.0100"]
    assert rows["1.000"] == ["0.1000", "0.1200", "0.0333"]
    assert "Seed 1, loss 1.000: Wings at 0.0002 0.0333 against 0.1000 of LoRA at 0.0005: lower" in text
    assert "against 0.1200 of full fine-tuning at 0.0002: lower" in text
    assert "not lower" not in text
    assert "leak" not in text.split("| seed")[1]


def test_larger_drift_of_wings_is_told():
    text = tables.equal_loss(made(wings=0.08))
    assert "of LoRA at 0.0005: not lower" in text
    assert "of full fine-tuning at 0.0002: not lower" in text


def test_nothing_needed_forgetting_where_a_frozen_decoder_is_as_good():
    frozen = records_of("visual wing only", 0.0, 1, {199: (0.7, 0.0)})
    text = tables.equal_loss([*made(), *frozen])
    assert "nothing needed forgetting" in text
    assert "lower" not in text.split("- Seed")[1]
    assert [row[1:3] for row in rows_of(text)] == [["1.000", "yes"]]


def test_a_level_that_a_run_never_reaches_is_empty():
    late = records_of("full fine-tuning with text replay", 2e-4, 1, {99: (1.9, 0.01), 199: (1.7, 0.02)})
    rows = rows_of(tables.equal_loss([*made(), *late]))
    assert [row[-1] for row in rows] == ["-", "-", "-"]


def test_naming_is_paired_and_clustered_by_name():
    (row,) = rows_of(tables.naming(made()))
    assert row[:2] == ["1", "Wings at 0.0002 against LoRA at 0.0005"]
    # 20 of 40 names gain 5 of 50 answers: means of clusters, each of one weight, by SciPy.
    gains = [10.0 * (number % 2) for number in range(40)]
    low, high = stats.t.interval(0.95, 39, loc=5.0, scale=stats.sem(gains))
    assert row[4:] == ["+5.00", f"{low:+.2f} to {high:+.2f}", "yes"]


def test_names_need_the_same_questions():
    with pytest.raises(ValueError, match="compare two evaluations of one set"):
        clustered_difference({"fox": [1, 2]}, {"fox": [1, 3]})
    assert math.isnan(clustered_difference({"fox": [1, 2]}, {"fox": [2, 2]}).error)


def test_clusters_of_one_question_are_the_plain_paired_difference():
    first = {str(number): [int(number % 3 == 0), 1] for number in range(30)}
    second = {str(number): [int(number % 2 == 0), 1] for number in range(30)}
    found = clustered_difference(first, second)
    gains = [second[name][0] - first[name][0] for name in first]
    assert found.error == pytest.approx(stats.sem(gains))


def test_label_leak_is_shown_at_equal_steps():
    rows = rows_of(tables.leak(made()))
    assert [row[1:3] for row in rows] == [["100", "validation"], ["200", "validation"], ["200", "test"]]
    assert rows[0][3:7] == ["1.200", "0.200", "0.0200", "0.0200"]
    assert rows[2][3:9] == ["-", "-", "0.3000", "0.3000", "46.9", "41.9"]


def test_the_page_has_its_parts_and_its_twin(tmp_path):
    records = made()
    write_page(tmp_path / "page", records, "- run")
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    heads = [line for line in text.splitlines() if line.startswith("## ")]
    assert heads == ["## At the end", "## Is anything seen", "## Losses reached", "## Drift at equal loss of answers",
                     "## Naming, Wings against LoRA", "## Label leak off and on"]  # fmt: skip
    assert json.loads((tmp_path / "page.json").read_text(encoding="utf-8")) == records
    assert (tmp_path / "page.png").stat().st_size > 0
    assert "projector before" not in text.split("## Losses reached")[0]


def test_a_search_alone_has_a_page(tmp_path):
    write_page(tmp_path / "page", records_of("LoRA", 1e-3, 1, {99: (1.5, 0.01)}), "- run")
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "## Losses reached" in text
    assert "## Drift" not in text


@pytest.mark.parametrize("method", bench.METHODS)
def test_the_flags_of_a_method_are_yaml(method):
    rate = 0.0 if method in tables.FROZEN else 2e-4
    flags = [flag for flag in bench.command_of(bench.Run(method, rate, 1, 600))[2:] if "lr_factors" in flag]
    assert all(yaml.safe_load(flag.split("=", 1)[1])["projector"] > 0 for flag in flags)


def test_a_failed_run_keeps_no_other_back(capsys):
    def run(number):
        if number == 0:
            raise KeyError("projector")
        return number

    with ThreadPoolExecutor(1) as pool:
        ended = results([pool.submit(run, number) for number in range(3)])
    found = [next(ended), next(ended)]
    with pytest.raises(RuntimeError, match="1 of 3 runs failed"):
        next(ended)
    assert sorted(found) == [1, 2]
    assert "one failed: KeyError: 'projector'" in capsys.readouterr().err
