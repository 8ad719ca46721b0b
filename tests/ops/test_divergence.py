"""Divergence over blocks of positions against a dense calculation, with its gradient."""

import pytest
import torch

from vision_suite.ops.divergence import kl_to_reference


@pytest.mark.parametrize("budget", [1, 700, 2**20])
def test_blocks_give_the_dense_sum_and_its_gradient(budget):
    torch.manual_seed(0)
    states, reference = torch.randn(7, 5, dtype=torch.float64, requires_grad=True), torch.randn(7, 3).double()
    head, other = torch.randn(13, 5, dtype=torch.float64, requires_grad=True), torch.randn(13, 3).double()
    found = kl_to_reference(states, head, reference, other, budget=budget)
    own, wanted = (states @ head.T).log_softmax(1), (reference @ other.T).log_softmax(1)
    dense = torch.nn.functional.kl_div(own, wanted, reduction="sum", log_target=True)
    torch.testing.assert_close(found, dense)
    for one, two in zip(
        torch.autograd.grad(found, (states, head)), torch.autograd.grad(dense, (states, head)), strict=True
    ):
        torch.testing.assert_close(one, two)
    assert float(kl_to_reference(states[:0], head, reference[:0], other)) == 0
