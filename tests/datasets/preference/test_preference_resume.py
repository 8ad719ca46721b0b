"""Pairs of a run that is killed and resumed, and of one in two processes: each is seen as in an uninterrupted run."""

import json
import os

import children
import pytest
import pytorch_lightning as pl
from interrupted import Recorder, compare, lines
from pairs import CONTEXT, official, settings, write_pairs_set

from vision_suite.datasets.preference import PreferenceData

COUNT = 16


def write(folder):
    """Pairs whose contexts differ in length."""
    pairs = [
        official(n, context=" ".join([CONTEXT] * (n % 4)), y_win=f"A dog is {'big ' * (n % 3)}.") for n in range(COUNT)
    ]
    return write_pairs_set(folder, pairs)


@pytest.mark.parametrize(
    ("workers", "changes", "accumulate"),
    [
        (0, {"cache": "memory", "shuffle_labels": True}, 1),
        (2, {"batch_tokens": 90, "batch_size": 4, "changed_weight": 5.0, "unit": "caption"}, 2),
    ],
)
def test_killed_and_resumed_equals_uninterrupted(tmp_path, workers, changes, accumulate):
    path = str(write(tmp_path / "set") / "pairs.jsonl")
    mixed = {"all": {"path": path}, "some": {"path": path, "weight": 0.3}}
    own = settings(tmp_path / "set", **{"sources": mixed, **changes})
    found = compare(tmp_path, lambda number: PreferenceData(**own | {"num_workers": number}), workers, 4, accumulate)
    epochs = [[line for line in found if line[0] == epoch] for epoch in (0, 1)]
    assert len(epochs[0]) == len(epochs[1]) > 4
    assert [line[2] for line in epochs[0]] != [line[2] for line in epochs[1]], "a new order in each epoch"


def one_of_two(folder, out):
    rank = int(os.environ["RANK"])
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", strategy="ddp", devices=2, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0, default_root_dir=out,
    )  # fmt: skip
    data = PreferenceData(**settings(folder))
    trainer.fit(Recorder(out / f"{rank}.log"), datamodule=data)
    (out / f"{rank}.json").write_text(json.dumps([data.size("fit"), trainer.global_step]))


@pytest.mark.dist
def test_two_processes_share_the_pairs(tmp_path):
    """Of each step and each epoch, with Lightning's settings as they are (it may replace samplers if it can)."""
    folder = write(tmp_path / "set")
    assert children.run(one_of_two, folder, tmp_path, ranks=2) == [0, 0]
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)] == [[COUNT, COUNT // 2]] * 2
    shards = [lines(tmp_path / f"{rank}.log") for rank in (0, 1)]
    orders = []
    for epoch in (0, 1):
        seen = [[line[2] for line in shard if line[0] == epoch] for shard in shards]
        assert [len(batches) for batches in seen] == [COUNT // 4] * 2
        one, other = ([index for batch in batches for index in batch] for batches in seen)
        assert not set(one) & set(other)
        assert sorted(one + other) == list(range(COUNT))
        orders.append(seen)
    assert orders[0] != orders[1], "a new order in each epoch"
