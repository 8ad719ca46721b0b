"""A run of LitWings that was killed in the middle of an epoch and resumed is the run that was not."""

import json
import signal
from pathlib import Path

import children
import instruct_tiny
import pytest
import pytorch_lightning as pl
import torch
from lit_training import Diary

from vision_suite.layers.decoders import new_decoder
from vision_suite.text.tokenizers import word_tokenizer


def fit(root, folder, name, *, every, kill_after=None, resume=None, **settings):
    """Two epochs of 6 batches, two of them a step; ``<name>.jsonl`` and, at the end, ``<name>.pt``."""
    pl.seed_everything(5, verbose=False)
    data = instruct_tiny.squares(root, batch_size=2, **settings.pop("data", {}))
    net = instruct_tiny.module(data, **settings)
    net.parts = 2 if resume is None else 1  # as after a lack of memory; a checkpoint brings it back
    torch.manual_seed(len(name))
    callbacks = [Diary(folder / f"{name}.jsonl", kill_after), instruct_tiny.every(folder / name, every)]
    run = instruct_tiny.trainer(
        folder, callbacks=callbacks, max_epochs=2, accumulate_grad_batches=2, limit_val_batches=1.0
    )
    run.fit(net, datamodule=data, ckpt_path=resume, weights_only=True)
    torch.save(net.state_dict(), folder / f"{name}.pt")


@pytest.mark.long
@pytest.mark.parametrize("save_frozen", [True, False])
def test_kill_and_resume_equals_no_kill(save_frozen, tmp_path):
    root = instruct_tiny.write_squares(tmp_path / "squares")
    tokenizer = word_tokenizer((root / "words.txt").read_text().splitlines())
    tokenizer.save_pretrained(tmp_path / "decoder")
    new_decoder(instruct_tiny.SHAPE, len(tokenizer)).save_pretrained(tmp_path / "decoder")
    settings = {
        "decoder": {"source": str(tmp_path / "decoder")}, "save_frozen": save_frozen,
        "data": {"packed": True, "batch_tokens": 64}, "train": None if save_frozen else ("projector", "visual"),
    }  # fmt: skip
    assert children.run(fit, root, tmp_path, "whole", every=100, **settings) == [0]
    assert children.run(fit, root, tmp_path, "first", every=2, kill_after=3, **settings) == [-signal.SIGKILL]
    checkpoint = tmp_path / "first" / "step=2.ckpt"
    assert children.run(fit, root, tmp_path, "second", every=100, resume=str(checkpoint), **settings) == [0]
    whole, second = (lines(tmp_path / f"{name}.jsonl") for name in ("whole", "second"))
    assert second == whole[-len(second) :]
    assert {line["step"] for line in second} >= {3, 4}
    one, two = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("whole", "second"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]
