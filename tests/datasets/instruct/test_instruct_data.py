"""The datamodule of conversations: labels, batches, packing, faults, protocol and settings of a checkpoint."""

import json

import numpy as np
import pytest
import torch
from conversations import llava, settings, write_set

from vision_suite.datasets.instruct import InstructData
from vision_suite.datasets.loading import BatchKey
from vision_suite.errors import ConfigError, DataError
from vision_suite.types.instruct import IGNORED, Message

pytestmark = pytest.mark.filterwarnings("ignore:Left out of")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("set")
    write_set(path)
    return path


def made(folder, stage="fit", **changes):
    data = InstructData(**settings(folder, **changes))
    data.setup(stage)
    return data


def batch_of(data, indices, stage="fit"):
    return data._batches(stage, 0)[BatchKey(indices, 0, 0)]


def test_a_batch_of_two(folder):
    data = made(folder)
    data.train_dataloader()
    batch = batch_of(data, [1, 15])  # a picture, a text
    words = data.chat.tokenizer.get_vocab()
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        assert batch["attention_mask"][row, :length].all()
        assert batch["position_ids"][row, :length].tolist() == list(range(length))
        assert (batch["input_ids"][row, length:] == data.chat.pad_id).all()
        assert (batch["labels"][row, length:] == IGNORED).all()
        supervised = batch["labels"][row] != IGNORED
        assert torch.equal(batch["labels"][row][supervised], batch["input_ids"][row][supervised])
        assert batch["input_ids"][row][supervised].tolist()[-1] in data.chat.end_ids
    first = [token for token in batch["labels"][0].tolist() if token != IGNORED]
    assert first == [*(words[word] for word in ("a", "cat", "and", "dog", ".")), data.chat.end_ids[0]]
    where = batch["image_of_token"][0] >= 0
    assert where.sum() == data.image_tokens == 3
    assert (batch["input_ids"][0][where] == data.chat.image_token_id).all()
    assert (batch["image_of_token"][1] == -1).all()
    assert batch["image"].shape == (1, 3, 8, 8)
    assert (batch["index"].tolist(), batch["source"].tolist()) == ([1, 15], [0, 0])


def test_pictures_are_numbered_through_the_batch_and_normalised(folder):
    data = made(folder)
    batch = batch_of(data, [3, 16, 0])
    assert sorted(set(batch["image_of_token"][2].tolist())) == [-1, 1]
    colour = torch.tensor([[30, 90, 197], [0, 90, 200]]) / 255
    assert torch.allclose(batch["image"][:, :, 4, 4], (colour - 0.5) / 0.5, atol=1e-6)
    assert batch_of(data, [15, 16])["image"].shape == (0, 3, 8, 8)


def test_a_model_without_pictures_gets_none(tmp_path):
    write_set(tmp_path, pictured=0, texts=5)
    (tmp_path / "questions_val.jsonl").unlink()
    data = made(tmp_path, image_tokens=0)
    assert "image" not in batch_of(data, [0, 1])


def test_packed_rows_are_the_padded_ones_without_padding(folder):
    padded, packed = made(folder), made(folder, packed=True)
    for one, other in zip(padded.train_dataloader(), packed.train_dataloader(), strict=True):
        assert one["index"].tolist() == other["index"][0].tolist()
        assert other["input_ids"].shape[0] == 1
        kept = one["attention_mask"]
        for name in ("input_ids", "labels", "position_ids", "image_of_token"):
            assert torch.equal(one[name][kept], other[name][0]), name
        lengths = kept.sum(1)
        assert torch.equal(other["segments"][0], torch.arange(len(kept)).repeat_interleave(lengths))
        starts = lengths.cumsum(0)[:-1]
        assert (other["labels"][0][starts] == IGNORED).all(), "no row is predicted from the one before"
        assert torch.equal(one["image"], other["image"])
        assert one["step_targets"] == other["step_targets"] == (one["labels"] != IGNORED).sum()


def test_labels_of_two_answers(tmp_path):
    """Oracle O4 of the method: answers, the tokens that end them, and the line break that another turn follows."""
    write_set(tmp_path, pictured=1, texts=0)
    turns = ["<image>\nWhat?", "Red", "Sure?", "Yes"]
    values = [{"from": who, "value": value} for who, value in zip(("human", "gpt") * 2, turns, strict=True)]
    (tmp_path / "train.json").write_text(json.dumps([{**llava(0), "conversations": values}] * 2))
    data = made(tmp_path, batch_size=1, system=None)
    labels = batch_of(data, [0])["labels"][0]
    tokens = data.chat.tokenizer.convert_ids_to_tokens(labels[labels != IGNORED].tolist())
    assert tokens == ["red", "<|im_end|>", "\n", "yes", "<|im_end|>"]


def test_evaluation_rows_are_sorted_by_kind_and_answered(folder):
    data = made(folder, "test")
    rows = data.rows("test")
    assert [row.id for row in rows] == ["c0", "c1", "q0", "q1", "q2", "p0"]
    assert data.sources == [folder.name, "colours", "naming", "pages"]
    batches = list(data.test_dataloader())
    assert [batch["source"].tolist() for batch in batches] == [[1, 1, 2, 2], [2, 3]]
    assert "step_targets" not in batches[0]
    assert (batches[0]["labels"] == IGNORED).all()
    text = batches[1]["labels"][1]
    assert text[0] == IGNORED
    assert (text != IGNORED).sum() == 7, "eight words, the first of which nothing predicts"
    prompt = data.chat.prompt(rows[2].messages).ids
    assert batches[0]["input_ids"][2, : len(prompt)].tolist() == prompt
    assert rows[2].reference == "dog"
    data.setup("predict")
    assert [batch["index"].tolist() for batch in data.predict_dataloader()] == [[0, 1, 2, 3], [4, 5]]


def test_a_set_to_train_on_serves_to_evaluate_and_questions_to_train(folder):
    both = {"a": {"path": str(folder / "train.json"), "limit": 2}}
    data = made(folder, "test", test_on=both)
    assert [row.reference for row in data.rows("test")] == ["dog.", "A cat and A cat and dog."]
    data = made(folder, sources={"q": {"path": str(folder / "questions_val.jsonl"), "choices": "texts"}})
    answers = [row.messages[-1].parts for row in data.rows("fit") if row.messages]
    assert answers == [("dog",)] * 3 + [("red",)] * 2


def test_sources_are_mixed_by_weight(folder):
    path = str(folder / "train.json")
    sources = {"half": {"path": path, "weight": 0.5}, "twice": {"path": path, "weight": 2.0, "limit": 5}}
    data = made(folder, sources=sources, batch_size=2)
    assert data.protocol["rows_per_epoch"] == {"half": 10, "twice": 10}
    seen = torch.cat([batch["source"] for batch in data.train_dataloader()])
    assert torch.bincount(seen).tolist() == [10, 10]
    assert data.protocol["counts"]["fit"]["twice"]["rows"] == 5


def test_a_budget_bounds_every_batch(folder):
    data = made(folder, batch_tokens=60, batch_size=20)
    shapes = [batch["input_ids"].shape for batch in data.train_dataloader()]
    assert max(rows * length for rows, length in shapes) <= 60
    assert len({rows for rows, _ in shapes}) > 1


def test_long_rows_lose_their_oldest_turns_and_never_a_part_of_a_picture(tmp_path):
    write_set(tmp_path, pictured=2, texts=2)
    rows = json.loads((tmp_path / "train.json").read_text())
    rows[0]["conversations"] += [{"from": "human", "value": "Sure?"}, {"from": "gpt", "value": "Yes."}]
    rows[1]["conversations"][0]["value"] = "<image>" + " a cat" * 40
    (tmp_path / "train.json").write_text(json.dumps([*rows, {"id": "t", "text": "a cat " * 40}]))
    with pytest.warns(UserWarning, match="r1.*longer than max_length=20"):
        data = made(tmp_path, max_length=20, batch_size=1)
    assert data.protocol["problems"]["fit"] == {"over_length": 1, "rows_cut": 2}
    batches = [batch_of(data, [index]) for index in range(data.size("fit"))]
    assert max(batch["input_ids"].shape[1] for batch in batches) <= 20
    assert len(batches[0]["image"]) == 0, "the picture went with its turn"
    assert all((batch["image_of_token"] >= 0).sum() == 3 * len(batch["image"]) for batch in batches)


def spoil(folder):
    write_set(folder, pictured=4, texts=2)
    rows = json.loads((folder / "train.json").read_text())
    rows[0]["conversations"][1]["value"] = ""
    rows[1]["image"] = ["pictures/1.png", "pictures/2.png"]
    rows[5]["conversations"][0]["value"] = "Hi <|im_end|>"
    (folder / "train.json").write_text(json.dumps(rows))


def test_bad_rows_stop_the_run_or_are_counted(tmp_path):
    spoil(tmp_path)
    with pytest.raises(DataError, match=r"1 rows empty answer.*source .* row 'r0'.*on_bad_row=skip"):
        made(tmp_path)
    with pytest.warns(UserWarning, match="'r0'"):
        data = made(tmp_path, on_bad_row="skip", batch_size=1)
    assert data.size("fit") == 3
    assert data.protocol["problems"]["fit"] == {"empty_answer": 1, "malformed": 1, "marker_mismatch": 1}
    assert any("'r1'" in line and "1 markers" in line for line in data.protocol["warnings"])


def test_missing_pictures_stop_the_run_or_are_left_out_or_blank(tmp_path):
    write_set(tmp_path, pictured=4, texts=2)
    (tmp_path / "pictures/1.png").unlink()
    (tmp_path / "pictures/2.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"2 of 4 pictures cannot be read .*on_missing=skip"):
        made(tmp_path)
    with pytest.warns(UserWarning, match="^Left out of fit: 2 of 4 pictures"):
        skipped = made(tmp_path, on_missing="skip", batch_size=1, validate_on={})
    assert [row.id for row in skipped.rows("fit")] == ["r0", "r3", "r4", "r5"]
    assert skipped.protocol["problems"]["fit"] == {"missing_image": 2, "pictures_unreadable": 2}
    for cache in ("none", "memory"):
        with pytest.warns(UserWarning, match=r"^fit: 2 of 4 pictures .*: shown in the mean colour$"):
            blank = made(tmp_path, on_missing="blank", validate_on={}, mean=(0.1, 0.2, 0.3), cache=cache)
        image = batch_of(blank, [1])["image"]
        assert torch.allclose(image, torch.zeros_like(image), atol=0.01), "the mean colour, rounded to bytes"


def test_unknown_words_are_counted(tmp_path):
    write_set(tmp_path, pictured=1, texts=1)
    rows = [llava(0, "A dog."), llava(0, "A wombat.")]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    assert made(tmp_path, batch_size=1).protocol["problems"]["fit"] == {"rows_with_unknown_words": 1}


def test_an_empty_set_is_one_line(tmp_path):
    write_set(tmp_path, pictured=1, texts=0)
    with pytest.raises(DataError, match=r"no row is left of .*max_length=4") as caught:
        made(tmp_path, max_length=4)
    assert "\n" not in str(caught.value)


def test_memory_gives_the_same_batches(folder):
    for one, other in zip(
        made(folder).train_dataloader(), made(folder, cache="memory").train_dataloader(), strict=True
    ):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_features_of_a_frozen_tower_stand_in_for_pictures(folder):
    data = made(folder)
    plain = batch_of(data, [3, 15, 0])
    calls = []

    def tower(image):
        calls.append(len(image))
        return image.mean((2, 3))[:, None]

    data.use_features(tower, batch_size=10)
    batch = batch_of(data, [3, 15, 0])
    assert torch.equal(batch["features"], plain["image"].mean((2, 3))[:, None])
    assert "image" not in batch
    assert calls == [10, 4, 3], "each picture once: training, then validation"
    assert batch_of(data, [15])["features"].shape == (0, 1, 3)


def test_a_preview_marks_what_is_supervised(folder):
    line = made(folder).preview("fit", 0)
    assert "<picture 0 x3>" in line
    assert "[[dog|.|<|im_end|>]]" in line


def test_a_remembered_survey_is_the_same(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path))
    plain = made(folder)
    monkeypatch.setattr("vision_suite.datasets.conversations.survey.REMEMBER_FROM", 1)
    first = made(folder)
    monkeypatch.setattr("vision_suite.datasets.conversations.survey.survey", None)
    again = made(folder, cache="memory")
    for data in (first, again):
        assert data.protocol == plain.protocol
        assert data.rows("fit") == plain.rows("fit")
        assert np.array_equal(data._stages["fit"].survey.lengths, plain._stages["fit"].survey.lengths)


def test_settings_of_a_checkpoint_give_the_same_input(folder):
    changes = {"mean": (0.1, 0.2, 0.3), "square": "stretch", "max_length": 50, "template": "chatml"}
    data = made(folder, "test", **changes)
    found = InstructData.evaluation_settings(data.preprocessing)
    assert found["system"] == ""
    other = InstructData(**{"root": str(folder), "eval_batch_size": 4, **found})
    other.setup("test")
    assert other.preprocessing == data.preprocessing
    for one, two in zip(data.test_dataloader(), other.test_dataloader(), strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_facts_tell_the_vocabulary(folder):
    data = made(folder)
    assert InstructData.declared_facts() == ("vocabulary_size", "image_tokens")
    assert data.fact_contents["vocabulary_size"] == {
        "count": data.vocabulary_size, "sha256": data.chat.vocabulary_sha256
    }  # fmt: skip
    assert data.protocol["vocabulary_sha256"] == data.chat.vocabulary_sha256
    assert data.chat.decode(data.chat.encode([Message("user", ("A cat?",)), Message("assistant", ("No.",))]).ids)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"root": None}, "no data set"),
        ({"max_length": 0}, "max_length=0"),
        ({"batch_tokens": 0}, "batch_tokens=0"),
        ({"on_missing": "ignore"}, "on_missing='ignore'"),
        ({"sources": {"a": {"path": "x", "weight": -1.0}}}, "weight=-1.0"),
        ({"sources": {"a": {"path": "x", "wait": 1}}}, "no setting 'wait'"),
    ],
)
def test_settings_that_are_refused(folder, changes, message):
    with pytest.raises(ConfigError, match=message):
        InstructData(**settings(folder, **changes))


def test_a_task_with_and_without_choices_is_refused_before_it_is_scored(tmp_path):
    write_set(tmp_path)
    choice = {"source": "s", "question": "Red?", "choices": ["green", "red"], "answer": "B"}
    free = {"source": "s", "question": "Red?", "answer": "red"}
    path = tmp_path / "mixed.jsonl"
    path.write_text("\n".join(json.dumps({"turns": [turn]}) for turn in (choice, free)))
    with pytest.raises(DataError, match="task 's' has questions with and without choices"):
        made(tmp_path, stage="validate", validate_on={"q": {"path": str(path)}})
    assert made(tmp_path, stage="predict", predict_on={"q": {"path": str(path)}}).size("predict") == 2
    chains = [{"id": f"iit-{n}", "config": "T" * n, "turns": [{"kind": "T", **choice}] * n} for n in (1, 2)]
    named = tmp_path / "chains.jsonl"
    named.write_text("\n".join(map(json.dumps, chains)))
    path.write_text(json.dumps({"turns": [free]}))
    both = {"q": {"path": str(path)}, "chains": {"path": str(named)}}
    assert made(tmp_path, stage="validate", validate_on=both).size("validate") == 3


@pytest.mark.parametrize("turn", [{"choices": ["<|im_end|>", "red"], "answer": "B"}, {"answer": "<image>"}])
def test_an_answer_that_cannot_be_encoded_is_a_bad_row(tmp_path, turn):
    """It is encoded only when it is scored, which is too late to say so."""
    write_set(tmp_path)
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps({"turns": [{"question": "Red?", **turn}]}))
    with pytest.raises(DataError, match=r"1 rows malformed.*the special token"):
        made(tmp_path, stage="validate", validate_on={"q": {"path": str(path), "choices": "texts"}})
