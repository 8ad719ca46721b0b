"""Rollout of one token against hand-computed products, against the full product, and its memory."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vision_suite.ops import rollout
from vision_suite.ops.rollout import attention_rollout, rollout_from_maps

S1 = [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]]
S2 = [[0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [0.3, 0.3, 0.4]]


def maps_of(*layers):
    """Per layer (1, H, N, N) float64 from lists of heads."""
    return [torch.tensor(layer, dtype=torch.float64)[None] for layer in layers]


def as_queries_and_keys(maps):
    """Queries and keys whose attention, at scale 1, is the given map."""
    size = maps[0].shape[-1]
    return [m.log() for m in maps], [torch.eye(size, dtype=m.dtype).expand_as(m) for m in maps]


def both(maps, **settings):
    """The result from maps, checked to be that from queries and keys, too, at any block size."""
    found = rollout_from_maps(maps, **settings)
    queries, keys = as_queries_and_keys(maps)
    for block in (1, 2, 128):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rollout, "ROWS", block)
            other = attention_rollout(queries, keys, scale=1.0, **settings)
        torch.testing.assert_close(other, found, atol=1e-14, rtol=0)
    zeros = [m.new_zeros(m.shape[:3]) for m in maps]  # rows of a map sum to one
    if settings.get("head_fusion", "mean") == "mean":
        other = attention_rollout(queries, keys, zeros, scale=1.0, **settings)
        torch.testing.assert_close(other, found, atol=1e-14, rtol=0)
    return found[0]


def near(found, expected, places=1e-10):
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=places, rtol=0)


def full_product(maps, fusion="mean"):
    """All of S_hat by dense matrices, newest layer on the left."""
    eye = torch.eye(maps[0].shape[-1], dtype=torch.float64)
    heads = [m.mean(1, keepdim=True) if fusion == "mean" else m for m in maps]
    total = eye
    for layer in heads:
        total = (0.5 * layer + 0.5 * eye) @ total
    return total.mean(1)


def test_two_layers_by_hand():
    maps = maps_of([S1], [S2])
    for row, expected in enumerate([[0.5125, 0.285, 0.2025], [0.235, 0.56, 0.205], [0.17, 0.17, 0.66]]):
        near(both(maps, row=row), expected)
    near(both(maps_of([S2], [S1])), [0.5175, 0.3125, 0.17])  # the reversed product is another
    near(both(maps, residual=0.0), [0.25, 0.34, 0.41])
    assert int(both(maps)[1:].argmax()) == 0
    assert int(both(maps, residual=0.0)[1:].argmax()) == 1


def test_two_heads_by_hand():
    maps = maps_of([S1, S2], [S2, S1])
    near(both(maps), [0.53, 0.295, 0.175])
    near(both(maps, head_fusion="product"), [0.515, 0.29875, 0.18625])
    near(both(maps, head_fusion="max"), [0.4979482323, 0.2965593434, 0.2054924242])


def test_selection_flips_by_order_and_residual():
    s1 = [[0.4, 0.5, 0.1], [0.6, 0.1, 0.3], [0.2, 0.2, 0.6]]
    s2 = [[0.4, 0.2, 0.4], [0.3, 0.1, 0.6], [0.4, 0.3, 0.3]]
    near(both(maps_of([s1], [s2])), [0.54, 0.25, 0.21])
    near(both(maps_of([s2], [s1])), [0.5375, 0.215, 0.2475])
    near(both(maps_of([s1], [s2]), residual=0.0), [0.36, 0.30, 0.34])
    near(both(maps_of([s2]), residual=0.0), [0.4, 0.2, 0.4])


def test_uniform_attention():
    size, layers = 129, 12
    uniform = [torch.zeros(1, 2, size, 4, dtype=torch.float64)] * layers
    found = attention_rollout(uniform, uniform)[0]
    assert found[0].item() == pytest.approx(0.007994186046511628, abs=1e-15)
    assert found[1:].tolist() == pytest.approx([0.007750045421511628] * (size - 1), abs=1e-15)


def test_analytic_maps():
    maps = []
    for layer in (1, 2, 3):
        scores = [[math.sin(i + 2 * j + 3 * layer) for j in range(5)] for i in range(5)]
        maps.append(torch.tensor(scores, dtype=torch.float64).softmax(-1)[None, None])
    found = both(maps)
    near(found, [0.284491235586, 0.168422888241, 0.204297008480, 0.176234632749, 0.166554234943], 1e-12)
    assert set((found[1:].topk(2).indices + 1).tolist()) == {2, 3}


@pytest.mark.parametrize("fusion", ["mean", "product"])
def test_equals_the_full_product(fusion):
    torch.manual_seed(0)
    queries, keys = ([torch.randn(3, 4, 37, 8, dtype=torch.float64) for _ in range(5)] for _ in range(2))
    maps = [(q @ k.transpose(-2, -1) / math.sqrt(8)).softmax(-1) for q, k in zip(queries, keys, strict=True)]
    for row in (0, 3):
        found = attention_rollout(queries, keys, row=row, head_fusion=fusion)
        torch.testing.assert_close(found, full_product(maps, fusion)[:, row], atol=1e-15, rtol=0)
        torch.testing.assert_close(found.sum(1), torch.ones(3, dtype=torch.float64), atol=1e-14, rtol=0)


def test_half_precision_inputs_are_accumulated_in_float32():
    torch.manual_seed(0)
    queries, keys = ([torch.randn(1, 2, 200, 16).bfloat16() for _ in range(3)] for _ in range(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attention_rollout(queries, keys)
    wide = attention_rollout([q.double() for q in queries], [k.double() for k in keys])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wide, atol=1e-7, rtol=0)


def test_no_gradient_and_clear_refusals():
    query = torch.randn(1, 1, 4, 2, requires_grad=True)
    assert not attention_rollout([query], [query]).requires_grad
    with pytest.raises(ValueError, match="as many keys"):
        attention_rollout([query, query], [query])
    with pytest.raises(ValueError, match="at least one"):
        rollout_from_maps([])


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operator gave back."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        self.numel = max([self.numel, *sizes])
        return out


@pytest.mark.parametrize("fusion", ["mean", "product", "max"])
def test_memory_grows_with_the_block_not_with_the_square(fusion):
    batch, heads, tokens, width, block = 2, 2, 600, 8, rollout.ROWS
    queries, keys = ([torch.randn(batch, heads, tokens, width) for _ in range(3)] for _ in range(2))
    with Largest() as largest:
        attention_rollout(queries, keys, head_fusion=fusion)
    assert largest.numel <= batch * heads * block * tokens
    assert largest.numel < batch * heads * tokens * tokens / 3
