"""IIT chains: no leak, no question twice, the most similar first, and TF-IDF against scikit-learn."""

import numpy as np
import pytest

from vision_suite.datasets.instruct.iit import CONFIGS, build_chains, holds, subject_of, tfidf_vectors, words_of
from vision_suite.datasets.instruct.question_rows import choice_turn, right_answer

SUBJECTS = ["cat", "dog", "pear", "plum", "drum", "horn"]


def questions(copies=6):
    """Text questions on each subject, one of which names it; picture questions whose answer is the subject."""
    text = [
        choice_turn("t", f"Fact {number} about number {place}?", [f"left{number}{place}", "no"], f"left{number}{place}")
        for place, _ in enumerate(SUBJECTS)
        for number in range(copies)
    ]
    text += [choice_turn("t", f"Is a {name} large?", ["indeed", "never"], "never") for name in SUBJECTS]
    visual = [
        choice_turn("v", f"What is shown in {number}?", [name, "nothing"], name, images=[f"{name}{number}.png"])
        for name in SUBJECTS
        for number in range(2)
    ]
    # Subjects are axes; the naming question is the nearest of its subject.
    axes = np.eye(len(SUBJECTS), dtype=np.float32)
    of_text = np.concatenate([np.repeat(axes, copies, axis=0) * 0.9, axes])
    return text, visual, of_text, np.repeat(axes, 2, axis=0)


def test_chains_of_every_configuration_without_reuse():
    text, visual, of_text, of_visual = questions()
    chains = build_chains(text, visual, of_text, of_visual, count=5, seed=0)
    assert chains == build_chains(text, visual, of_text, of_visual, count=5, seed=0)
    assert chains.rows != build_chains(text, visual, of_text, of_visual, count=5, seed=1).rows
    assert [row["id"] for row in chains.rows] == [f"iit-{number:06d}" for number in range(30)]
    for config in CONFIGS:
        own = [row for row in chains.rows if row["config"] == config]
        assert len(own) == 5
        asked = [turn["question"] + str(turn.get("images")) for row in own for turn in row["turns"]]
        assert len(set(asked)) == len(asked)


def test_a_turn_that_holds_the_answer_is_refused_and_counted():
    text, visual, of_text, of_visual = questions()
    chains = build_chains(text, visual, of_text, of_visual, count=12, seed=0)
    for row in chains.rows:
        answer = right_answer(row["turns"][-1])
        if row["config"] in ("TV", "TTV"):
            assert not any(holds(words_of(turn), answer) for turn in row["turns"][:-1])
            place = SUBJECTS.index(answer)
            assert all(f"number {place}?" in turn["question"] for turn in row["turns"][:-1]), "of the same subject"
    assert chains.leaks["TV"] == 12, "the nearest question names the answer, each time"


def test_fewer_questions_give_fewer_chains():
    text, visual, of_text, of_visual = questions(copies=1)
    text, of_text = text[:4], of_text[:4]
    rows = build_chains(text, visual, of_text, of_visual, count=9, seed=0).rows
    count = {config: sum(row["config"] == config for row in rows) for config in CONFIGS}
    assert count == {"T": 4, "TT": 2, "TTT": 1, "TTV": 2, "TV": 4, "V": 9}


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [("A Cat sat.", "cat", True), ("concatenate", "cat", False), ("one-eyed", "eyed", True), ("a (b) c", "(b)", True)],
)
def test_an_answer_is_found_as_whole_words(text, answer, expected):
    assert holds(text, answer) == expected


def test_subjects_are_question_and_answer():
    assert subject_of(choice_turn("v", "What is shown?", ["a", "b"], "b", images=["x.png"])) == "What is shown? b"


def test_tfidf_is_that_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.feature_extraction.text")
    texts = ["The cat sat on the mat.", "A dog and a cat", "stock markets fell, markets rose", "mat"]
    expected = sklearn.TfidfVectorizer().fit_transform(texts).toarray()
    np.testing.assert_allclose(tfidf_vectors(texts), expected, atol=1e-6)
