"""POPE: two ways to read an answer, scores of constant answers, the released questions."""

import json
from collections import Counter

import pytest
from folders import ROOT

from vision_suite.errors import DataError
from vision_suite.metrics.hallucination.pope import pope_scores, reference_answer, strict_answer

FOLDER = ROOT.parent / "shared" / "data" / "pope_coco"
SPLITS = ("random", "popular", "adversarial")
CASES = [
    ("NO", "yes", "no"),
    ("There isn't a dog.", "yes", "no"),
    ("Nope", "yes", "no"),
    ("I cannot see a dog", "yes", "no"),
    ("No\n", "yes", "no"),
    ("", "yes", "invalid"),
    ("The image shows a cat. There is no dog.", "yes", "no"),
    ("Yes, not only one", "no", "yes"),
    ("no", "no", "no"),
    ("No, there is none.", "no", "no"),
    ("Yes.", "yes", "yes"),
    ("**Yes**, on the left.", "yes", "yes"),
    ("There is a dog in the image.", "yes", "yes"),
    ("There is a dog. There is no leash.", "yes", "invalid"),
    ("I'm sorry, I can't answer that.", "yes", "invalid"),
    ("It is not clear from the image.", "no", "invalid"),
    ("It cannot be determined.", "yes", "invalid"),
    ("A fine day", "yes", "invalid"),
    ("There’s no dog.", "no", "no"),  # noqa: RUF001
]


@pytest.mark.parametrize(("text", "reference", "strict"), CASES)
def test_answers(text, reference, strict):
    assert (reference_answer(text), strict_answer(text)) == (reference, strict)


def test_invalid_answers_are_wrong_and_counted():
    found = pope_scores({1: "yes", 2: "no", 3: "no", 4: "yes"}, {1: "Yes", 2: "No", 3: "", 4: "I can't tell."})
    assert found == {
        "accuracy": 0.5, "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "yes": 0.25, "invalid": 0.5,
    }  # fmt: skip


def test_a_gap_is_an_error_instead_of_a_shift():
    with pytest.raises(DataError, match="1 of 2 questions have no answer, the first 2"):
        pope_scores({1: "yes", 2: "no"}, {1: "Yes"})
    with pytest.raises(DataError, match="1 answers are of no question, the first 3"):
        pope_scores({1: "yes"}, {1: "Yes", 3: "No"})


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"POPE's questions are not in {FOLDER}")
@pytest.mark.parametrize("split", SPLITS)
def test_constant_answers_to_the_released_questions(split):
    lines = (FOLDER / f"coco_pope_{split}.json").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    labels = {row["question_id"]: row["label"] for row in rows}
    assert Counter(labels.values()) == {"yes": 1500, "no": 1500}
    for parse in (strict_answer, reference_answer):
        found = pope_scores(labels, dict.fromkeys(labels, "Yes"), parse)
        assert found == {
            "accuracy": 0.5, "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "yes": 1.0, "invalid": 0.0,
        }  # fmt: skip
        found = pope_scores(labels, {number: "No" if number % 3 == 0 else "Yes" for number in labels}, parse)
        assert {name: round(value, 6) for name, value in found.items()} == {
            "accuracy": 0.5, "precision": 0.5, "recall": 0.666667, "f1": 0.571429, "yes": 0.666667, "invalid": 0.0,
        }  # fmt: skip
