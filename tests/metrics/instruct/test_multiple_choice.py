"""Choices by likelihood and by written answers, standard errors, and the rule that a task must beat chance."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.errors import DataError
from vision_suite.metrics.instruct.answers import same_answer, word_f1
from vision_suite.metrics.instruct.iit import CONFIGS, chain_task, earlier_prompts, with_history
from vision_suite.metrics.instruct.multiple_choice import likeliest, parsed
from vision_suite.metrics.instruct.shares import beats_chance, chance_of, paired_difference, share_error
from vision_suite.text.choices import LETTERS, letters_of
from vision_suite.types.instruct import Message, Row

PETS = ["a cat", "a dog", "a red fox", "a red"]


@pytest.mark.parametrize(
    ("text", "choice", "by"),
    [
        ("B", 1, "letter"),
        ("(C) a cat", 2, "letter"),
        ("Answer: D.", 3, "letter"),
        ("E, or rather B", 1, "letter"),  # E is no choice
        ("AB", -1, "nothing"),
        (" (b).", 1, "letter"),
        ("b or c", -1, "nothing"),
        ("e", -1, "nothing"),
        ("It is a DOG", 1, "text"),
        ("a dog, not a cat", 1, "text"),
        ("a red fox", 2, "text"),  # the longer one of two at the same place
        ("a category", -1, "nothing"),
        ("", -1, "nothing"),
    ],
)
def test_written_answers(text, choice, by):
    assert parsed(text, PETS) == (choice, by)


def test_an_article_is_no_letter_where_the_question_lists_none():
    assert parsed("A red fox", PETS, lettered=True) == (0, "letter")
    assert parsed("A red fox", PETS, lettered=False) == (2, "text")


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 26), st.data())
def test_a_letter_among_other_words_is_found(count, data):
    index = data.draw(st.integers(0, count - 1))
    choices = [f"choice number {n}" for n in range(count)]
    assert parsed(f"i think it is {LETTERS[index]}.", choices) == (index, "letter")


def test_choices_without_a_letter_are_refused():
    with pytest.raises(DataError, match="27 choices"):
        letters_of(27)
    with pytest.raises(DataError, match="0 choices"):
        parsed("A", [])


def test_the_likeliest_choice_and_ties():
    assert likeliest([-3.0, -1.0, -1.0]) == 1
    assert likeliest([-math.inf, -math.inf]) == 0
    assert likeliest([-1.0, math.nan]) == -1
    assert likeliest([-1.0, math.inf]) == -1
    assert likeliest([]) == -1


def test_standard_errors_equal_those_of_a_simulation():
    assert share_error(0.5, 2000) == pytest.approx(0.01118, abs=1e-5)
    choices = [2, 4, 4, 8]
    draws = np.random.default_rng(0).random((200_000, 4)) < 1 / np.array(choices)
    chance, error = chance_of(choices)
    assert chance == pytest.approx(draws.mean(), abs=2e-3)
    assert error == pytest.approx(draws.mean(1).std(), rel=1e-2)
    with pytest.raises(DataError, match="at least one"):
        chance_of([])


def test_a_task_counts_above_two_standard_errors_of_guessing():
    chance, error = chance_of([4] * 500)
    assert beats_chance(chance + 2.01 * error, chance, error)
    assert not beats_chance(chance + 1.99 * error, chance, error)
    assert not beats_chance(0.0, chance, error), "below chance there is nothing to forget"
    assert not beats_chance(1.0, *chance_of([4] * 12)), "too few questions"
    assert beats_chance(0.0, math.nan, math.nan), "free text"


def test_paired_difference_is_smaller_in_error_than_two_independent_shares():
    rng = np.random.default_rng(1)
    first = {n: bool(x) for n, x in enumerate(rng.random(2000) < 0.6)}
    second = {n: right or bool(rng.random() < 0.1) for n, right in first.items()}
    found = paired_difference(first, second)
    gained = np.array([second[n] - first[n] for n in first], dtype=float)
    assert found.value == pytest.approx(gained.mean())
    assert found.error == pytest.approx(gained.std(ddof=1) / math.sqrt(2000))
    assert found.error < math.hypot(share_error(0.6, 2000), share_error(0.64, 2000)) / 2
    with pytest.raises(DataError, match="1 to the same questions"):
        paired_difference({0: True, 1: True}, {1: True, 2: True})


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("Red fox.", "a red fox", True),
        ("the  red\nfox", "Red Fox", True),
        ("fox", "red fox", False),
        ("yes", "Yes", True),
        ("2", "2", True),
        ("two", "2", False),
        ("t-shirt", "t shirt", False),
        ("", "", True),
    ],
)
def test_exact_match(answer, reference, right):
    assert same_answer(answer, reference) is right


@settings(max_examples=50, deadline=None)
@given(st.text("ab c", max_size=12), st.text("ab c", max_size=12))
def test_word_f1_is_symmetric_and_one_for_the_same_words(one, two):
    assert word_f1(one, two) == word_f1(two, one)
    assert word_f1(one, " ".join(reversed(one.split()))) == 1
    assert 0 <= word_f1(one, two) <= 1


def test_chains():
    assert [chain_task(config) for config in CONFIGS] == [f"iit/{config}" for config in CONFIGS]
    with pytest.raises(DataError, match="'TX'"):
        chain_task("TX")
    said = [("system", "s"), ("user", "q1"), ("assistant", "a1"), ("user", "q2"), ("assistant", "a2"), ("user", "q3")]
    row = Row("x", tuple(Message(role, (text,)) for role, text in said), config="TTT")
    assert [prompt[-1].parts for prompt in earlier_prompts(row)] == [("q1",), ("q2",)]
    assert [m.parts[0] for m in with_history(row.messages, ["b1"])] == ["s", "q1", "b1", "q2", "a2", "q3"]
    assert [m.parts[0] for m in with_history(row.messages, ["b1", "b2"])] == ["s", "q1", "b1", "q2", "b2", "q3"]
    with pytest.raises(DataError, match="3 answers for 2 turns"):
        with_history(row.messages, ["b"] * 3)


def test_answers_of_signs_alone_are_compared_sign_by_sign():
    assert same_answer(" + ", "+")
    assert not same_answer("", "+")
    assert not same_answer("-", "+")
    assert (word_f1("", "+"), word_f1("+", "+"), word_f1("a fox", "+")) == (0.0, 1.0, 0.0)


def test_signs_and_decimals_belong_to_numbers_and_accents_to_letters():
    assert same_answer("It is -5.", "it is \u22125")
    assert not same_answer("-5", "5")
    assert not same_answer("3.5", "3 5")
    assert same_answer("5.", "5")
    assert same_answer("a red-haired dog", "red-haired dog")
    assert same_answer("cafe\u0301", "caf\u00e9")
    assert not same_answer("cafe\u0301", "cafe")
