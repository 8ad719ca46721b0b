"""Answers that predict writes, and pictures of their routing."""

import hashlib
import json

import instruct_stub
import numpy as np
import pytest
import torch
from PIL import Image

from vision_suite.callbacks.predict import AutoWriter
from vision_suite.callbacks.predict import instruct as writer_module
from vision_suite.callbacks.predict.instruct import InstructWriter
from vision_suite.errors import ConfigError


class LitWritten(instruct_stub.LitTinyText):
    """Writes the right answer to even questions, and nothing or a wrong one to odd ones; or always the same."""

    def __init__(self, data, routed=True, answer=None):
        super().__init__(data)
        self.routed, self.answer = routed, answer

    def predict_step(self, batch, batch_idx):
        rows, chat = self.data.rows("predict"), self.data.chat
        ids = []
        for index in batch["index"].tolist():
            row = rows[index]
            right = "ABCD"[row.answer] if row.choices else row.reference
            words = {0: chat.answer(right), 1: [], 2: chat.answer(right), 3: chat.answer("five", end_of_turn=False)}
            ids.append([] if row.text else chat.answer(self.answer) if self.answer else words[index % 4])
        length = max(map(len, ids)) + 1
        answer_ids = torch.tensor([[*own, *[-1] * (length - len(own))] for own in ids])
        found = {"index": batch["index"], "answer_ids": answer_ids}
        if self.routed:
            layers = torch.linspace(0, 1, 5).view(1, 5, 1).expand(len(ids), 5, length)
            routing = torch.stack([layers, 1 - layers], dim=-1).clone()
            routing[(answer_ids < 0)[:, None].expand(-1, 5, -1)] = torch.nan
            found["routing"] = routing
        return found


@pytest.fixture
def data(tmp_path):
    return instruct_stub.questions(instruct_stub.write_questions(tmp_path / "squares"))


def predicted(folder, data, *callbacks, **settings):
    instruct_stub.trainer(folder, *callbacks).predict(LitWritten(data, **settings), data)
    folder = folder / "predict"
    lines = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    return lines, json.loads((folder / "summary.json").read_text()), sorted((folder / "routing").glob("*.png"))


def test_answers_in_order_with_what_is_known_about_them(tmp_path, data):
    lines, summary, pictures = predicted(tmp_path, data, AutoWriter())
    rows = data.rows("predict")
    assert [line["index"] for line in lines] == list(range(len(rows)))
    for line, row in zip(lines, rows, strict=True):
        kind = line["index"] % 4
        assert line["id"] == row.id
        assert line["images"] == [str(ref.path) for ref in row.images]
        if row.text:
            assert "right" not in line
        elif row.choices:
            assert line["reference"] == row.choices[row.answer]
            assert line["choice"] == (row.choices[row.answer] if kind in (0, 2) else None)
        if not row.text:
            assert line["right"] == (kind in (0, 2))
            assert line["ended"] == (kind in (0, 2))
        if line["tokens"]:
            assert line["routing"]["visual"] == [0.0, 0.25, 0.5, 0.75, 1.0]
            assert line["routing"]["textual"] == [1.0, 0.75, 0.5, 0.25, 0.0]
        else:
            assert "routing" not in line
    right = sum(line.get("right", False) for line in lines)
    assert (summary["right"], summary["with_a_reference"], summary["questions"]) == (right, 12, 14)
    assert summary["not_reached"] == 0
    assert summary["empty"] == sum(not line["answer"] for line in lines) > 0
    assert summary["routing_pictures"] == len(pictures) == sum(line["tokens"] > 0 for line in lines)
    assert Image.open(pictures[0]).width >= 900
    assert not (tmp_path / "predict/.parts").exists()


def test_pictures_of_the_first_questions_and_the_tokens_of_their_answers(tmp_path, data, monkeypatch):
    drawn = []
    draw = writer_module.routing_picture

    def noted(routing, tokens, **words):
        drawn.append((routing.shape, tokens, len(words["pictures"]), words["question"]))
        return draw(routing, tokens, **words)

    monkeypatch.setattr(writer_module, "routing_picture", noted)
    lines, _, pictures = predicted(tmp_path, data, InstructWriter(routing=1))
    assert len(pictures) == len(drawn) == 1
    (shape, tokens, count, question), first = drawn[0], lines[0]
    assert shape == (5, first["tokens"], 2)
    assert tokens[:-1] == first["answer"].split()
    assert tokens[-1] == "end"
    assert (count, question) == (1, first["question"])


def test_routing_pictures_have_the_names_of_their_questions(tmp_path):
    """An id that is no name of a file gets digits of its hash, so that no two questions share a picture."""
    folder = instruct_stub.write_questions(tmp_path / "squares", count=1)
    ids = ["v0", "a/b c", "a_b_c", "two.words", "../up", "photo.png", "photo.JPG"]
    turn = {"kind": "V", "source": "colours", "question": instruct_stub.ASKED, "answer": "red",
            "images": ["images/0.png"]}  # fmt: skip
    lines = [{"id": name, "turns": [turn]} for name in ids]
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    asked, _, pictures = predicted(tmp_path, instruct_stub.questions(folder), InstructWriter(routing=-1), answer="red")
    stems = {
        "v0": "v0", "a/b c": f"a_b_c-{digits('a/b c')}", "a_b_c": "a_b_c", "two.words": "two.words",
        "../up": f".._up-{digits('../up')}", "photo.png": "photo", "photo.JPG": "photo",
    }  # fmt: skip
    assert {line["id"] for line in asked} == set(ids)
    assert [path.name for path in pictures] == [f"{line['index']:06d}_{stems[line['id']]}.png" for line in asked]


def digits(name):
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def test_routing_pictures_of_a_folder_have_the_names_of_its_pictures(tmp_path):
    folder = instruct_stub.write_questions(tmp_path / "squares", count=1)
    shown = tmp_path / "shown"
    shown.mkdir()
    for name in ("a.png", "b c.png", "d.JPG"):
        Image.new("RGB", (9, 9)).save(shown / name)
    asked = {"mine": {"path": str(shown), "question": instruct_stub.ASKED}}
    data = instruct_stub.questions(folder, predict_on=asked)
    lines, _, pictures = predicted(tmp_path, data, InstructWriter(routing=2), answer="red")
    assert [line["id"] for line in lines] == ["a.png", "b c.png", "d.JPG"]
    assert [path.name for path in pictures] == ["000000_a.png", f"000001_b_c-{digits('b c')}.png"]


def test_a_model_that_routes_nothing(tmp_path, data):
    lines, summary, pictures = predicted(tmp_path, data, AutoWriter(), routed=False)
    assert not pictures
    assert summary["routing_pictures"] == 0
    assert all("routing" not in line for line in lines)


def test_layers_without_wings_are_null():
    row = instruct_stub_row()
    routing = np.full((2, 3, 2), np.nan)
    routing[0] = 0.5
    entry = writer_module.answer_entry(0, row, "x", 3, True, routing)
    assert entry["routing"] == {"visual": [0.5, None], "textual": [0.5, None]}
    json.dumps(entry, allow_nan=False)


def instruct_stub_row():
    from vision_suite.types.instruct import Message, Row

    return Row("a", (Message("user", ("what?",)),), source="s", reference="x")


def test_a_number_below_minus_one_is_refused():
    with pytest.raises(ConfigError, match="routing=-2"):
        InstructWriter(routing=-2)
