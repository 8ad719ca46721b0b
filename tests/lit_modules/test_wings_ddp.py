"""LitWings in two gloo processes, one of which sees no picture: the weights are those of one process."""

import os

import children
import instruct_tiny
import pytest
import pytorch_lightning as pl
import torch

pytestmark = pytest.mark.dist
# Rows 0..7 have pictures, the others are text. Each step has a batch of either kind.
GROUPS = [[0, 1, 2], [8, 9], [10, 11, 8], [3, 4], [5, 6], [9, 10]]
PARTS = ("tower", "projector", "visual", "textual", "router", "decoder")


def network(root, **settings):
    pl.seed_everything(5, verbose=False)
    data = instruct_tiny.squares(root)
    net = instruct_tiny.module(data, train=PARTS, **settings)
    net.model.image_token_id = data.chat.image_token_id
    return net, data


def one(root, folder):
    net, data = network(root)
    loaders = [instruct_tiny.planned(data, GROUPS, rank, 2).dataset for rank in (0, 1)]
    batches = [batch for pair in zip(*loaders, strict=True) for batch in pair]
    run = instruct_tiny.trainer(folder, max_epochs=1, accumulate_grad_batches=2)
    run.fit(net, torch.utils.data.DataLoader(batches, batch_size=None))
    assert run.global_step == 3
    return {name: value.detach() for name, value in net.named_parameters()}


def two(root, folder, kind):
    rank = int(os.environ["RANK"])
    strategy = "ddp"
    if kind == "fsdp2":
        from pytorch_lightning.strategies import ModelParallelStrategy

        strategy = ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1, process_group_backend="gloo")
    net, data = network(root, recover_memory=kind != "plain")
    run = instruct_tiny.trainer(folder, max_epochs=1, strategy=strategy, devices=2)
    run.fit(net, instruct_tiny.planned(data, GROUPS, rank, 2))
    weights = {name: value.detach() for name, value in net.named_parameters()}
    assert all(hasattr(value, "full_tensor") == (kind == "fsdp2") for value in weights.values())
    weights = {name: value.full_tensor() if hasattr(value, "full_tensor") else value for name, value in weights.items()}
    torch.save(weights, folder / f"{kind}-{rank}.pt")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return instruct_tiny.write_squares(tmp_path_factory.mktemp("set") / "squares")


@pytest.fixture(scope="module")
def alone(root, tmp_path_factory):
    return one(root, tmp_path_factory.mktemp("one"))


@pytest.mark.parametrize("kind", ["recovers", "plain", "fsdp2"])
def test_a_process_without_pictures(kind, root, alone, tmp_path):
    assert children.run(two, root, tmp_path, kind, ranks=2) == [0, 0]
    found = [torch.load(tmp_path / f"{kind}-{rank}.pt", weights_only=True) for rank in (0, 1)]
    for name, value in alone.items():
        assert torch.equal(found[0][name], found[1][name]), name
        torch.testing.assert_close(found[0][name], value, rtol=1e-4, atol=2e-6, msg=name)
