"""Log-probabilities before training: computed once, found again by everything that they depend on."""

import json
import os

import numpy as np
import pytest
import torch
from conversations import picture
from pairs import official, settings, write_pairs_set

from vision_suite.datasets.loading import BatchKey
from vision_suite.datasets.preference import PreferenceData
from vision_suite.datasets.preference.reference import KeyedLogps, branch_keys, reference_path
from vision_suite.errors import ConfigError, DataError


class Score:
    """Sums that tell continuations apart, and the number of pairs that were scored."""

    def __init__(self):
        self.pairs = 0

    def __call__(self, batch):
        self.pairs += len(batch["index"])
        ids = torch.where(batch["branch_mask"], batch["branch_ids"], 0)
        pixels = batch["image"].double().mean((1, 2, 3))
        return -(ids.double().sum(2) + pixels[:, None] + batch["input_ids"].sum(1, keepdim=True) / 100)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))
    pairs = [official(n, context="There is a cat. " * (n % 3)) for n in range(5)]
    return write_pairs_set(tmp_path / "set", pairs)


def made(folder, **changes):
    data = PreferenceData(**settings(folder, **changes))
    data.setup("fit")
    return data


def filled(folder, weights="w", **changes):
    data, score = made(folder, **changes), Score()
    assert all("reference_logps" not in batch for batch in data.train_dataloader())
    data.use_reference(score, weights)
    return data, score.pairs


def by_index(data):
    found = {}
    for batch in data.train_dataloader():
        assert batch["reference_logps"].dtype == torch.float64
        found |= dict(zip(batch["index"].tolist(), batch["reference_logps"].tolist(), strict=True))
    return [found[index] for index in sorted(found)]


def test_batches_have_what_was_computed_once(folder):
    data, scored = filled(folder, batch_size=1)
    assert scored == 5
    own = [Score()(data._batches("fit", 0)[key])[0].tolist() for key in keys_of_rows()]
    assert by_index(data) == [pytest.approx(each) for each in own]
    again, scored = filled(folder, batch_size=1)
    assert scored == 0
    assert by_index(again) == by_index(data)


def keys_of_rows():
    return [BatchKey([index], 0, 0) for index in range(5)]


def test_only_what_is_new_is_computed(folder):
    filled(folder)
    assert filled(folder, weights="v")[1] == 5, "another network"
    assert filled(folder, image_size=(10, 10))[1] == 5, "another form of pictures"
    assert filled(folder, image_tokens=2)[1] == 5, "another beginning"
    assert filled(folder, unit="caption")[1] > 0, "other continuations"
    assert filled(folder)[1] == 0, "and the first ones are still there"
    with (folder / "pairs.jsonl").open("a") as file:
        file.write(json.dumps(official(0, y_win="There is a pig.")) + "\n")
    assert filled(folder)[1] == 1, "one new pair"
    picture(folder / "pictures/1.png", (1, 2, 3))
    assert filled(folder)[1] == 1, "other bytes of one picture"


def test_the_order_within_a_pair_needs_nothing_new(folder):
    plain, _ = filled(folder, batch_size=1)
    mixed, scored = filled(folder, batch_size=1, shuffle_labels=True)
    assert scored == 0
    assert [sorted(each) for each in by_index(mixed)] == [sorted(each) for each in by_index(plain)]


def test_nothing_is_kept_of_a_run_that_stops(folder):
    data = made(folder)

    def stop(batch):
        if 4 in batch["index"].tolist():
            raise KeyboardInterrupt
        return Score()(batch)

    with pytest.raises(KeyboardInterrupt):
        data.use_reference(stop, "w")
    assert not reference_path("w").exists()
    assert all("reference_logps" not in batch for batch in data.train_dataloader())


@pytest.mark.parametrize("value", [torch.zeros(2), torch.full((2, 2), torch.nan)])
def test_other_shapes_and_numbers_are_refused(folder, value):
    with pytest.raises(DataError, match="not finite"):
        made(folder).use_reference(lambda batch: value, "w")
    with pytest.raises(ConfigError, match="setup"):
        PreferenceData(**settings(folder)).use_reference(Score(), "w")


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "r.npz"
    stored = KeyedLogps(path)
    stored.add([b"a" * 32, b"b" * 32], [-1.0, -2.5])
    assert (KeyedLogps(path)[b"b" * 32], len(KeyedLogps(path))) == (-2.5, 2)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(DataError, match=r"is damaged .*remove it"):
        KeyedLogps(path)
    np.savez(path, keys=np.zeros((2, 3), np.uint8), logps=np.zeros(2))
    with pytest.raises(DataError, match="other arrays"):
        KeyedLogps(path)
    np.savez(path, keys=np.array([{}], dtype=object), logps=np.zeros(1))
    with pytest.raises(DataError, match="is damaged"):
        KeyedLogps(path)


def test_keys_tell_apart_where_a_continuation_begins(folder):
    data = made(folder)
    rows = data._training_rows()
    samples = [rows.sample(index) for index in range(len(rows))]
    keys = [key for both in branch_keys(samples, weights="w") for key in both]
    assert len(set(keys)) == len(keys) == 10
    assert {len(key) for key in keys} == {32}
