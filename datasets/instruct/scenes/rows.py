"""Questions about Emoji-Scenes: what is shown, of what kind, is it there, how many, and the caption.

One function makes the question, its choices and the right answer; rows to train on and questions to evaluate are two
forms of it, so that a model is asked in the words it was taught.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from vision_suite.datasets.instruct.question_rows import (
    Question,
    choice_turn,
    conversation,
    free_turn,
    question_row,
    shuffled,
    stream_of,
)
from vision_suite.datasets.instruct.scenes.captions import QUESTION, Sentence, caption, text_of
from vision_suite.datasets.instruct.scenes.layout import Scene
from vision_suite.datasets.instruct.scenes.things import Thing

KIND_QUESTION = "What kind of thing is shown?"
NAME_QUESTION = "What is shown?"
COUNT_QUESTION = "How many things are there?"
COUNTS = ("one", "two", "three", "four", "five")
WRONG = 3  # wrong names to choose from


class Asked(NamedTuple):
    """A question about a picture.

    Attributes:
        id: Its id.
        task: Name of the task.
        image: Path of the picture.
        question: Text.
        answer: Right answer.
        choices: Answers to choose from, empty if it is free.
    """

    id: str
    task: str
    image: str
    question: str
    answer: str
    choices: tuple[str, ...] = ()


class Single(NamedTuple):
    """A picture of a single thing: the start of its ids, its path, the thing."""

    key: str
    image: str
    thing: Thing


def kinds(task: str, shown: Iterable[Single], words: Sequence[str]) -> list[Asked]:
    """The kind of a single thing, of a closed list; things without a kind are left out.

    Args:
        task: Name of the task.
        shown: Pictures.
        words: Every kind.
    """
    return [
        Asked(f"{task}-{each.key}", task, each.image, KIND_QUESTION, each.thing.kind, tuple(words))
        for each in shown
        if each.thing.kind
    ]


def free_names(task: str, shown: Iterable[Single]) -> list[Asked]:
    """The name of a single thing, to be written."""
    return [Asked(f"{task}-{each.key}", task, each.image, NAME_QUESTION, each.thing.words) for each in shown]


def chosen_names(seed: int, task: str, shown: Sequence[Single], things: Sequence[Thing]) -> list[Asked]:
    """The name of a single thing, of four names of different subgroups, in random order.

    Args:
        seed: Seed of the whole set.
        task: Name of the task.
        shown: Pictures.
        things: Things whose names are wrong choices.
    """
    asked = []
    for each in shown:
        generator = stream_of(seed, task, each.key)
        taken, wrong = {each.thing.subgroup}, list[str]()
        for place in generator.permutation(len(things)):
            other = things[int(place)]
            if other.subgroup not in taken and len(wrong) < WRONG:
                taken.add(other.subgroup)
                wrong.append(other.words)
        choices = tuple(shuffled(generator, each.thing.words, wrong))
        asked.append(Asked(f"{task}-{each.key}", task, each.image, NAME_QUESTION, each.thing.words, choices))
    return asked


def presence(seed: int, scenes: Iterable[Scene], things: Sequence[Thing]) -> list[Asked]:
    """Two questions on each scene, answered yes and no; half of the absent things are of a subgroup that is there.

    Args:
        seed: Seed of the whole set.
        scenes: Scenes.
        things: Things of their split.
    """
    asked = []
    for scene in scenes:
        generator = stream_of(seed, "presence", str(scene.number))
        shown = [placed.thing for placed in scene.placed]
        subgroups = {thing.subgroup for thing in shown}
        absent = [thing for thing in things if thing not in shown]
        alike = [thing for thing in absent if thing.subgroup in subgroups]
        pool = alike if alike and generator.random() < 0.5 else absent
        for answer, thing in (("yes", _pick(generator, shown)), ("no", _pick(generator, pool))):
            question = f"{'Are' if thing.plural else 'Is'} there {thing.phrase}?"
            name = f"yes-no-{scene.number:06d}-{answer}"
            asked.append(Asked(name, "yes-no", scene.file, question, answer, ("yes", "no")))
    return asked


def counts(scenes: Iterable[Scene], most: int) -> list[Asked]:
    """The number of things in each scene.

    Args:
        scenes: Scenes.
        most: Largest number of things.
    """
    return [
        Asked(
            f"count-{scene.number:06d}",
            "count",
            scene.file,
            COUNT_QUESTION,
            COUNTS[len(scene.placed) - 1],
            COUNTS[:most],
        )
        for scene in scenes
    ]


def captions(
    seed: int, scenes: Iterable[Scene], describe: Callable[[int, Scene], list[Sentence]] = caption
) -> list[Asked]:
    """The caption of each scene.

    Args:
        seed: Seed of the whole set.
        scenes: Scenes.
        describe: Function of seed and scene that gives the sentences.
    """
    return [
        Asked(f"caption-{scene.number:06d}", "caption", scene.file, QUESTION, text_of(describe(seed, scene)))
        for scene in scenes
    ]


def to_train(asked: Iterable[Asked]) -> list[dict[str, object]]:
    """Rows in LLaVA's form."""
    return [conversation(each.id, each.question, each.answer, image=each.image) for each in asked]


def to_evaluate(asked: Iterable[Asked]) -> list[Question]:
    """Rows of an evaluation."""
    rows = []
    for each in asked:
        images = [each.image]
        if each.choices:
            turn = choice_turn(each.task, each.question, each.choices, each.answer, images=images)
        else:
            turn = free_turn(each.task, each.question, each.answer, images=images)
        rows.append(question_row(each.id, turn))
    return rows


def _pick(generator: np.random.Generator, things: Sequence[Thing]) -> Thing:
    return things[int(generator.integers(len(things)))]
