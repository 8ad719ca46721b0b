"""Rows from every form of a record: LLaVA, ShareGPT, Alpaca, messages, questions and plain text."""

from collections import Counter
from pathlib import Path

import pytest

from vision_suite.datasets.conversations.forms import row_of
from vision_suite.datasets.conversations.questions import as_question, with_answer
from vision_suite.datasets.conversations.rows import BadRow
from vision_suite.types.instruct import ImageRef, Message

FOLDER = Path("/pictures")


def read(record, **more):
    notes = Counter()
    return row_of(record, "row 0", FOLDER, "set", notes, **more), dict(notes)


def human(*values):
    return [{"from": who, "value": value} for who, value in zip(("human", "gpt") * 9, values, strict=False)]


def test_llava():
    row, notes = read({"id": "a", "image": "x/1.jpg", "conversations": human("<image>\nWhat?", "Red", "Sure?", "Yes")})
    assert (row.id, row.source, row.images) == ("a", "set", (ImageRef(FOLDER / "x/1.jpg"),))
    assert row.messages == (
        Message("user", (0, "\nWhat?")),
        Message("assistant", ("Red",)),
        Message("user", ("Sure?",)),
        Message("assistant", ("Yes",)),
    )
    assert not notes


def test_several_pictures_in_the_middle_of_the_text():
    row, _ = read({"image": ["1.jpg", "2.jpg"], "conversations": human("First <image>, then <image>.", "Both")})
    assert row.messages[0].parts == ("First ", 0, ", then ", 1, ".")
    assert row.id == "row 0"


def test_a_picture_without_marker_comes_before_the_first_question():
    row, notes = read({"image": "1.jpg", "conversations": human("What?", "Red", "Sure?", "Yes")})
    assert row.messages[0].parts == (0, "\nWhat?")
    assert notes == {"images_without_marker_put_first": 1}


def test_markers_without_picture_are_removed():
    row, notes = read({"conversations": human("<image>\nWhat?", "Red")})
    assert row.messages[0].parts == ("What?",)
    assert notes == {"markers_without_image_removed": 1}


def test_sharegpt_leaves_out_what_no_question_asked():
    turns = [{"from": "gpt", "value": "Hello"}, *human("Hi", "Yes"), {"from": "gpt", "value": "More"}]
    row, notes = read({"conversations": [*turns, {"from": "human", "value": "And?"}]})
    assert [message.role for message in row.messages] == ["user", "assistant"]
    assert row.messages[1].parts == ("Yes\nMore",)
    assert notes == {"leading_answers_left_out": 1, "turns_of_one_speaker_joined": 1, "last_questions_left_out": 1}


def test_a_system_turn_stays_first():
    row, _ = read({"conversations": [{"from": "system", "value": "Be brief."}, *human("Hi", "Yes")]})
    assert row.messages[0] == Message("system", ("Be brief.",))


def test_alpaca():
    row, _ = read({"instruction": "Add.", "input": "1 2", "output": "3", "history": [["Hi", "Yes"]]})
    assert [message.parts[0] for message in row.messages] == ["Hi", "Yes", "Add.\n\n1 2", "3"]
    assert read({"instruction": "Add.", "input": "", "output": "3"})[0].messages[0].parts == ("Add.",)


def test_messages_with_places_for_pictures():
    content = [{"type": "image", "text": None}, {"type": "text", "text": "What?"}, {"type": "image", "text": None}]
    record = {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "Two"}]}
    refs = (ImageRef(Path("t"), 3, 0, "images:0"), ImageRef(Path("t"), 3, 0, "images:1"))
    row, _ = read(record, images=refs)
    assert row.messages[0].parts == (0, "What?", 1)
    assert row.images == refs
    with pytest.raises(BadRow, match="2 places for pictures, and it has 1 pictures"):
        read(record, images=refs[:1])


def test_prompt_and_completion():
    row, _ = read({"prompt": "Hi", "completion": "Yes"})
    assert row.messages == (Message("user", ("Hi",)), Message("assistant", ("Yes",)))
    prompt = [{"role": "user", "content": "Hi"}]
    assert read({"prompt": prompt, "completion": [{"role": "assistant", "content": "Yes"}]})[0] == row


QUESTION = {"kind": "T", "source": "mmlu", "question": "Which?", "choices": ["cat", "dog"], "answer": "B"}


def test_a_choice_asked_by_letter_or_by_text():
    row, _ = read({"id": 7, "turns": [QUESTION]})
    assert (row.id, row.source, row.choices, row.answer, row.lettered) == ("7", "mmlu", ("cat", "dog"), 1, True)
    asked = "Which?\nA. cat\nB. dog\nAnswer with the letter of the right choice."
    assert row.messages == (Message("user", (asked,)),)
    assert with_answer(row).messages[-1] == Message("assistant", ("B",))
    row, _ = read({"turns": [QUESTION]}, choices="texts")
    assert (row.messages, row.lettered) == ((Message("user", ("Which?",)),), False)
    assert with_answer(row).messages[-1] == Message("assistant", ("dog",))


def test_a_chain_has_gold_history_and_numbers_its_pictures_on():
    seen = {"kind": "V", "source": "mmmu", "question": "See <image>?", "answer": "a hat", "images": ["1.png"]}
    row, _ = read({"config": "VTV", "turns": [seen, QUESTION, {**seen, "images": ["2.png"]}]})
    assert row.config == "VTV"
    assert [message.role for message in row.messages] == ["user", "assistant", "user", "assistant", "user"]
    assert row.messages[1].parts == ("a hat",)
    assert row.messages[3].parts == ("B",)
    assert row.messages[4].parts == ("See ", 1, "?")
    assert (row.source, row.reference, row.choices) == ("mmmu", "a hat", ())
    assert row.images == (ImageRef(FOLDER / "1.png"), ImageRef(FOLDER / "2.png"))


def test_plain_text_and_conversations_as_questions():
    assert read({"id": "p", "text": "Once."})[0].text == "Once."
    row, _ = read({"conversations": human("What?", "Red", "Sure?", "Yes")})
    asked = as_question(row)
    assert (asked.messages, asked.reference) == (row.messages[:3], "Yes")
    assert with_answer(asked).messages == row.messages


@pytest.mark.parametrize(
    ("record", "reason", "message"),
    [
        ("text", "malformed", "no object"),
        ({"a": 1}, "malformed", "it has none of turns"),
        ({"conversations": []}, "no_answer", "empty"),
        ({"conversations": human("Hi")}, "no_answer", "no answer"),
        ({"conversations": human("Hi", " ")}, "empty_answer", "empty"),
        ({"conversations": human("Hi", 3)}, "malformed", "no text but int"),
        ({"conversations": [{"from": "tool", "value": "x"}]}, "malformed", "speaker 'tool'"),
        ({"conversations": [*human("Hi", "Yes"), {"from": "system", "value": "x"}]}, "malformed", "system's turn"),
        ({"image": "1", "conversations": human("<image> <image>", "Yes")}, "marker_mismatch", "2 markers"),
        ({"image": "1", "conversations": human("Hi", "<image>")}, "marker_mismatch", "turn of the assistant"),
        ({"image": 3, "conversations": human("Hi", "Yes")}, "malformed", "image of the row"),
        ({"instruction": "Add.", "output": None}, "malformed", "output"),
        ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, "malformed", "'audio'"),
        ({"turns": [{**QUESTION, "answer": "C"}]}, "malformed", "no letter of its 2 choices"),
        ({"turns": [{**QUESTION, "choices": ["cat", "cat"]}]}, "malformed", "twice"),
        ({"turns": [{**QUESTION, "answer": ""}, QUESTION]}, "empty_answer", "earlier turn"),
        ({"turns": [QUESTION], "config": "TV"}, "malformed", "config is 'TV'"),
        (
            {"turns": [{**QUESTION, "images": ["1.png", "2.png"], "question": "<image>"}]},
            "marker_mismatch",
            "1 markers",
        ),
        ({"text": " "}, "empty_answer", "empty"),
        ({"text": "half \ud83e"}, "malformed", "half of a character"),
        ({"id": "a\ud83e", "text": "A dog."}, "malformed", "half of a character"),
        ({"id": "a\nb", "text": "A dog."}, "malformed", "cannot be shown"),
        ({"text": "A dog.", "source": "a\nb"}, "malformed", "cannot be shown"),
        ({"turns": [{**QUESTION, "kind": "X"}] * 2, "config": "XX"}, "malformed", "not made of T and V"),
    ],
)
def test_rows_that_cannot_be_used(record, reason, message):
    with pytest.raises(BadRow, match=message) as caught:
        read(record)
    assert caught.value.reason == reason
    assert "\n" not in str(caught.value)


def test_a_refused_row_has_not_been_changed():
    notes = Counter()
    with pytest.raises(BadRow, match="an answer is empty"):
        row_of({"conversations": human("<image>", " ")}, "r", Path(), "s", notes)
    assert not notes
