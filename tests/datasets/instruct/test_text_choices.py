"""Text-choices: made of small tables in the archives' form, and the real set where it is prepared."""

import json
from collections import Counter

import pytest

from vision_suite.datasets.emoji.plan import load_plan
from vision_suite.datasets.instruct import text_choices
from vision_suite.datasets.instruct.question_rows import right_answer
from vision_suite.datasets.instruct.text_choices_recipe import EMOJI, RECIPE
from vision_suite.datasets.prepare.fetch import data_dir
from vision_suite.errors import DataError


def made_up(count=60):
    """Items of two tasks: one with a pool of wrong answers, one with a fixed list of three that is right unequally."""
    names = [f"word{number}" for number in range(count)]
    kinds = ["red"] * (count // 2) + ["green"] * (count // 3) + ["blue"] * (count - count // 2 - count // 3)
    lists = [("red", ["green", "blue"]), ("green", ["red", "blue"]), ("blue", ["red", "green"])]
    return {
        "names": [(name, f"Which is {name}?", name, [other for other in names if other != name]) for name in names],
        "kinds": [(name, f"Kind of {name}?", kind, dict(lists)[kind]) for name, kind in zip(names, kinds, strict=True)],
    }


def test_questions_are_right_different_and_in_one_split(monkeypatch):
    monkeypatch.setattr(text_choices, "tasks", lambda members: made_up())
    found = text_choices.make_questions({}, {"val": 3, "test": 9})
    assert found == text_choices.make_questions({}, {"val": 3, "test": 9}), "the same each time"
    words = {}
    for split, size in (("val", 3), ("test", 9)):
        turns = [row["turns"][0] for row in found[split]]
        assert Counter(turn["source"] for turn in turns) == {"names": size, "kinds": size}
        names = [turn for turn in turns if turn["source"] == "names"]
        assert all(turn["question"] == f"Which is {right_answer(turn)}?" for turn in names)
        assert all(len(turn["choices"]) == 4 for turn in names)
        assert len({row["id"] for row in found[split]}) == 2 * size
        words[split] = {turn["question"].split()[-1].rstrip("?") for turn in turns}
    assert not words["val"] & words["test"]


def test_each_choice_of_a_fixed_list_is_right_equally_often(monkeypatch):
    monkeypatch.setattr(text_choices, "tasks", lambda members: {"kinds": made_up()["kinds"]})
    (rows,) = text_choices.make_questions({}, {"test": 12}).values()
    assert Counter(right_answer(row["turns"][0]) for row in rows) == {"red": 4, "green": 4, "blue": 4}


def test_too_few_questions_are_one_line(monkeypatch):
    monkeypatch.setattr(text_choices, "tasks", lambda members: made_up(10))
    with pytest.raises(DataError, match=r"text-choices: only \d+ test questions of names instead of 50"):
        text_choices.make_questions({}, {"test": 50})


def test_the_archive_of_labels_is_that_of_emoji_reid():
    known = load_plan().labels.archive
    assert (EMOJI.sha256, EMOJI.version, EMOJI.file) == (known.sha256, known.version, known.file)
    assert EMOJI.members["package/en/data.json"] == known.members["package/en/data.json"]


@pytest.fixture(scope="module")
def real():
    folder = data_dir() / RECIPE.name
    if not (folder / "MANIFEST.json").is_file():
        pytest.skip("prepare it: vision-suite data prepare text-choices")
    lines = (folder / "questions_test.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["turns"][0] for line in lines]


@pytest.mark.real_data
def test_six_tasks_of_500(real):
    counts = Counter(turn["source"] for turn in real)
    assert counts == dict.fromkeys(["definitions", "synonyms", "kinds", "emoji-keywords", "spanish", "countries"], 500)
    letters = Counter(turn["answer"] for turn in real if turn["source"] != "kinds")
    assert max(letters.values()) - min(letters.values()) < 150, "2,500 questions, four letters"


@pytest.mark.real_data
def test_known_facts_are_asked(real):
    known = {turn["question"]: right_answer(turn) for turn in real}
    facts = {
        "What is the capital of Peru?": "Lima",
        "What is the capital of Japan?": "Tokyo",
        "On which continent is Kenya?": "Africa",
        "What kind of thing is a cat?": "A cat is an animal",
        'What does the Spanish "cebolla" mean?': "onion",
    }
    asked = {question: answer for question, answer in facts.items() if question in known}
    assert len(asked) >= 2
    assert {question: known[question] for question in asked} == asked
