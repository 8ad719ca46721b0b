"""Report of an evaluation of conversations: task scores, drift from the untouched model, attention shift."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from vision_suite.errors import DataError
from vision_suite.metrics.instruct import answers, multiple_choice, tasks
from vision_suite.metrics.instruct.attention_shift import attention_shift
from vision_suite.metrics.instruct.collected import Collected
from vision_suite.metrics.instruct.iit import FOLDER, OWN
from vision_suite.metrics.instruct.shares import ERRORS, LARGEST_ERROR
from vision_suite.types.arrays import Floats
from vision_suite.types.instruct import InstructReport, Row, TaskScore

COUNTED = (
    f"a task counts where its score is above chance by more than {ERRORS:g} standard errors of guessing, and where "
    f"that error is at most {LARGEST_ERROR:g}"
)
MEANS = "means of the tasks that count; chains, and choices that are scored by likelihood too, are left out"

CHAINS = "the mean of chains is that of all, also of those that do not count, so that configurations can be compared"


def instruct_report(
    rows: Sequence[Row],
    collected: Collected,
    *,
    decode: Callable[[list[int]], str],
    protocol: Mapping[str, Any],
) -> InstructReport:
    """Score everything that was collected in an evaluation.

    ``metrics`` has ``accuracy/<task>``, ``f1/<task>`` of free text, ``perplexity/<task>``; ``accuracy`` and its parts
    ``accuracy_text`` and ``accuracy_pictures``, the means of the tasks that count; ``iit`` and ``iit_model_history``,
    the means over all chains, whether they count or not; ``kl`` (nats a token) and ``agreement`` with the untouched
    model, by task too where there are several texts; and ``attention_shift``. Numbers of what was not evaluated are
    left out.

    Args:
        rows: Rows of the split, by the index that was collected.
        collected: Results by index.
        decode: Text of ids, without special tokens.
        protocol: Facts of the data module; lines of its ``warnings`` stay before those of this evaluation.

    Raises:
        DataError: Nothing was collected, or a result fits no row.

    Example:
        >>> rows = [Row("a", source="facts", choices=("4", "5"), answer=0), Row("b", source="names", reference="fox")]
        >>> found = Collected(choices={0: np.array([-1.0, -2.0])}, answers={1: [7]})
        >>> report = instruct_report(rows, found, decode=lambda ids: "a fox", protocol={})
        >>> report.metrics["accuracy/facts"], report.metrics["accuracy/names"]
        (1.0, 1.0)
    """
    scored = tasks.scored_questions(rows, collected, decode)
    scores = [*tasks.question_scores(scored), *tasks.text_scores(rows, collected.text)]
    if not scores:
        raise DataError("no conversation was evaluated: the evaluation split has no question and no plain text")
    metrics = {f"{_unit(task)}/{task.name}": task.score for task in scores}
    for name, group in tasks.grouped(scored).items():
        if not group[0].choices:
            metrics[f"f1/{name}"] = float(np.mean([each.f1 for each in group]))
    metrics |= _means(scores, {each.answer["task"]: each.pictures > 0 for each in scored})
    metrics |= _drift(tasks.by_text_task(rows, collected.text))
    facts: dict[str, Any] = {**protocol, "counted": COUNTED, "means": MEANS, "scoring": _scoring(scores)}
    facts |= {"chains": CHAINS} if "iit" in metrics or "iit_model_history" in metrics else {}
    masses: Floats = np.zeros((0, 0, 4))
    if collected.masses:
        shapes = {each.shape for each in collected.masses.values()}
        if len(shapes) > 1:
            raise DataError(f"shares of attention of {sorted(shapes)} layers and groups: one model has one number")
        masses = np.stack(list(collected.masses.values()))
        shift = attention_shift(torch.from_numpy(masses))
        metrics["attention_shift"] = shift.value
        facts["attention"] = {"rows": len(masses), "correlated": shift.samples, "skipped": shift.skipped}
    found = {*(each.answer["index"] for each in scored), *collected.text}
    facts["rows"] = {"evaluated": len(found), "not_reached": len(rows) - len(found)}
    facts["warnings"] = [*protocol.get("warnings", ()), *tasks.cautions(scored)]
    return InstructReport(
        metrics=metrics,
        protocol=facts,
        tasks=tuple(scores),
        answers=tuple(each.answer for each in scored),
        masses=np.ma.masked_invalid(masses).mean(0).filled(math.nan).tolist() if len(masses) else [],
    )


def _unit(task: TaskScore) -> str:
    return "perplexity" if task.kind == "text" else "accuracy"


def _means(scores: Sequence[TaskScore], pictures: Mapping[str, bool]) -> dict[str, float]:
    """Means of the scores that count: of all, of those with and without pictures, and of chains."""
    names = {task.name for task in scores}
    questions = [
        task
        for task in scores
        if task.kind != "text"
        and not (task.name.endswith(tasks.GENERATE) and task.name.removesuffix(tasks.GENERATE) in names)
    ]
    chains = [task for task in questions if task.name.startswith(f"{FOLDER}/")]
    single = [task for task in questions if task not in chains]
    groups = {
        "accuracy": single,
        "accuracy_text": [task for task in single if not pictures[task.name]],
        "accuracy_pictures": [task for task in single if pictures[task.name]],
    }
    means = {name: [task.score for task in group if task.counted] for name, group in groups.items() if group}
    found = {name: float(np.mean(values)) if values else math.nan for name, values in means.items()}
    # Chains compare configurations, which a rule that drops one of them would hide.
    for name, own in (("iit", False), ("iit_model_history", True)):
        values = [task.score for task in chains if task.name.removesuffix(tasks.GENERATE).endswith(OWN) is own]
        found |= {name: float(np.mean(values))} if values else {}
    return found


def _drift(texts: Mapping[str, Floats]) -> dict[str, float]:
    """Drift a token over all texts for which the untouched model was run, and by task where there are several."""
    run = {name: sums[~np.isnan(sums[:, 2])] for name, sums in texts.items()}
    run = {name: sums for name, sums in run.items() if len(sums)}
    if not run:
        return {}
    parts = {"": np.concatenate(list(run.values()))} | (
        {f"/{name}": sums for name, sums in run.items()} if len(run) > 1 else {}
    )
    found: dict[str, float] = {}
    for name, sums in parts.items():
        _, tokens, kl, agreed = sums.sum(0)
        found |= {f"kl{name}": float(kl / tokens), f"agreement{name}": float(agreed / tokens)}
    return found


def _scoring(scores: Sequence[TaskScore]) -> dict[str, str]:
    """Rule by which each task is scored."""
    rules = {}
    for task in scores:
        if task.kind == "text":
            rules[task.name] = "perplexity of its tokens, the first one given"
        elif task.kind == "choice":
            rules[task.name] = multiple_choice.LOGLIK
        else:
            rules[task.name] = answers.EXACT if math.isnan(task.chance) else multiple_choice.GENERATE
    return rules


def mean_losses(rows: Sequence[Row], index: torch.Tensor, sums: torch.Tensor) -> dict[str, float]:
    """Mean loss per id of right answers and plain texts together, and of each kind where there are both.

    Args:
        rows: Rows of the split.
        index: (n,) int64 rows that were evaluated.
        sums: (n, 2) float64 sum of the losses in nats, and number of ids.

    Example:
        >>> rows = [Row("a", text="once upon"), Row("b", reference="fox")]
        >>> mean_losses(rows, torch.tensor([0, 1]), torch.tensor([[6.0, 2.0], [1.0, 2.0]]))
        {'loss': 1.75, 'loss_answers': 0.5, 'loss_text': 3.0}
    """
    plain = torch.tensor([bool(rows[number].text) for number in index.tolist()], dtype=torch.bool)
    parts = {"loss": torch.ones_like(plain)}
    if plain.any() and not plain.all():
        parts |= {"loss_answers": ~plain, "loss_text": plain}
    means = {name: sums[part].sum(0).tolist() for name, part in parts.items()}
    return {name: nll / max(tokens, 1.0) for name, (nll, tokens) in means.items()}
