"""Questions as the reader of evaluations takes them: one JSON object a line, turns with choices or free answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Literal, TypedDict

import numpy as np

IMAGE = "<image>"  # where a picture stands in a text


class Turn(TypedDict, total=False):
    """One question of a row.

    ``kind``: ``T`` text alone, ``V`` about pictures; ``source``: name of its task; ``choices``: texts to choose from,
    not there if the answer is free; ``answer``: letter of the right choice, or free text; ``images``: paths below the
    folder of the set, as many as there are markers in ``question``.
    """

    kind: Literal["T", "V"]
    source: str
    question: str
    choices: list[str]
    answer: str
    images: list[str]


class Question(TypedDict):
    """A row of an evaluation: ``config`` joins the kinds of its turns, such as ``TTV``."""

    id: str
    config: str
    turns: list[Turn]


def stream_of(seed: int, *names: str) -> np.random.Generator:
    """A random stream of its own for each part of a set, so that a change of one part leaves the others as they are.

    Args:
        seed: Seed of the whole set.
        names: Names of the part.
    """
    digest = hashlib.sha256("/".join(names).encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])


def choice_turn(source: str, question: str, choices: Sequence[str], right: str, *, images: Sequence[str] = ()) -> Turn:
    """A question with choices in the given order.

    Args:
        source: Name of its task.
        question: Text; markers of pictures are put before it.
        choices: Different texts.
        right: The right one.
        images: Paths of its pictures.

    Raises:
        ValueError: Two choices are equal, or none is right.
    """
    if len(set(choices)) != len(choices):
        raise ValueError(f"two choices of {question!r} are equal: {list(choices)}")
    return {
        **_turn(source, question, images),
        "choices": list(choices),
        "answer": ascii_uppercase[list(choices).index(right)],
    }


def free_turn(source: str, question: str, answer: str, *, images: Sequence[str] = ()) -> Turn:
    """A question with a free answer; arguments as `choice_turn`."""
    return {**_turn(source, question, images), "answer": answer}


def _turn(source: str, question: str, images: Sequence[str]) -> Turn:
    turn: Turn = {"kind": "V" if images else "T", "source": source, "question": f"{IMAGE}\n" * len(images) + question}
    if images:
        turn["images"] = list(images)
    return turn


def shuffled(generator: np.random.Generator, right: str, wrong: Iterable[str]) -> list[str]:
    """The choices of a question in random order."""
    choices = [right, *wrong]
    return [choices[place] for place in generator.permutation(len(choices))]


def question_row(name: str, *turns: Turn) -> Question:
    """A row of one or several turns.

    Args:
        name: Its id, unique in the file.
        turns: Turns in order.
    """
    return {"id": name, "config": "".join(turn["kind"] for turn in turns), "turns": list(turns)}


def right_answer(turn: Turn) -> str:
    """The text of the right answer, whether there are choices or not."""
    return turn["choices"][ascii_uppercase.index(turn["answer"])] if "choices" in turn else turn["answer"]


def conversation(name: str, asked: str, answered: str, *, image: str | None = None) -> dict[str, object]:
    """A row to train on in LLaVA's form.

    Args:
        name: Its id.
        asked: Turn of the user; the picture's marker is put before it.
        answered: Turn of the assistant.
        image: Path of its picture below the folder of the set; None for text alone.
    """
    text = asked if image is None else f"{IMAGE}\n{asked}"
    turns = [{"from": "human", "value": text}, {"from": "gpt", "value": answered}]
    return {"id": name, **({} if image is None else {"image": image}), "conversations": turns}


def write_lines(path: Path, rows: Iterable[Mapping[str, object]]) -> int:
    """Write a JSONL file and return the number of its rows."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")
    return len(lines)


def write_list(path: Path, rows: Sequence[Mapping[str, object]]) -> int:
    """Write a JSON list, one row a line, and return the number of its rows."""
    body = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text(f"[\n{body}\n]\n", encoding="utf-8")
    return len(rows)


def numbers(rows: Sequence[Question]) -> dict[str, int]:
    """Number of questions by the source of their last turn, for a manifest."""
    counts: dict[str, int] = {}
    for row in rows:
        source = row["turns"][-1]["source"]
        counts[source] = counts.get(source, 0) + 1
    return dict(sorted(counts.items()))
