"""Results of conversations: gathered once each, and scored into a report."""

import json
import math
from dataclasses import replace
from pathlib import Path

import children
import numpy as np
import pytest
import torch

from vision_suite.errors import DataError
from vision_suite.metrics.instruct.collected import Collected
from vision_suite.metrics.instruct.report import instruct_report
from vision_suite.metrics.instruct_metric import InstructMetric
from vision_suite.types.instruct import ImageRef, Message, Row

WORDS = ["a", "cat", "dog", "B", "fox", "red", "A"]


def decode(ids):
    return " ".join(WORDS[number] for number in ids)


def asked(text, *, picture=False):
    return (Message("user", (0, text) if picture else (text,)),)


def question(number, *, answer=0, source="facts", picture=False, config=""):
    images = (ImageRef(Path("x.png")),) if picture else ()
    asked_ = asked(f"question {number}?", picture=picture)
    return Row(f"q{number}", asked_, images, source, ("a cat", "a dog"), answer, config=config)


def scores(*rights):
    """Log-probabilities of two choices, the higher one where a row's right answer is."""
    return torch.tensor([[-1.0, -2.0] if right == 0 else [-2.0, -1.0] for right in rights])


def test_a_report_of_everything():
    rows = [question(n, answer=n % 2, config="T") for n in range(400)]
    rows += [
        Row(f"n{n}", asked("Name it.", picture=True), (ImageRef(Path("x")),), "names", reference="red fox")
        for n in range(4)
    ]
    rows += [Row(f"p{n}", source="pages", text="some text") for n in range(2)]
    rows += [question(0, source="x", config="TV", picture=True)]
    metric = InstructMetric()
    chosen = [n % 2 if n < 300 else 0 for n in range(400)]  # 300 + 50 right
    for start in range(0, 400, 100):
        metric.add_choices(torch.arange(start, start + 100), scores(*chosen[start : start + 100]))
    metric.add_answers(torch.tensor([403, 400]), torch.tensor([[5, 4, -1], [4, -1, -1]]))
    metric.add_answers(torch.tensor([401, 402]), torch.tensor([[0, 5, 4], [-1, -1, -1]]))
    metric.add_text(
        torch.tensor([404]), torch.tensor([20.0]), torch.tensor([10]), torch.tensor([0.5]), torch.tensor([9])
    )
    metric.add_text(
        torch.tensor([405]), torch.tensor([10.0]), torch.tensor([10]), torch.tensor([0.1]), torch.tensor([10])
    )
    metric.add_choices(torch.tensor([406]), scores(0))
    metric.add_choices(torch.tensor([406]), scores(1), own_history=True)
    masses = torch.tensor([[[0.2, 0.3, 0.0, 0.5], [0.3, 0.3, 0.0, 0.4], [0.6, 0.3, 0.0, 0.1]]])
    metric.add_masses(torch.tensor([400]), masses)
    report = instruct_report(rows, metric.collected(), decode=decode, protocol={"root": "r", "warnings": ["before"]})
    assert report.metrics == pytest.approx(
        {
            "accuracy/facts": 350 / 400,
            "accuracy/names": 0.5,
            "accuracy/iit/TV": 1.0,
            "accuracy/iit/TV/model-history": 0.0,
            "perplexity/pages": math.exp(1.5),
            "f1/names": (1 + 1 + 2 / 3 + 0) / 4,
            "accuracy": (350 / 400 + 0.5) / 2,
            "accuracy_text": 350 / 400,
            "accuracy_pictures": 0.5,
            "iit": 1.0,
            "iit_model_history": 0.0,
            "kl": 0.03,
            "agreement": 0.95,
            "attention_shift": 1 - np.corrcoef([0.2, 0.3, 0.6], [0.5, 0.4, 0.1])[0, 1],
        }
    )
    tasks = {task.name: task for task in report.tasks}
    assert tasks["facts"].error == pytest.approx(math.sqrt(0.875 * 0.125 / 400))
    assert (tasks["facts"].chance, tasks["facts"].counted) == (0.5, True)
    assert not tasks["iit/TV"].counted
    assert tasks["pages"].count == 20
    # two texts of equal length: the error of the mean of 2 and 1 nats, times the perplexity
    assert tasks["pages"].error == pytest.approx(math.exp(1.5) * np.std([2, 1], ddof=1) / math.sqrt(2))
    assert np.array(report.masses) == pytest.approx(masses[0].numpy())
    named = {answer["id"]: answer for answer in report.answers if answer["task"] == "names"}
    assert named["n1"]["answer"] == "a red fox"
    assert named["n1"]["right"]
    assert (named["n2"]["answer"], named["n2"]["right"]) == ("", False)
    assert named["n0"]["question"] == "<image> Name it."
    assert report.protocol["rows"] == {"evaluated": 407, "not_reached": 0}
    assert report.protocol["attention"] == {"rows": 1, "correlated": 1, "skipped": 0}
    assert report.protocol["warnings"] == ["before"]


def test_chains_follow_each_other_by_configuration():
    configs = ("TV", "T", "", "TTV", "TTT")
    rows = [Row(f"iit-{number}", source="facts", choices=("a", "b"), answer=0, config=config)
            for number, config in enumerate(configs)]  # fmt: skip
    scores = {number: np.array([0.0, -1.0]) for number in range(5)}
    own = {number: np.array([0.0, -1.0]) for number in (0, 4)}
    report = instruct_report(rows, Collected(choices=scores, own_choices=own), decode=str, protocol={})
    assert [task.name for task in report.tasks] == [
        "facts", "iit/T", "iit/TTT", "iit/TTV", "iit/TV", "iit/TTT/model-history", "iit/TV/model-history",
    ]  # fmt: skip


def test_means_of_chains_are_of_all_by_one_way_of_scoring():
    rows = [
        Row(f"iit-{n}", source="facts", choices=("a", "b"), answer=n % 2, config="TTV"[n % 2 :]) for n in range(400)
    ]
    likely = {n: np.array([0.0, -1.0]) for n in range(400)}  # all "a": TTV right, TV wrong and so not counted
    written = {n: [4] for n in range(400)}  # names no choice
    report = instruct_report(rows, Collected(choices=likely, answers=written), decode=decode, protocol={})
    found = {task.name: (task.score, task.counted) for task in report.tasks}
    assert (found["iit/TTV"], found["iit/TV"]) == ((1.0, True), (0.0, False))
    assert found["iit/TTV/generate"] == (0.0, False)
    assert report.metrics["iit"] == 0.5
    assert "accuracy" not in report.metrics
    assert "also of those that do not count" in report.protocol["chains"]


def test_written_choices_stand_beside_those_by_likelihood_and_are_in_no_mean():
    rows = [question(n, answer=n % 2) for n in range(400)]
    metric = InstructMetric()
    index = torch.arange(400)
    metric.add_choices(index, scores(*(n % 2 for n in range(400))))
    metric.add_answers(index, torch.tensor([[3] if n % 2 else [4] for n in range(400)]))  # "B", or "fox": no choice
    report = instruct_report(rows, metric.collected(), decode=decode, protocol={})
    assert report.metrics["accuracy/facts/generate"] == 0.5
    assert report.metrics["accuracy"] == 1.0
    assert report.protocol["warnings"] == ["200 of 400 answers of facts/generate name no choice: they count as wrong"]
    assert report.protocol["scoring"]["facts/generate"].startswith("generate: greedy")
    # alone, the written ones are the task
    alone = InstructMetric()
    alone.add_answers(index, torch.tensor([[3] if n % 2 else [6] for n in range(400)]))
    assert instruct_report(rows, alone.collected(), decode=decode, protocol={}).metrics["accuracy"] == 1.0


def test_one_choice_for_all_and_scores_that_are_no_numbers_are_told():
    rows = [question(n, answer=n % 2) for n in range(20)]
    metric = InstructMetric()
    metric.add_choices(torch.arange(20), scores(*[1] * 20))
    report = instruct_report(rows, metric.collected(), decode=decode, protocol={})
    told = "all 20 answers of facts are choice 2: the model tells nothing apart"
    assert report.protocol["warnings"] == [f"{told}; it may know texts and no letters: try choices: texts"]
    texts = [replace(row, lettered=False) for row in rows]
    assert instruct_report(texts, metric.collected(), decode=decode, protocol={}).protocol["warnings"] == [told]
    assert math.isnan(report.metrics["accuracy"]), "a task at chance is in no mean"
    metric.reset()
    metric.add_choices(torch.arange(2), torch.tensor([[-1.0, math.nan], [-2.0, -1.0]]))
    report = instruct_report(rows, metric.collected(), decode=decode, protocol={})
    assert report.metrics["accuracy/facts"] == 0.5
    assert "1 of 2 answers of facts have a log-probability that is not a number" in report.protocol["warnings"][0]
    assert report.protocol["rows"] == {"evaluated": 2, "not_reached": 18}


def test_a_result_that_fits_no_row_is_refused():
    metric = InstructMetric()
    with pytest.raises(DataError, match="no conversation was evaluated"):
        metric.collected()
    metric.add_choices(torch.tensor([3]), scores(0))
    rows = [question(0)]
    with pytest.raises(DataError, match="row 3 of 1"):
        instruct_report(rows, metric.collected(), decode=decode, protocol={})
    metric.reset()
    metric.add_choices(torch.tensor([0]), torch.tensor([[-1.0]]))
    with pytest.raises(DataError, match="2 choices and 1 log-prob"):
        instruct_report(rows, metric.collected(), decode=decode, protocol={})
    metric.reset()
    metric.add_answers(torch.tensor([0]), torch.tensor([[1]]))
    with pytest.raises(DataError, match="neither choices nor a reference"):
        instruct_report([Row("a", asked("?"))], metric.collected(), decode=decode, protocol={})


def test_an_empty_batch_and_a_row_seen_twice():
    metric = InstructMetric()
    metric.add_answers(torch.zeros(0, dtype=torch.long), torch.zeros(0, 3, dtype=torch.long))
    metric.add_answers(torch.tensor([5, 1]), torch.tensor([[1, 2, -1], [-1, -1, -1]]))
    metric.add_answers(torch.tensor([5]), torch.tensor([[3, 3, 3]]))
    assert metric.collected().answers == {1: [], 5: [1, 2]}
    with pytest.raises(DataError, match="one line of numbers a row"):
        metric.add_choices(torch.tensor([1, 2]), torch.zeros(1, 2))


def two(folder):
    """Collect in two processes: rank 1 has no text, and repeats a row of rank 0."""
    import os

    import torch.distributed as dist

    rank = int(os.environ["RANK"])
    dist.init_process_group("gloo")
    metric = InstructMetric()
    if rank == 0:
        metric.add_choices(torch.tensor([0, 2]), torch.tensor([[-1.0, -2.0], [-3.0, -2.0]]))
        metric.add_text(torch.tensor([4]), torch.tensor([2.0]), torch.tensor([3]))
    else:
        metric.add_choices(torch.tensor([1, 0]), torch.tensor([[-7.0, -8.0], [-9.0, -9.0]]))
        metric.add_answers(torch.tensor([3]), torch.tensor([[8, -1]]))
    found = metric.collected()
    plain = {key: value.tolist() for key, value in found.choices.items()}
    text = {"choices": plain, "answers": found.answers, "tokens": found.text[4][:2].tolist()}
    (folder / f"{rank}.json").write_text(json.dumps(text))
    dist.destroy_process_group()


@pytest.mark.dist
def test_two_processes_collect_each_row_once(tmp_path):
    assert children.run(two, tmp_path, ranks=2, timeout=60) == [0, 0]
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert found[0] == found[1]
    assert found[0]["choices"] == {"0": [-1.0, -2.0], "1": [-7.0, -8.0], "2": [-3.0, -2.0]}
    assert (found[0]["answers"], found[0]["tokens"]) == ({"3": [8]}, [2.0, 3.0])
