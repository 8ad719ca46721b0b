"""Pairs as different authors write them become the same row."""

import json
from collections import Counter
from dataclasses import replace

import pyarrow
import pyarrow.parquet
import pytest
from conversations import picture
from pairs import CONTEXT, official

from vision_suite.datasets.conversations.rows import BadRow
from vision_suite.datasets.preference.sources import PairSettings, PairSource
from vision_suite.errors import ConfigError, DataError
from vision_suite.types.conversations import ImageRef, Message
from vision_suite.types.preference import PreferenceRow

WIN, LOSE = "A dog is above the cat.", "A big cow is left of the cat."


def read(path, **settings):
    source = PairSource("s", PairSettings(str(path), **settings))
    return [source.row(index, Counter()) for index in range(len(source))]


def expected(folder, name, **changes):
    row = PreferenceRow(
        name, (Message("user", (0, "\nDescribe it.")),), (ImageRef(folder / "pictures/0.png"),), CONTEXT, WIN, LOSE,
        source="s", chosen_objects=("dog", "cat"), rejected_objects=("cow",),
    )  # fmt: skip
    return replace(row, **changes)


def bare(folder, name, **changes):
    """Row of a file that does not tell objects."""
    return expected(folder, name, chosen_objects=(), rejected_objects=(), **changes)


def test_lines_of_the_generator(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(official(0)) + "\n" + json.dumps(official(0, chosen_ends=True, rejected_ends=False)))
    first, second = read(path)
    assert first == expected(tmp_path, "0 line 1")
    assert second == expected(tmp_path, "0 line 2", chosen_ends=True, rejected_ends=False)


def test_aliases_and_the_object_of_lists_by_picture(tmp_path):
    """The LLaVA-1.5 route: pictures have no path, and the converters' names of fields are taken too."""
    picture(tmp_path / "pictures/0.png", (1, 2, 3))
    pair = {"question": "Describe it.", "context": CONTEXT, "win": WIN, "lose": LOSE, "type": "y+"}
    pair |= {"objects_of_win": ["dog", "cat"], "hallu_objects_of_lose": ["cow"]}
    path = tmp_path / "train.json"
    path.write_text(json.dumps({"0": [pair, {**pair, "context": ""}], "1": [pair]}))
    rows = read(path, image_root=str(tmp_path / "pictures"))
    assert [row.id for row in rows] == ["0 pair 0", "0 pair 1", "1 pair 0"]
    assert rows[0] == expected(tmp_path, "0 pair 0")
    assert rows[1].context == ""
    assert rows[2].images[0].path.name == "1.jpg", "the usual ending where there is no file"


def test_llama_factory(tmp_path):
    pair = {"instruction": "<image>\nDescribe it.", "context": CONTEXT, "chosen": WIN, "rejected": LOSE}
    (tmp_path / "f.json").write_text(json.dumps([{**pair, "images": ["pictures/0.png"]}]))
    assert read(tmp_path / "f.json") == [bare(tmp_path, "row 0")]


def messages(*turns):
    return [{"role": role, "content": content} for role, content in turns]


def parts(text, images=0):
    return [{"type": "image", "text": None}] * images + [{"type": "text", "text": text}]


TRL = [
    {
        "prompt": messages(("user", "<image>\nDescribe it."), ("assistant", CONTEXT)),
        "chosen": messages(("assistant", " " + WIN)),
        "rejected": messages(("assistant", " " + LOSE)),
    },
    {
        "prompt": messages(("user", parts("\nDescribe it.", 1)), ("assistant", parts(CONTEXT))),
        "chosen": messages(("assistant", parts(" " + WIN))),
        "rejected": messages(("assistant", parts(" " + LOSE))),
    },
    {
        "chosen": messages(
            ("user", parts("\nDescribe it.", 1)), ("assistant", parts(CONTEXT)), ("assistant", parts(WIN))
        ),
        "rejected": messages(
            ("user", parts("\nDescribe it.", 1)), ("assistant", parts(CONTEXT)), ("assistant", parts(LOSE))
        ),
    },
    {"prompt": "<image>\nDescribe it.", "context": CONTEXT, "chosen": WIN, "rejected": LOSE},
]


@pytest.mark.parametrize("record", TRL)
def test_trl(tmp_path, record):
    """Texts, lists of parts, the implicit prompt; a last message of the assistant is the context."""
    (tmp_path / "t.json").write_text(json.dumps([{**record, "images": ["pictures/0.png"]}]))
    assert read(tmp_path / "t.json") == [bare(tmp_path, "row 0")]


def test_trl_as_a_table(tmp_path):
    records = [{**TRL[1], "images": [{"bytes": None, "path": "pictures/0.png"}]}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "t.parquet")
    (row,) = read(tmp_path / "t.parquet")
    place = ImageRef(tmp_path / "t.parquet", 0, 0, f"images:0@{tmp_path}")
    assert row == bare(tmp_path, "t.parquet row 0", images=(place,))


def test_whole_answers_and_several_turns(tmp_path):
    record = {
        "prompt": messages(("system", "Be short."), ("user", "Hi"), ("assistant", "Yes?"), ("user", "Why?")),
        "chosen": messages(("assistant", "So.")),
        "rejected": messages(("assistant", "No.")),
    }
    (tmp_path / "t.jsonl").write_text(json.dumps(record))
    (row,) = read(tmp_path / "t.jsonl")
    assert [turn.role for turn in row.messages] == ["system", "user", "assistant", "user"]
    assert (row.context, row.chosen, row.images) == ("", "So.", ())


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"y_win": ""}, "no_targets", "preferred answer is empty"),
        ({"y_lose": " "}, "no_targets", "other answer is empty"),
        ({"y_win": " A dog. ", "y_lose": "A dog."}, "identical", "the same"),
        ({"y_win": None}, "malformed", "preferred answer is missing: it has none of the keys y_win, win, chosen"),
        ({"y_lose": 3}, "malformed", "other answer is no text but int"),
        ({"context": 3}, "malformed", "context is no text"),
        ({"chosen_ends": "yes"}, "malformed", "neither true, false nor null"),
        ({"objects_of_y_win": "dog"}, "malformed", "no list of names"),
        ({"question": "<image> and <image>?"}, "marker_mismatch", "2 markers"),
    ],
)
def test_faults_are_named(tmp_path, changes, reason, words):
    (tmp_path / "p.jsonl").write_text(json.dumps(official(0, **changes)))
    with pytest.raises(BadRow, match=words) as caught:
        read(tmp_path / "p.jsonl")
    assert caught.value.reason == reason
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"text": "a"}, "neither question with y_win"),
        ([1], "no object"),
        ({"prompt": [], "chosen": "a", "rejected": "b"}, "no question"),
        ({"prompt": messages(("user", "a")), "chosen": messages(("user", "b")), "rejected": "c"}, "one answer each"),
        ({"prompt": "a", "chosen": messages(("assistant", parts("b", 1))), "rejected": "c"}, "no text"),
    ],
)
def test_records_of_no_known_form(tmp_path, record, words):
    (tmp_path / "p.jsonl").write_text(json.dumps(record))
    with pytest.raises(BadRow, match=words):
        read(tmp_path / "p.jsonl")


def test_sources_are_checked(tmp_path):
    (tmp_path / "p.jsonl").write_text("")
    with pytest.raises(DataError, match="has no pairs"):
        read(tmp_path / "p.jsonl")
    (tmp_path / "p.json").write_text('{"0": 1}')
    with pytest.raises(DataError, match="entry '0' is no list"):
        read(tmp_path / "p.json")
    with pytest.raises(ConfigError, match="weight=-1"):
        PairSettings("p.json", weight=-1)
    with pytest.raises(ConfigError, match="limit=0"):
        PairSettings("p.json", limit=0)
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(official(n)) + "\n" for n in range(10)))
    assert [row.id.split()[0] for row in read(tmp_path / "q.jsonl", limit=3)] == ["0", "3", "6"]
