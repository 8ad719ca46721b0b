"""LitSentinel in two gloo processes: the weights are those of one process that accumulates their batches."""

import os

import children
import instruct_tiny
import preference_tiny
import pytest
import pytorch_lightning as pl
import torch

pytestmark = pytest.mark.dist
GROUPS = [[4, 5], [6, 7], [8, 9], [10, 11]]
PARTS = ("tower", "projector", "decoder")


def network(root, **settings):
    pl.seed_everything(5, verbose=False)
    data = instruct_tiny.squares(root)
    net = preference_tiny.module(data, train=PARTS, **settings)
    return net, [preference_tiny.batch(data, rows) for rows in GROUPS]


def one(root, folder):
    net, batches = network(root)
    run = instruct_tiny.trainer(folder, max_epochs=1, accumulate_grad_batches=2)
    run.fit(net, preference_tiny.loader(batches))
    assert run.global_step == 2
    return {name: value.detach() for name, value in net.model.named_parameters()}


def two(root, folder, recovers):
    rank = int(os.environ["RANK"])
    net, batches = network(root, recover_memory=recovers)
    run = instruct_tiny.trainer(folder, max_epochs=1, strategy="ddp", devices=2)
    run.fit(net, preference_tiny.loader(batches[rank::2]))
    start = preference_tiny.module(instruct_tiny.squares(root), train=PARTS).model.state_dict()
    with net.reference.active():
        assert all(torch.equal(start[name], value) for name, value in net.model.named_parameters())
    weights = {name: value.detach() for name, value in net.model.named_parameters()}
    torch.save(weights, folder / f"{recovers}-{rank}.pt")


@pytest.mark.parametrize("recovers", [True, False])
def test_two_processes(recovers, tmp_path):
    root = instruct_tiny.write_squares(tmp_path / "squares")
    alone = one(root, tmp_path / "one")
    assert children.run(two, root, tmp_path, recovers, ranks=2) == [0, 0]
    found = [torch.load(tmp_path / f"{recovers}-{rank}.pt", weights_only=True) for rank in (0, 1)]
    for name, value in alone.items():
        assert torch.equal(found[0][name], found[1][name]), name
        torch.testing.assert_close(found[0][name], value, rtol=1e-4, atol=2e-6, msg=name)
