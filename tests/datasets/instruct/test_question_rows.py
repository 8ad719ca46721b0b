"""Rows of questions as they are written: letters, markers, and streams that do not disturb each other."""

import json

import numpy as np
import pytest

from vision_suite.datasets.instruct.question_rows import (
    choice_turn,
    conversation,
    free_turn,
    numbers,
    question_row,
    right_answer,
    shuffled,
    stream_of,
    write_lines,
    write_list,
)


def test_the_letter_is_that_of_the_right_choice():
    turn = choice_turn("kinds", "What?", ["a", "b", "c"], "c")
    assert turn == {"kind": "T", "source": "kinds", "question": "What?", "choices": ["a", "b", "c"], "answer": "C"}
    assert right_answer(turn) == "c"


def test_each_picture_has_a_marker():
    turn = free_turn("name", "What?", "a cat", images=["1.png", "2.png"])
    assert turn["question"] == "<image>\n<image>\nWhat?"
    assert (turn["kind"], turn["images"], right_answer(turn)) == ("V", ["1.png", "2.png"], "a cat")


@pytest.mark.parametrize("choices", [["a", "a", "b"], ["a", "c"]])
def test_equal_choices_or_none_that_is_right_are_refused(choices):
    with pytest.raises(ValueError, match=r"equal|not in"):
        choice_turn("kinds", "What?", choices, "b")


def test_the_configuration_is_that_of_the_turns():
    text, picture = free_turn("t", "?", "a"), free_turn("v", "?", "b", images=["x.png"])
    row = question_row("iit-0", text, text, picture)
    assert (row["config"], numbers([row])) == ("TTV", {"v": 1})


def test_streams_are_the_same_for_the_same_names_only():
    first = stream_of(0, "a", "b").integers(1000, size=20)
    assert np.array_equal(first, stream_of(0, "a", "b").integers(1000, size=20))
    for other in (stream_of(1, "a", "b"), stream_of(0, "a", "c"), stream_of(0, "ab")):
        assert not np.array_equal(first, other.integers(1000, size=20))


def test_shuffling_puts_the_right_answer_everywhere_equally_often():
    generator = stream_of(0, "places")
    places = [shuffled(generator, "r", ["1", "2", "3"]).index("r") for _ in range(400)]
    counts = np.bincount(places, minlength=4)
    assert counts.min() > 70
    assert counts.sum() == 400


def test_files_hold_one_row_a_line(tmp_path):
    rows = [conversation("1", "Hello", "Good day"), conversation("2", "What?", "café", image="a.png")]
    assert write_list(tmp_path / "rows.json", rows) == write_lines(tmp_path / "rows.jsonl", rows) == 2
    assert json.loads((tmp_path / "rows.json").read_text(encoding="utf-8")) == rows
    assert [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()] == rows
    assert rows[1]["conversations"][0] == {"from": "human", "value": "<image>\nWhat?"}
    assert "image" not in rows[0]
