"""Python-manual: paragraphs of prose only, held-out topics, and the set of the running Python."""

import json

from vision_suite.datasets.instruct.python_manual import halves, paragraphs, split_topics
from vision_suite.datasets.instruct.python_manual_recipe import RECIPE
from vision_suite.datasets.prepare.base import Options

PAGE = """The "while" statement
*********************

The "while" statement is used for repeated execution as long as an
expression is true, and it is not used for anything else at all:

   while_stmt ::= "while" assignment_expression ":" suite

   This repeatedly tests the expression and, if it is true, executes the
   first suite of the statement. It stops when the expression is false at last.

A "break" statement executed in the first suite terminates the loop
without executing the "else" clause\u2019s suite.  A short one.
"""


def test_only_whole_paragraphs_of_prose_are_kept():
    assert paragraphs(PAGE) == [
        "This repeatedly tests the expression and, if it is true, executes the first suite of the statement. "
        "It stops when the expression is false at last.",
        'A "break" statement executed in the first suite terminates the loop without executing the "else" '
        "clause's suite. A short one.",
    ]


def test_sentences_are_cut_in_their_middle():
    assert halves(["One two three four five six seven eight. Too short."]) == [
        ("One two three four", "five six seven eight.")
    ]


def test_a_paragraph_is_in_one_split_only():
    found = split_topics({f"topic{number}": PAGE + f"\n{'x' * 0}" for number in range(20)})
    assert sum(len(own) for split in found.values() for own in split.values()) == 2


def test_the_real_set(tmp_path, monkeypatch):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path))
    folder = RECIPE.prepare(lambda *_: None, Options())
    assert RECIPE.why_not_ready(folder) is None
    texts = {
        split: [json.loads(line)["text"] for line in (folder / f"text_{split}.jsonl").read_text("utf-8").splitlines()]
        for split in ("train", "val")
    }
    assert min(map(len, texts.values())) > 20
    assert not set(texts["train"]) & set(texts["val"])
    sentences = json.loads((folder / "train.json").read_text("utf-8"))
    assert len(sentences) > 300
    joined = {text for own in texts.values() for text in own}
    for row in sentences[::50]:
        asked, answered = (turn["value"] for turn in row["conversations"])
        whole = f"{asked.removeprefix('Continue: ')} {answered}"
        assert any(whole in text for text in joined)
