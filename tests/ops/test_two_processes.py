"""Two gloo processes with half a batch each train like one process with the whole batch."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from vision_suite.ops.attention import cross_attention, status

pytestmark = pytest.mark.skipif(not status()["cpu"]["loaded"], reason="the compiled operators are not built")


class Block(nn.Module):
    """A projection and attention with partners within the halves of a batch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.qkv = nn.Linear(16, 48)
        self.readout = nn.Parameter(torch.randn(21, 2))

    def forward(self, x):
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, 2, 8).permute(2, 0, 3, 1, 4)
        partner = torch.arange(len(x)) ^ 1
        found = cross_attention(q, k, v, partner=partner, readout=self.readout, need=("out", "extra"), backend="cpu")
        return found.out.square().mean() + found.extra.sin().mean()


def batch():
    return torch.randn(4, 21, 16, generator=torch.Generator().manual_seed(1))


def _train(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model = DistributedDataParallel(Block())
    model(batch()[2 * rank : 2 * rank + 2]).backward()
    torch.save([p.grad for p in model.parameters()], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_gradients_are_those_of_the_whole_batch(tmp_path):
    torch.multiprocessing.spawn(_train, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    model = Block()
    model(batch()).backward()
    for mine, theirs, whole in zip(first, second, model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        torch.testing.assert_close(mine, whole.grad, atol=1e-6, rtol=1e-5)
