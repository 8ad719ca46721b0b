"""Reports of language models that read pictures: the table of tasks, answers, bars, attention through the layers."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
from PIL import Image

from vision_suite.callbacks.report.base import ReportView, Rows, Shown, percent
from vision_suite.datasets.base import BaseData
from vision_suite.datasets.conversations.pictures import read_picture
from vision_suite.datasets.instruct.data import InstructData
from vision_suite.errors import DataError
from vision_suite.types.data import EvaluationStage
from vision_suite.types.instruct import Answer, InstructReport, Row, TaskScore
from vision_suite.viz.instruct import GROUPS, Asked, answer_sheet, mass_curves, task_bars

MEANS = {
    "accuracy": "mean",
    "accuracy_text": "mean, text alone",
    "accuracy_pictures": "mean, with pictures",
    "iit": "all chains, mean",
    "iit_model_history": "with own answers, mean",
}
SPLITS: dict[str, EvaluationStage] = {"test": "test", "validate": "validate"}


class InstructView(ReportView[InstructReport]):
    """Shows evaluations of language models that read pictures."""

    kind = InstructReport
    task = "instruction_tuning"

    def table(self, report: InstructReport) -> tuple[list[str], Rows]:
        """Score, standard error and chance of each task, and their means; perplexities are no percentages."""
        rows = [_row(task) for task in report.tasks]
        rows += [
            [name, "", percent(report.metrics[key]), "", "", ""] for key, name in MEANS.items() if key in report.metrics
        ]
        return ["task", "questions", "right", "± s.e.", "chance", "counts"], rows

    def note(self, report: InstructReport) -> str:
        """Perplexities, drift from the untouched model, attention shift, and the rules of the means."""
        metrics, facts = report.metrics, report.protocol
        parts = [
            f"perplexity of {task.name} {task.score:.2f} ± {_number(task.error)} over {task.count} tokens"
            for task in report.tasks
            if task.kind == "text"
        ]
        if "kl" in metrics:
            parts.append(
                f"from the untouched model: KL {metrics['kl']:.4f} nats a token, the same likeliest token at "
                f"{percent(metrics['agreement'])} %"
            )
        if "attention_shift" in metrics:
            attention = facts["attention"]
            parts.append(
                f"attention shift {_number(metrics['attention_shift'])} over {attention['correlated']} conversations "
                f"({attention['skipped']} without text on both sides of a picture, or with too few layers)"
            )
        parts += [facts["counted"]] if any(not task.counted for task in report.tasks) else []
        parts += [facts["chains"]] if "chains" in facts else []
        left = facts["rows"]["not_reached"]
        parts += [f"{left} of {left + facts['rows']['evaluated']} rows not reached"] if left else []
        parts.append("every answer: answers.jsonl")
        return "; ".join(parts)

    def files(self, report: InstructReport) -> dict[str, str]:
        """Every answer, the scores of tasks, and the shares of attention by layer."""
        lines = [json.dumps(answer, ensure_ascii=False, allow_nan=False) for answer in report.answers]
        found = {"answers.jsonl": "".join(f"{line}\n" for line in lines), "tasks.csv": _tasks_file(report.tasks)}
        if report.masses:
            table = io.StringIO()
            writer = csv.writer(table, lineterminator="\n")
            writer.writerow(["layer", *GROUPS])
            for layer, shares in enumerate(report.masses, start=1):
                writer.writerow([layer, *(f"{share:.6f}" for share in shares)])
            found["attention.csv"] = table.getvalue()
        return found

    def pictures(
        self, report: InstructReport, data: BaseData, stage: str, title: str, shown: Shown
    ) -> dict[str, Image.Image]:
        """Bars of tasks, attention through the layers, and some answers drawn at random, half of them wrong ones."""
        pictures = {}
        questions = [task for task in report.tasks if task.kind != "text"]
        if questions:
            pictures["tasks"] = task_bars(questions, title=title)
        if report.masses:
            shift = report.metrics["attention_shift"]
            rows = report.protocol["attention"]["rows"]
            pictures["attention"] = mass_curves(np.array(report.masses), title=title, shift=shift, rows=rows)
        if isinstance(data, InstructData) and report.answers:
            chosen = _chosen(report.answers, shown)
            right = sum(answer["right"] for answer in report.answers)
            every = data.rows(SPLITS[stage])
            asked = [_asked(answer, every[answer["index"]]) for answer in chosen]
            total = len(report.answers)
            line = f"{len(asked)} answers, half of them wrong ones where possible; {right} of all {total} are right"
            pictures["answers"] = answer_sheet(asked, title=title, subtitle=line)
        return pictures


def _row(task: TaskScore) -> list[str]:
    if task.kind == "text":
        return [f"{task.name} (perplexity)", f"{task.count} tokens", f"{task.score:.2f}", _number(task.error), "", ""]
    counts = "yes" if task.counted else "no"
    return [task.name, str(task.count), percent(task.score), percent(task.error), percent(task.chance), counts]


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "-"


def _tasks_file(tasks: tuple[TaskScore, ...]) -> str:
    """Scores of tasks as CSV; shares are fractions of one, and what is not defined is empty."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["task", "kind", "count", "score", "standard_error", "chance", "counted"])
    for task in tasks:
        numbers = [f"{value:.6f}" if math.isfinite(value) else "" for value in (task.score, task.error, task.chance)]
        writer.writerow([task.name, task.kind, task.count, *numbers, task.counted])
    return table.getvalue()


def _chosen(answers: tuple[Answer, ...], shown: Shown) -> list[Answer]:
    """Answers drawn at random, half of them wrong where there are as many, by task and index."""
    rng = np.random.default_rng(shown.seed)
    wrong, right = ([n for n, answer in enumerate(answers) if answer["right"] is kind] for kind in (False, True))
    half = min(len(wrong), max(shown.queries // 2, shown.queries - len(right)))
    picked = [*rng.permutation(wrong)[:half], *rng.permutation(right)[: shown.queries - half]]
    return [answers[int(number)] for number in sorted(picked)]


def _asked(answer: Answer, row: Row) -> Asked:
    pictures = []
    for ref in row.images:
        try:
            pictures.append(read_picture(ref))
        except DataError:  # counted and reported when the stage began; the question stands without it
            continue
    return Asked(answer["question"], answer["answer"], answer["reference"], answer["right"], pictures, answer["task"])
