"""Scores of tasks: answered questions grouped by task, and plain texts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vision_suite.errors import DataError
from vision_suite.metrics.instruct.answers import same_answer, word_f1
from vision_suite.metrics.instruct.collected import Collected
from vision_suite.metrics.instruct.forgetting import perplexity
from vision_suite.metrics.instruct.iit import FOLDER, OWN, History, chain_task
from vision_suite.metrics.instruct.multiple_choice import NO_CHOICE, likeliest, parsed
from vision_suite.metrics.instruct.shares import beats_chance, chance_of, share_error
from vision_suite.types.arrays import Floats
from vision_suite.types.instruct import Answer, Row, TaskScore

GENERATE = "/generate"  # behind the name of a task whose choices are read from written answers
PICTURE = "<image>"
FEW = 10  # questions; of fewer, all may be answered alike by chance


@dataclass(frozen=True)
class Scored:
    """One answered question.

    Attributes:
        answer: What was asked, answered and right.
        kind: Way of scoring.
        choice: Index of the chosen answer, -1 for none; in free text always -1.
        choices: Number of choices, 0 for free text.
        f1: Agreement of words with the reference, NaN for a question with choices.
        pictures: Number of pictures of the conversation.
        lettered: Whether the question lists its choices by letters.
    """

    answer: Answer
    kind: Literal["choice", "answer"]
    choice: int
    choices: int
    f1: float
    pictures: int
    lettered: bool = False


def question_of(row: Row) -> str:
    """Text of the last question of a row, with a mark for each picture.

    Example:
        >>> from vision_suite.types.instruct import Message
        >>> question_of(Row("a", (Message("user", (0, "What is shown?")),)))
        '<image> What is shown?'
    """
    last = next((message for message in reversed(row.messages) if message.role == "user"), None)
    parts = () if last is None else last.parts
    return " ".join((PICTURE if isinstance(part, int) else part).strip() for part in parts)


def task_of(row: Row, history: History = "gold") -> str:
    """Name of the task of a row: its source, or the configuration of a chain.

    Example:
        >>> task_of(Row("a", source="facts", config="T")), task_of(Row("b", source="facts", config="TT"))
        ('facts', 'iit/TT')
    """
    return chain_task(row.config, history) if row.is_chain else row.source or "questions"


def scored_questions(rows: Sequence[Row], collected: Collected, decode: Callable[[list[int]], str]) -> list[Scored]:
    """Answered questions, by index and way of scoring.

    Args:
        rows: Rows of the split.
        collected: Results by index of the row.
        decode: Text of ids, without special tokens.

    Raises:
        DataError: A result is of no row, or of one that is no question; a row has more choices than log-probabilities.

    Example:
        >>> rows = [Row("a", source="facts", choices=("4", "5"), answer=0)]
        >>> found = scored_questions(rows, Collected(choices={0: np.array([-1.0, -2.0])}), str)
        >>> found[0].answer["answer"], found[0].answer["right"]
        ('4', True)
    """
    found: list[Scored] = []
    histories: tuple[tuple[History, dict[int, Floats], dict[int, list[int]]], ...] = (
        ("gold", collected.choices, collected.answers),
        ("model", collected.own_choices, collected.own_answers),
    )
    for history, choices, answers in histories:
        for index, scores in choices.items():
            found.append(_chosen(index, _row(rows, index), scores, history))
        for index, ids in answers.items():
            found.append(_written(index, _row(rows, index), decode(ids), history))
    return sorted(found, key=lambda each: each.answer["index"])


def question_scores(scored: Iterable[Scored]) -> list[TaskScore]:
    """Scores of the tasks of answered questions, in the order in which tasks first occur, chains last and sorted.

    Args:
        scored: Answered questions.

    Raises:
        DataError: A task has questions with choices and others without.

    Example:
        >>> rows = [Row("a", source="names", reference="fox"), Row("b", source="names", reference="car")]
        >>> found = scored_questions(rows, Collected(answers={0: [1], 1: [1]}), lambda ids: "a fox")
        >>> [(task.name, task.score) for task in question_scores(found)]
        [('names', 0.5)]
    """
    tasks = []
    for name, group in grouped(scored).items():
        count = len(group)
        if len({each.choices > 0 for each in group}) > 1:
            raise DataError(f"task {name!r} has questions with and without choices: give them sources of their own")
        score = sum(each.answer["right"] for each in group) / count
        chance, guessing = chance_of([each.choices for each in group]) if group[0].choices else (math.nan, math.nan)
        counted = beats_chance(score, chance, guessing)
        tasks.append(TaskScore(name, group[0].kind, count, score, share_error(score, count), chance, counted))
    return sorted(tasks, key=_order)


def text_scores(rows: Sequence[Row], texts: dict[int, Floats]) -> list[TaskScore]:
    """Perplexities of plain texts by task; ``count`` is the number of tokens.

    The standard error is that of a ratio over texts, since tokens of one text are not independent; NaN for a single
    one.

    Args:
        rows: Rows of the split.
        texts: Sums of each text, see `Collected`.

    Example:
        >>> rows = [Row("a", source="pages", text="some text")]
        >>> sums = {0: np.array([10 * math.log(8.0), 10.0, math.nan, math.nan])}
        >>> round(text_scores(rows, sums)[0].score, 6)
        8.0
    """
    return [_perplexity(name, sums) for name, sums in by_text_task(rows, texts).items()]


def by_text_task(rows: Sequence[Row], texts: dict[int, Floats]) -> dict[str, Floats]:
    """Sums (n, 4) of the texts of each task.

    Example:
        >>> rows = [Row("a", source="pages", text="one"), Row("b", source="pages", text="two")]
        >>> by_text_task(rows, {0: np.ones(4), 1: np.ones(4)})["pages"].shape
        (2, 4)
    """
    found: dict[str, list[Floats]] = {}
    for index, sums in texts.items():
        found.setdefault(task_of(_row(rows, index)), []).append(sums)
    return {name: np.stack(sums) for name, sums in found.items()}


def grouped(scored: Iterable[Scored]) -> dict[str, list[Scored]]:
    """Answered questions by task.

    Example:
        >>> rows = [Row("a", source="names", reference="fox"), Row("b", source="colours", reference="red")]
        >>> list(grouped(scored_questions(rows, Collected(answers={0: [1], 1: [1]}), lambda ids: "red")))
        ['names', 'colours']
    """
    found: dict[str, list[Scored]] = {}
    for each in scored:
        found.setdefault(each.answer["task"], []).append(each)
    return found


def cautions(scored: Iterable[Scored]) -> list[str]:
    """Lines about answers that mean nothing.

    Example:
        >>> rows = [Row("a", source="facts", choices=("4", "5"), answer=0)]
        >>> cautions(scored_questions(rows, Collected(answers={0: [1]}), lambda ids: "no idea"))
        ['1 of 1 answers of facts/generate name no choice: they count as wrong']
    """
    lines = []
    for name, group in grouped(scored).items():
        total, choices = len(group), Counter(each.choice for each in group)
        if not group[0].choices:
            continue
        without = choices.pop(NO_CHOICE, 0)
        if without:
            reason = "have a log-probability that is not a number" if group[0].kind == "choice" else "name no choice"
            lines.append(f"{without} of {total} answers of {name} {reason}: they count as wrong")
        right = {each.answer["reference"] for each in group}
        if total >= FEW and len(choices) == 1 and not without and len(right) > 1 and max(e.choices for e in group) > 1:
            number = next(iter(choices)) + 1
            hint = "; it may know texts and no letters: try choices: texts" if all(e.lettered for e in group) else ""
            lines.append(f"all {total} answers of {name} are choice {number}: the model tells nothing apart{hint}")
    return lines


def _order(task: TaskScore) -> tuple[bool, bool, str]:
    """Place of a task: chains behind the others, by configuration, those with the model's own history last."""
    chain = task.name.startswith(f"{FOLDER}/")
    return chain, OWN in task.name, task.name if chain else ""


def _row(rows: Sequence[Row], index: int) -> Row:
    if not 0 <= index < len(rows):
        raise DataError(f"a result of row {index} of {len(rows)}: evaluate with the rows that the batches number")
    return rows[index]


def _chosen(index: int, row: Row, scores: Floats, history: History) -> Scored:
    """A question whose likeliest choice counts."""
    if not row.choices or len(scores) < len(row.choices):
        raise DataError(
            f"row {row.id!r} has {len(row.choices)} choices and {len(scores)} log-probabilities: give one for each"
        )
    choice = likeliest(scores[: len(row.choices)].tolist())
    text = row.choices[choice] if choice != NO_CHOICE else ""
    answer = _answer(index, row, task_of(row, history), text, _right(row), choice == row.answer)
    return Scored(answer, "choice", choice, len(row.choices), math.nan, len(row.images), row.lettered)


def _right(row: Row) -> str:
    """Text of the right choice."""
    if row.answer < 0:
        raise DataError(f"row {row.id!r} has no right choice: its answer cannot be judged")
    return row.choices[row.answer]


def _written(index: int, row: Row, text: str, history: History) -> Scored:
    """A question whose written answer counts."""
    task = task_of(row, history)
    if row.choices:
        choice = parsed(text, row.choices, lettered=row.lettered).choice
        answer = _answer(index, row, task + GENERATE, text, _right(row), choice == row.answer)
        return Scored(answer, "answer", choice, len(row.choices), math.nan, len(row.images), row.lettered)
    if not row.reference:
        raise DataError(f"row {row.id!r} has neither choices nor a reference: its answer cannot be judged")
    answer = _answer(index, row, task, text, row.reference, same_answer(text, row.reference))
    return Scored(answer, "answer", NO_CHOICE, 0, word_f1(text, row.reference), len(row.images))


def _answer(index: int, row: Row, task: str, text: str, reference: str, right: bool) -> Answer:
    return {
        "index": index,
        "id": row.id,
        "task": task,
        "question": question_of(row),
        "answer": text,
        "reference": reference,
        "right": bool(right),
    }


def _perplexity(name: str, sums: Floats) -> TaskScore:
    """Perplexity of texts (n, 4), with its standard error."""
    nll, tokens = sums[:, 0], sums[:, 1]
    value, count = perplexity(nll.sum(), tokens.sum()), len(sums)
    error = math.nan
    if count > 1:
        rest = nll - nll.sum() / tokens.sum() * tokens
        error = float(value * math.sqrt((rest**2).sum() * count / (count - 1)) / tokens.sum())
    return TaskScore(name, "text", int(tokens.sum()), value, error, math.nan, True)
