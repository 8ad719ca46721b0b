"""A run on conversations, killed in the middle of an epoch and resumed, sees the batches of an uninterrupted run."""

import pytest
from conversations import settings, write_set
from interrupted import compare

from vision_suite.datasets.instruct import InstructData


@pytest.mark.parametrize(
    ("workers", "changes", "accumulate"),
    [
        (0, {"cache": "memory"}, 1),
        (2, {"packed": True, "batch_tokens": 60, "batch_size": 8}, 2),
    ],
)
def test_killed_and_resumed_equals_uninterrupted(tmp_path, workers, changes, accumulate):
    write_set(tmp_path / "set")
    mixed = {"all": {"path": str(tmp_path / "set/train.json")}, "some": {"path": str(tmp_path / "set/train.json"),
             "weight": 0.3}}  # fmt: skip
    own = settings(tmp_path / "set", **{"sources": mixed, "batch_size": 3, **changes})
    found = compare(tmp_path, lambda number: InstructData(**own | {"num_workers": number}), workers, 4, accumulate)
    assert len({line[3] for line in found}) == len(found), "every batch is a new one"
