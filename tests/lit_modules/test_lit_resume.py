"""A run that was killed in the middle of an epoch and resumed is the run that was not."""

import signal

import children
import lit_training
import pytest
import torch
from synthetic import write_market


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_market(tmp_path_factory.mktemp("market"), train_ids=6, test_ids=3, val_ids=3)


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory):
    """Uninterrupted runs, by settings."""
    folders = {}

    def run(**settings):
        key = tuple(sorted(settings.items()))
        if key not in folders:
            folders[key] = tmp_path_factory.mktemp("whole")
            assert children.run(lit_training.fit, root, folders[key], name="whole", every=100, **settings) == [0]
        return folders[key]

    return run


@pytest.mark.parametrize(
    ("every", "kill_after", "settings"),
    [
        (3, 7, {"ema": True}),  # killed in epoch 2, checkpoint in epoch 2
        (2, 3, {"ema": False, "interval": "epoch"}),  # in epoch 1
        (4, 6, {"ema": False, "interval": "epoch"}),  # the checkpoint is of an epoch's last step
    ],
)
def test_kill_and_resume_equals_no_kill(every, kill_after, settings, root, whole, tmp_path):
    assert children.run(
        lit_training.fit, root, tmp_path, name="first", every=every, kill_after=kill_after, **settings
    ) == [-signal.SIGKILL]
    assert not (tmp_path / "first.pt").exists()
    last = kill_after // every * every
    checkpoint = tmp_path / "first" / f"step={last}.ckpt"
    assert children.run(
        lit_training.fit, root, tmp_path, name="second", every=100, resume=str(checkpoint), **settings
    ) == [0]

    reference = whole(**settings)
    expected = lit_training.diary(reference, "whole")
    assert [line["step"] for line in expected if line["kind"] == "train"] == list(range(1, 13))
    assert lit_training.diary(tmp_path, "first") == [line for line in expected if line["step"] <= kill_after]
    # Lightning counts an epoch as done after its last step and does not make up for its validation.
    assert lit_training.diary(tmp_path, "second") == [line for line in expected if line["step"] > last]
    assert "train/loss_pwca" in expected[0]
    assert "val/glca/mAP" in next(line for line in expected if line["kind"] == "val")

    one = torch.load(reference / "whole.pt", weights_only=True)
    two = torch.load(tmp_path / "second.pt", weights_only=True)
    for kind in ("weights", "averages"):
        assert one[kind].keys() == two[kind].keys()
        for name, value in one[kind].items():
            assert torch.equal(value, two[kind][name]), (kind, name)
    assert bool(one["averages"]) is settings["ema"]
    assert one["weights"]["model.head.neck.num_batches_tracked"] == 12
