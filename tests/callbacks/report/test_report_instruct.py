"""What a test of a language model leaves: table, answers, scores of tasks and pictures."""

import csv
import json
import math

import instruct_stub
import pytest
import torch
from PIL import Image
from rich.console import Console

from vision_suite.callbacks.report import instruct as view_module
from vision_suite.callbacks.report.base import Shown, view_of
from vision_suite.callbacks.report.writer import ReportWriter, print_table
from vision_suite.metrics.instruct.report import CHAINS, instruct_report
from vision_suite.metrics.instruct_metric import InstructMetric
from vision_suite.types.instruct import InstructReport, TaskScore


class LitAnswers(instruct_stub.LitTinyText):
    """Answers every question of one kind right and of the other wrong, and measures some text."""

    def __init__(self, data, *, masses=True):
        super().__init__(data)
        self.collected, self.masses = InstructMetric(), masses

    def test_step(self, batch, batch_idx):
        rows = self.data.rows("test")
        for index in batch["index"].tolist():
            row, place = rows[index], torch.tensor([index])
            if row.text:
                self.collected.add_text(place, *(torch.tensor([value]) for value in (9.0 + index % 2, 4, 0.2, 3)))
            elif row.choices:
                self.collected.add_choices(place, torch.tensor([[0.0, -1.0, -2.0, -3.0]]))
            else:
                ids = self.data.chat.answer(row.reference if index % 2 else "red", end_of_turn=False)
                self.collected.add_answers(place, torch.tensor([ids]))
            if row.images and self.masses:
                shares = torch.tensor([[0.5, 0.3, 0.0, 0.2], [0.4, 0.3, 0.0, 0.3], [0.1, 0.3, 0.0, 0.6]])
                self.collected.add_masses(place, shares[None])

    def on_test_epoch_end(self):
        rows, collected = self.data.rows("test"), self.collected.collected()
        self.report = instruct_report(rows, collected, decode=self.data.chat.decode, protocol=self.data.protocol)


@pytest.fixture
def data(tmp_path):
    return instruct_stub.questions(instruct_stub.write_questions(tmp_path / "squares"))


def evaluated(folder, data, **settings):
    module = LitAnswers(data, **settings)
    instruct_stub.trainer(folder, ReportWriter(queries=4)).test(module, data)
    return module.report, folder / "test"


def test_everything_is_stored_printed_and_drawn(tmp_path, data, capsys, monkeypatch):
    monkeypatch.setattr("rich.console.Console", lambda *a, **k: Console(width=300))
    sheets = []
    draw = view_module.answer_sheet
    monkeypatch.setattr(
        view_module, "answer_sheet", lambda asked, **words: (sheets.append(asked), draw(asked, **words))[1]
    )
    report, folder = evaluated(tmp_path, data)
    record = json.loads((folder / "metrics.json").read_text())
    assert record["task"] == "instruction_tuning"
    assert record["metrics"]["accuracy/colours"] == report.metrics["accuracy/colours"]
    assert record["metrics"]["perplexity/text"] == pytest.approx(math.exp(19 / 8))
    answers = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == 12
    assert {answer["task"] for answer in answers} == {"colours", "choices"}
    for answer in answers:
        if answer["task"] == "colours":
            assert answer["right"] == (answer["answer"] == answer["reference"])
            assert answer["answer"] == (answer["reference"] if answer["index"] % 2 else "red")
    tasks = {row["task"]: row for row in csv.DictReader((folder / "tasks.csv").open())}
    assert (tasks["choices"]["count"], tasks["choices"]["counted"]) == ("4", "False")
    assert tasks["colours"]["chance"] == ""
    shares = list(csv.DictReader((folder / "attention.csv").open()))
    assert [row["pictures"] for row in shares] == ["0.300000"] * 3
    for name in ("tasks", "attention", "answers"):
        assert Image.open(folder / f"{name}.png").width >= 900
    (asked,) = sheets
    assert len(asked) == 4
    assert all(len(each.pictures) == 1 for each in asked)
    assert {each.right for each in asked} == {True, False}
    printed = capsys.readouterr().out
    for words in (
        "text (perplexity)",
        "8 tokens",
        "KL 0.0500 nats",
        "the same likeliest token at 75.0 %",
        "attention shift",
    ):
        assert words in printed
    assert "error of guessing" in printed or "standard errors of guessing" in printed, "the rule that leaves a task out"


def test_without_attention_there_is_no_picture_of_it(tmp_path, data):
    _, folder = evaluated(tmp_path, data, masses=False)
    assert not (folder / "attention.png").exists()
    assert not (folder / "attention.csv").exists()


def test_names_of_tasks_are_whole_in_eighty_columns(monkeypatch, capsys):
    names = [
        "iit/TTV",
        "iit/TTV/model-history",
        "iit/TTV/model-history/generate",
        "a-source-with-a-rather-long-name" * 2,
    ]
    rows = [TaskScore(name, "choice", 12_000, 0.5, 0.01, 0.25, True) for name in names]
    text = TaskScore("pages", "text", 12_345, 37.29, 0.5, math.nan, True)
    facts = {"rows": {"not_reached": 0}, "chains": CHAINS}
    report = InstructReport({"iit": 0.5, "iit_model_history": 0.5}, facts, (*rows, text), (), [])
    monkeypatch.setattr("rich.console.Console", lambda *a, **k: Console(width=80))
    print_table(view_of(report), report, "t")
    printed = capsys.readouterr().out
    table = [line.split("│") for line in printed.splitlines() if "│" in line]
    assert all(len(line) <= 80 for line in printed.splitlines())
    assert "…" not in printed
    cells = [cells[1].strip() for cells in table]
    assert set(names[:2]) <= set(cells), "each on one line"
    assert all(name in "".join(cells) for name in names)
    assert {"all chains, mean", "with own answers, mean"} <= set(cells)
    assert "also of those that do not count" in " ".join(printed.split())


def test_the_view_is_found_and_half_of_the_answers_drawn_are_wrong(tmp_path, data):
    report, _ = evaluated(tmp_path, data)
    view = view_of(report)
    assert view.task == "instruction_tuning"
    chosen = view_module._chosen(report.answers, Shown(queries=4, pairs=1, seed=0))
    assert [answer["right"] for answer in chosen].count(False) == 2
    every = view_module._chosen(report.answers, Shown(queries=99, pairs=1, seed=0))
    assert len(every) == 12
