"""The datamodule of pairs: ids kept apart, ends, units, controls, faults and counts."""

import json

import numpy as np
import pytest
import torch
from pairs import CONTEXT, official, settings, write_pairs_set

from vision_suite.datasets.loading import BatchKey
from vision_suite.datasets.preference import PreferenceData
from vision_suite.datasets.preference.encode import changed_weights
from vision_suite.errors import ConfigError, DataError

pytestmark = pytest.mark.filterwarnings("ignore:Left out of")
PAIRS = [
    official(0),
    official(1, chosen_ends=True, rejected_ends=False),
    official(2, context=""),
    official(3, context="", chosen_ends=False, rejected_ends=True),
    official(4, context=f"{CONTEXT} A fish is below the cat.", y_win="There is a pig."),
    official(5, y_win="There is a red fish!", y_lose="There is a pig."),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_pairs_set(tmp_path_factory.mktemp("pairs") / "set", PAIRS)


def made(folder, **changes):
    data = PreferenceData(**settings(folder, **changes))
    data.setup("fit")
    return data


def batch_of(data, indices):
    return data._batches("fit", 0)[BatchKey(indices, 0, 0)]


def ids_of(batch, row):
    """Ids of the beginning and of both continuations, without padding."""
    begin = batch["input_ids"][row][batch["attention_mask"][row]].tolist()
    return begin, *(batch["branch_ids"][row, side][batch["branch_mask"][row, side]].tolist() for side in (0, 1))


def test_the_beginning_and_both_continuations_are_kept_apart(folder):
    """What is trained on is what a model would read and write: the prompt, then its own words."""
    data = made(folder)
    batch = batch_of(data, range(len(PAIRS)))
    for row, pair in enumerate(PAIRS):
        messages = data.pairs()[row].messages
        begin, *sides = ids_of(batch, row)
        prompt = data.chat.prompt(messages).ids
        assert begin[: len(prompt)] == prompt
        context = begin[len(prompt) :]
        assert batch["context_length"][row] == len(context)
        assert data.chat.decode(context).split() == pair["context"].lower().split()
        for text, ids in zip((pair["y_win"], pair["y_lose"]), sides, strict=True):
            assert data.chat.decode(ids).split() == text.lower().split()
            assert data.chat.image_token_id not in ids
        assert (batch["input_ids"][row] == data.chat.image_token_id).sum() == 3
        assert (batch["image_of_token"][row] == row).sum() == 3
        length = len(begin)
        assert batch["position_ids"][row, :length].tolist() == list(range(length))
        assert (batch["branch_ids"][row][~batch["branch_mask"][row]] == data.chat.pad_id).all()
    assert batch["image"].shape == (6, 3, 8, 8)
    assert batch["index"].tolist() == list(range(6))
    assert set(batch) == {
        "input_ids", "attention_mask", "position_ids", "image_of_token", "image", "branch_ids", "branch_mask",
        "context_length", "index", "source",
    }  # fmt: skip


def test_ends_are_those_of_the_record_or_of_the_release(folder):
    """Released files do not tell: there an answer ends if it has no context."""
    batch = batch_of(data := made(folder), range(4))
    end = data.chat.end_ids[0]
    ends = [[ids[-1] == end for ids in ids_of(batch, row)[1:]] for row in range(4)]
    assert ends == [[False, False], [True, False], [True, True], [False, True]]


def test_whole_captions_hold_the_same_words(folder):
    """Plain DPO on the same pairs: the context moves into both answers, and ends stay as they were."""
    sentences, captions = made(folder), made(folder, unit="caption")
    one, other = (batch_of(data, range(len(PAIRS))) for data in (sentences, captions))
    assert (other["context_length"] == 0).all()
    for row in range(len(PAIRS)):
        begin, *sides = ids_of(one, row)
        count = int(one["context_length"][row])
        prompt, context = begin[: len(begin) - count], begin[len(begin) - count :]
        assert list(ids_of(other, row)) == [prompt, *(context + side for side in sides)]


def test_the_order_of_pairs_is_drawn_by_the_seed(tmp_path):
    folder = write_pairs_set(tmp_path / "many", [official(n, chosen_ends=True, rejected_ends=False) for n in range(40)])
    plain = made(folder)
    mixed, again, other = (made(folder, shuffle_labels=True, seed=seed) for seed in (1, 1, 2))
    key = list(range(40))
    one, two = batch_of(plain, key), batch_of(mixed, key)
    assert torch.equal(one["input_ids"], two["input_ids"])
    swapped = [not torch.equal(one["branch_ids"][n], two["branch_ids"][n]) for n in key]
    assert 8 < sum(swapped) < 32
    for n in key:
        assert torch.equal(one["branch_ids"][n], two["branch_ids"][n].flip(0) if swapped[n] else two["branch_ids"][n])
        assert mixed.pairs()[n].chosen == (plain.pairs()[n].rejected if swapped[n] else plain.pairs()[n].chosen)
        assert mixed.pairs()[n].chosen_ends is not swapped[n]
    assert torch.equal(two["branch_ids"], batch_of(again, key)["branch_ids"])
    assert not torch.equal(two["branch_ids"], batch_of(other, key)["branch_ids"])
    assert mixed.protocol["problems"]["fit"]["pairs_in_other_order"] == sum(swapped)
    held = made(folder, shuffle_labels=True, seed=1, cache="memory")
    assert torch.equal(two["branch_ids"], batch_of(held, key)["branch_ids"])


def test_weights_of_changed_ids(folder):
    """DDPO: 5 / (4 + 5 * 2) for each of two changed ids among six."""
    found = changed_weights(np.array([1, 2, 9, 9, 3, 4]), np.array([1, 2, 7, 3, 4]), 5.0)
    assert found.tolist() == pytest.approx([1 / 14, 1 / 14, 5 / 14, 5 / 14, 1 / 14, 1 / 14])
    batch = batch_of(made(folder, changed_weight=5.0), [0, 5])
    assert batch["branch_weights"].sum(2).tolist() == [pytest.approx([1.0, 1.0])] * 2
    assert (batch["branch_weights"][~batch["branch_mask"]] == 0).all()
    even = batch_of(made(folder, changed_weight=1.0), [0])
    lengths = even["branch_mask"].sum(2, keepdim=True)
    assert torch.allclose(even["branch_weights"], even["branch_mask"] / lengths)


def test_pairs_without_a_difference_and_long_ones_are_counted(tmp_path):
    long = official(2, y_win="There is a big red fish. " * 9)
    pairs = [official(0), official(1, y_win="A dog. ", y_lose="A dog."), long, official(3)]
    folder = write_pairs_set(tmp_path / "set", pairs)
    data = made(folder, max_length=40)
    assert data.size("fit") == 2
    assert data.protocol["problems"]["fit"] == {"identical": 1, "over_length": 1}
    assert len(data.protocol["warnings"]) == 2
    with pytest.raises(ConfigError, match="max_length=0"):
        made(folder, max_length=0)


@pytest.mark.parametrize("policy", ["error", "skip"])
def test_a_limit_within_a_picture_stops(folder, policy):
    with pytest.raises(DataError, match=r"6 rows pictures cut \(.*max_length=5\): raise --data.max_length") as caught:
        made(folder, max_length=5, on_bad_row=policy)
    assert "\n" not in str(caught.value)


def test_malformed_pairs_stop_or_are_counted(tmp_path):
    pairs = [official(0), official(1, y_win=""), official(2, y_win="<|im_end|> A dog."), official(3)]
    folder = write_pairs_set(tmp_path / "set", pairs)
    with pytest.raises(DataError, match=r"1 rows no targets, 1 rows malformed .*on_bad_row=skip"):
        made(folder)
    data = made(folder, on_bad_row="skip")
    assert data.protocol["problems"]["fit"] == {"malformed": 1, "no_targets": 1}
    (folder / "pictures/3.png").unlink()
    with pytest.raises(DataError, match="1 of 2 pictures cannot be read"):
        made(folder, on_bad_row="skip")
    assert made(folder, on_bad_row="skip", on_missing="skip").size("fit") == 1


def test_batches_are_those_of_any_cache_and_cover_an_epoch(folder):
    plain, held = made(folder), made(folder, cache="memory")
    seen = []
    for one, other in zip(plain.train_dataloader(), held.train_dataloader(), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
        seen += one["index"].tolist()
    assert sorted(seen) == list(range(6))
    assert plain.state_dict()["order"]["pairs"] == 6


def test_facts_and_preprocessing_make_the_same_data(folder):
    data = made(folder)
    assert data.declared_facts() == ("vocabulary_size", "image_tokens")
    assert PreferenceData.evaluation_settings(data.preprocessing)["max_length"] == 2048
    assert data.protocol["unit"] == "sentence"
    assert str(data) == "PreferenceData (pairs: fit 6, validate 0, test 0, predict 0)"
    (first, *_) = data.rows("fit")
    assert first.messages[-1].parts == ("There is a cat. A dog is above the cat.",)
    assert data.hallucination_items("validate") == []


def test_settings_are_checked(folder, tmp_path):
    with pytest.raises(ConfigError, match="no data"):
        PreferenceData(**settings(folder, sources=None))
    with pytest.raises(ConfigError, match=r"unit="):
        PreferenceData(**settings(folder, unit="word"))
    with pytest.raises(ConfigError, match=r"changed_weight=0\.5"):
        PreferenceData(**settings(folder, changed_weight=0.5))
    with pytest.raises(ConfigError, match="sources has no setting 'paths'"):
        PreferenceData(**settings(folder, sources={"a": {"paths": "b"}}))
    with pytest.raises(DataError, match=r"nothing to test on: give --data\.test_on"):
        PreferenceData(**settings(folder)).setup("test")
    (tmp_path / "same.jsonl").write_text(json.dumps(official(0, y_win="A.", y_lose="A.")))
    with pytest.raises(DataError, match=r"no row is left of pairs: .*both answers are the same"):
        made(folder, sources={"pairs": {"path": str(tmp_path / "same.jsonl")}})
