"""Lack of memory in a training step: all processes go on with smaller parts, and learn what they would have learnt."""

import children
import pytest
import pytorch_lightning as pl
import torch
from lit_training import QUIET
from torch import nn
from torch.utils.data import DataLoader

from vision_suite.errors import MemoryShortError
from vision_suite.lit_modules.in_parts import LitInParts
from vision_suite.optim import OptimConfig

TWO = {"strategy": "ddp", "devices": 2}


class LitToy(LitInParts):
    """A sum of squares; a pass over more than so many rows finds no memory in some processes, at some steps."""

    def __init__(self, most=10**6, *, where="forward", ranks=(0, 1), first=0):
        super().__init__(OptimConfig(lr=0.1, name="sgd", schedule="constant", weight_decay=0.0))
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.0), nn.Linear(4, 1))
        self.most, self.where, self.ranks, self.first = most, where, ranks, first
        self.losses, self.sizes = [], []

    def part_loss(self, batch):
        self.sizes.append(len(batch))
        hidden = self.net[0](batch)
        short = len(batch) > self.most and self.global_rank in self.ranks and self.trainer.global_step >= self.first
        if short and self.where == "forward":
            raise torch.OutOfMemoryError("CUDA out of memory")
        if short:
            hidden.register_hook(fail)
        loss = self.net[2](hidden).square().sum()
        return loss, {"rows": torch.tensor(float(len(batch)))}

    def cut(self, batch, parts):
        return batch.chunk(parts)

    def log_step(self, batch, loss, sums):
        assert sums["rows"] == len(batch)
        self.losses.append(float(loss))


def fail(gradient):
    raise torch.OutOfMemoryError("CUDA out of memory")


def fit(net, tmp_path, steps=4, **settings):
    torch.manual_seed(3)
    rows = torch.randn(8 * steps * 2, 3)
    rank = int(settings.pop("rank", 0))
    batches = list(rows.chunk(steps * 2)[rank::2] if "strategy" in settings else rows.chunk(steps * 2))
    run = pl.Trainer(
        default_root_dir=tmp_path, logger=False, enable_checkpointing=False, max_epochs=1, **{**QUIET, **settings}
    )
    run.fit(net, DataLoader(batches, batch_size=None))
    return {name: value.detach().clone() for name, value in net.state_dict().items()}, net


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_weights_are_those_of_whole_batches(where, accumulate, tmp_path):
    settings = {"accumulate_grad_batches": accumulate, "gradient_clip_val": 0.5}
    whole, _ = fit(LitToy(), tmp_path, **settings)
    with pytest.warns(UserWarning, match="memory ran short at step 1: .* 4 parts in every process"):
        parts, net = fit(LitToy(most=2, where=where, first=1), tmp_path, **settings)
    assert net.parts == 4
    assert max(net.sizes[-4:]) == 2
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value)


def test_nothing_changes_while_memory_lasts(tmp_path):
    class Plain(LitToy):
        _recovers = False

    guarded, net = fit(LitToy(), tmp_path, accumulate_grad_batches=2)
    plain, other = fit(Plain(), tmp_path, accumulate_grad_batches=2)
    assert net.losses == other.losses
    assert all(torch.equal(guarded[name], plain[name]) for name in plain)


def test_rows_that_cannot_be_cut(tmp_path):
    with pytest.raises(MemoryShortError, match=r"cut into 8 parts, and a part is a single row: shorten rows"):
        fit(LitToy(most=0), tmp_path)


def test_other_errors_come_out(tmp_path):
    class Broken(LitToy):
        def part_loss(self, batch):
            raise RuntimeError("a fault of the test")

    with pytest.raises(RuntimeError, match="a fault of the test"):
        fit(Broken(), tmp_path)


def test_the_number_of_parts_is_kept(tmp_path):
    net, other = LitToy(), LitToy()
    net.parts = 4
    checkpoint = {}
    net.on_save_checkpoint(checkpoint)
    other.on_load_checkpoint(checkpoint)
    assert other.parts == 4


def fit_two(folder, most, where, ranks):
    import os

    rank = os.environ["RANK"]
    weights, net = fit(LitToy(most, where=where, ranks=ranks, first=1), folder, rank=rank, **TWO)
    torch.save({"weights": weights, "parts": net.parts}, folder / f"{most}-{where}-{rank}.pt")


@pytest.mark.dist
@pytest.mark.parametrize("where", ["forward", "backward"])
def test_one_process_of_two_is_short(where, tmp_path):
    assert children.run(fit_two, tmp_path, 100, where, (), ranks=2) == [0, 0]
    assert children.run(fit_two, tmp_path, 4, where, (1,), ranks=2) == [0, 0]
    whole = [torch.load(tmp_path / f"100-{where}-{rank}.pt") for rank in (0, 1)]
    short = [torch.load(tmp_path / f"4-{where}-{rank}.pt") for rank in (0, 1)]
    assert [each["parts"] for each in whole + short] == [1, 1, 2, 2]
    for name, value in whole[0]["weights"].items():
        assert torch.equal(value, whole[1]["weights"][name])
        assert torch.equal(short[0]["weights"][name], short[1]["weights"][name])
        torch.testing.assert_close(short[0]["weights"][name], value)
