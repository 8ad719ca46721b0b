"""Every backend against float64 formulas, for drawn shapes, masks, partners and strides, and against itself."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import BACKENDS, COMPILED, attention_rollout, cross_attention, dense, heads

from vision_suite.ops.attention import merge_attention, pair_attention, pair_order

ALL = ("out", "lse", "extra", "mean_map")
BOUND = {torch.float32: 2e-6, torch.float64: 1e-13, torch.bfloat16: 4e-3, torch.float16: 1e-3}
each_backend = pytest.mark.parametrize("backend", BACKENDS)


@st.composite
def cases(draw):
    """Arguments of one call; keys, values and queries come as different kinds of views."""
    dtype = draw(st.sampled_from(sorted(BOUND, key=str)))
    batch, key_heads, group = draw(st.integers(0, 3)), draw(st.integers(1, 2)), draw(st.sampled_from([1, 1, 2]))
    queries, keys = draw(st.integers(0, 70)), draw(st.integers(0, 130))
    width = draw(st.sampled_from([1, 3, 8, 16, 31, 32, 64, 80, 128]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    wide = torch.float64 if dtype == torch.float64 else torch.float32

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    kind = draw(st.sampled_from(["transposed", "sliced", "dense", "fused"]))

    def heads_of(rows, count):
        if kind == "transposed":
            return random(batch, rows, count, width).to(dtype).transpose(1, 2)
        if kind == "sliced":  # an odd storage offset and a row stride that is no multiple of anything
            return random(batch, count, rows, width + 3).to(dtype)[..., 1 : 1 + width]
        if kind == "fused":
            return random(batch, rows, 3, count, width).to(dtype)[:, :, 1].transpose(1, 2)
        return random(batch, count, rows, width).to(dtype)

    tensors = heads_of(queries, key_heads * group), heads_of(keys, key_heads), heads_of(keys, key_heads)
    bias = None
    if draw(st.booleans()):
        bias = random(batch, keys).to(wide)
        bias[random(batch, keys) > draw(st.sampled_from([-9.0, 0.5, 9.0]))] = -math.inf
    readout = None
    if draw(st.booleans()):
        columns = draw(st.integers(1, 8))
        readout = random(*draw(st.sampled_from([(keys, columns), (batch, keys, columns)]))).to(wide)
    relation = draw(st.sampled_from(["none", "causal", "partner"]))
    partner = torch.randint(-1, batch, (batch,), generator=generator) if relation == "partner" and batch else None
    scale = draw(st.sampled_from([None, 0.0, -0.3]))
    return tensors, bias, readout, partner, relation == "causal", scale


def close(found, exact, bound):
    finite = torch.isfinite(exact)
    assert torch.equal(torch.isfinite(found), finite)
    if finite.any():
        difference = (found.double() - exact)[finite].abs().max().item()
        assert difference <= bound * (1 + exact[finite].abs().max().item())


@each_backend
@settings(max_examples=80, deadline=None)
@given(case=cases())
def test_forward_equals_the_formulas(backend, case):
    (q, k, v), bias, readout, partner, causal, scale = case
    need = [
        name for name in ALL if (name != "extra" or readout is not None) and (name != "mean_map" or partner is None)
    ]
    found = cross_attention(
        q, k, v, key_bias=bias, partner=partner, readout=readout, scale=scale, causal=causal, need=need, backend=backend
    )
    out, lse, extra, weights = dense(q, k, v, partner, bias, readout, scale, causal)
    close(found.out, out, BOUND[q.dtype])
    assert found.out.dtype == q.dtype
    small = BOUND[torch.float32] if q.dtype != torch.float64 else 1e-13
    close(found.lse, lse, small)
    if readout is not None:
        close(found.extra, extra, small)
    if partner is None:
        close(found.mean_map, weights.mean(1), small)
    assert found.out.transpose(1, 2).is_contiguous()


@each_backend
@settings(max_examples=60, deadline=None)
@given(case=cases())
def test_gradients_equal_those_of_the_formulas(backend, case):
    (q, k, v), bias, readout, partner, causal, scale = case
    leaves = [x.detach().requires_grad_() for x in (q, k, v, *([] if readout is None else [readout]))]
    exact = [x.detach().double().requires_grad_() for x in leaves]
    need = ("out", "lse") if readout is None else ("out", "lse", "extra")
    found = cross_attention(
        *leaves[:3], key_bias=bias, partner=partner, readout=None if readout is None else leaves[3], scale=scale,
        causal=causal, need=need, backend=backend,
    )  # fmt: skip
    wanted = dense(*exact[:3], partner, bias, None if readout is None else exact[3], scale, causal)
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(x.shape, generator=generator) for x in found[: len(need)]]
    visible = torch.isfinite(wanted[1])
    upstream[1] = torch.where(visible, upstream[1], 0.0)
    gradients = torch.autograd.grad(
        found[: len(need)], leaves, [u.to(x.dtype) for u, x in zip(upstream, found, strict=False)]
    )
    outputs = [wanted[0], torch.where(visible, wanted[1], 0.0), wanted[2]][: len(need)]
    if not sum(x.requires_grad for x in outputs):
        return
    rounded = [u.to(x.dtype).double() for u, x in zip(upstream, found, strict=False)]
    expected = torch.autograd.grad(outputs, exact, rounded, allow_unused=True)
    bound = {torch.float32: 5e-6, torch.float64: 1e-12}.get(q.dtype, 2e-2)
    for mine, theirs in zip(gradients, expected, strict=True):
        close(mine, torch.zeros_like(mine).double() if theirs is None else theirs, bound)


@each_backend
@pytest.mark.parametrize("width", [16, 64, 96, 128, 200])
@pytest.mark.parametrize("dtype", sorted(BOUND, key=str))
def test_shared_partners_over_several_tiles(backend, dtype, width):
    generator = torch.Generator().manual_seed(width)
    partner = torch.tensor([2, 2, 2, -1])
    shapes = [(4, 2, 67, width), (4, 1, 131, width), (4, 1, 131, width), (131, 3)]
    exact = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    leaves = [x.to(wide if x.dim() == 2 else dtype).requires_grad_() for x in exact]
    exact = [x.detach().double().requires_grad_() for x in leaves]
    need = ("out", "lse", "extra")
    found = cross_attention(*leaves[:3], partner=partner, readout=leaves[3], need=need, backend=backend)
    wanted = dense(*exact[:3], partner, None, exact[3], None, False)
    for mine, theirs in zip(found, wanted, strict=False):
        if mine is not None:
            close(mine, theirs, BOUND[mine.dtype])
    gradients = torch.autograd.grad(sum(x.sin().sum() for x in found[:3]), leaves)
    expected = torch.autograd.grad(sum(x.sin().sum() for x in wanted[:3]), exact)
    for mine, theirs in zip(gradients, expected, strict=True):
        close(
            mine,
            theirs,
            {torch.float32: 5e-6, torch.float64: 1e-12}.get(mine.dtype if mine.dim() == 4 else dtype, 2e-2),
        )


@each_backend
@pytest.mark.parametrize("relation", ["plain", "masked", "partner", "causal"])
@pytest.mark.parametrize("columns", [0, 2, 5])
@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_many_queries(backend, dtype, width, columns, relation):
    generator = torch.Generator().manual_seed(width + columns)
    q, k, v = (torch.randn(2, n, 2, width, generator=generator).to(dtype).transpose(1, 2) for n in (197, 150, 150))
    readout = torch.randn(150, columns, generator=generator) if columns else None
    bias = torch.randn(2, 150, generator=generator) if relation == "masked" else None
    if bias is not None:
        bias[torch.rand(2, 150, generator=generator) < 0.3] = -math.inf
    partner = torch.tensor([1, 1]) if relation == "partner" else None
    found = cross_attention(
        q, k, v, key_bias=bias, partner=partner, readout=readout, causal=relation == "causal",
        need=("out", "lse", *(["extra"] if columns else [])), backend=backend,
    )  # fmt: skip
    out, lse, extra, _ = dense(q, k, v, partner, bias, readout, None, relation == "causal")
    close(found.out, out, BOUND[dtype])
    close(found.lse, lse, BOUND[torch.float32])
    if columns:
        close(found.extra, extra, BOUND[torch.float32])


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("width", [16, 64, 96, 128, 200])
@pytest.mark.parametrize("dtype", sorted(BOUND, key=str))
def test_maps_and_rollout_over_several_tiles_and_heads(backend, dtype, width):
    generator = torch.Generator().manual_seed(width)
    layers = [
        [torch.randn(2, count, 150, width, generator=generator).to(dtype) for count in (6, 3 if width == 64 else 6)]
        for _ in range(2)
    ]
    mask = torch.zeros(2, 150, dtype=torch.bool)
    mask[1, 70:] = True
    bias = torch.zeros(2, 150, dtype=torch.float64).masked_fill(mask, -math.inf)
    total, lses = torch.eye(150, dtype=torch.float64), []
    for q, k in layers:
        found = cross_attention(q, k, k, key_padding_mask=mask, need=("lse", "mean_map"), backend=backend)
        mean = dense(q, k, k, None, bias)[3].mean(1)
        close(found.mean_map, mean, BOUND[torch.float32] if dtype != torch.float64 else 1e-13)
        total = (0.5 * mean + 0.5 * torch.eye(150, dtype=torch.float64)) @ total
        lses.append(found.lse)
    queries, keys = ([layer[i] for layer in layers] for i in range(2))
    rollout = attention_rollout(queries, keys, lses, row=5, key_padding_mask=mask, backend=backend)
    close(rollout, total[:, 5], 2e-6 if dtype != torch.float64 else 1e-13)


@each_backend
def test_permuting_keys_and_shifting_the_bias_change_what_they_should(backend):
    q, k, v = heads(9, 16, seed=1), heads(33, 16, seed=2), heads(33, 16, seed=3)
    bias = torch.randn(2, 33)
    plain = cross_attention(q, k, v, key_bias=bias, need=("out", "lse"), backend=backend)
    order = torch.randperm(33)
    moved = cross_attention(
        q, k[:, :, order], v[:, :, order], key_bias=bias[:, order], need=("out", "lse"), backend=backend
    )
    torch.testing.assert_close(moved.out, plain.out, atol=2e-6, rtol=0)
    shifted = cross_attention(q, k, v, key_bias=bias + 3, need=("out", "lse"), backend=backend)
    torch.testing.assert_close(shifted.out, plain.out, atol=2e-6, rtol=0)
    torch.testing.assert_close(shifted.lse, plain.lse + 3, atol=5e-6, rtol=0)


@each_backend
def test_two_halves_merge_to_the_whole(backend):
    q, k, v = heads(9, 16, seed=1), heads(33, 16, seed=2), heads(33, 16, seed=3)
    whole = cross_attention(q, k, v, need=("out", "lse"), backend=backend)
    parts = [
        cross_attention(q, k[:, :, part], v[:, :, part], need=("out", "lse"), backend=backend)[:2]
        for part in (slice(0, 20), slice(20, 33))
    ]
    out, lse = merge_attention(*parts[0], *parts[1])
    torch.testing.assert_close(out, whole.out, atol=2e-6, rtol=0)
    torch.testing.assert_close(lse, whole.lse, atol=2e-6, rtol=0)


@each_backend
def test_an_image_as_its_own_partner_counts_its_keys_twice(backend):
    q, k, v = heads(9, 16, seed=1), heads(33, 16, seed=2), heads(33, 16, seed=3)
    plain = cross_attention(q, k, v, need=("out", "lse"), backend=backend)
    twice = cross_attention(q, k, v, partner=torch.arange(2), need=("out", "lse"), backend=backend)
    torch.testing.assert_close(twice.out, plain.out, atol=2e-6, rtol=0)
    torch.testing.assert_close(twice.lse, plain.lse + math.log(2), atol=2e-6, rtol=0)


@each_backend
def test_maps_and_group_masses_sum_to_one_and_rollouts_too(backend):
    x = heads(21, 16, seed=1)
    groups = torch.nn.functional.one_hot(torch.arange(21) % 3).float()
    mask = torch.zeros(2, 21, dtype=torch.bool)
    mask[0] = True
    found = cross_attention(x, x, x, key_padding_mask=mask, readout=groups, need=ALL, backend=backend)
    torch.testing.assert_close(found.extra.sum(-1)[1], torch.ones(2, 21))
    torch.testing.assert_close(found.mean_map.sum(-1), torch.tensor([[0.0], [1.0]]).expand(2, 21))
    rollout = attention_rollout([x] * 3, [x] * 3, [found.lse] * 3, key_padding_mask=mask)
    torch.testing.assert_close(rollout.sum(1), torch.tensor([0.125, 1.0]))  # what residuals alone pass on


@each_backend
def test_pair_view_is_the_swap_and_the_order_restores_the_batch(backend):
    q, k, v = (heads(13, 16, batch=4, seed=s) for s in range(3))
    swap = cross_attention(q, k, v, partner=torch.tensor([1, 0, 3, 2]), backend=backend).out
    torch.testing.assert_close(pair_attention(q, k, v), swap, atol=2e-6, rtol=0)
    order, inverse = pair_order(torch.tensor([2, 0, 3, 1]))
    assert order.tolist() == [2, 0, 3, 1]
    assert torch.equal(order[inverse], torch.arange(4))
    order, inverse = pair_order(torch.tensor([7, 7, 9, 9, 7]))
    assert len(order) == 6
    labels = torch.tensor([7, 7, 9, 9, 7])[order[:4]].view(2, 2)
    assert (labels[:, 0] != labels[:, 1]).all()


@each_backend
def test_grouped_heads_are_repeated_heads(backend):
    q, k, v = heads(9, 16, count=4, seed=1), heads(33, 16, seed=2), heads(33, 16, seed=3)
    grouped = cross_attention(q, k, v, backend=backend).out
    repeated = cross_attention(q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1), backend=backend).out
    torch.testing.assert_close(grouped, repeated, atol=1e-6, rtol=0)


@each_backend
def test_a_causal_row_is_attention_over_the_keys_up_to_it(backend):
    x = heads(40, 16, seed=1)
    found = cross_attention(x, x, x, causal=True, backend=backend).out
    for row in (0, 1, 17, 39):
        part = x[:, :, : row + 1]
        alone = cross_attention(x[:, :, row : row + 1], part, part, backend=backend).out
        torch.testing.assert_close(found[:, :, row : row + 1], alone, atol=2e-6, rtol=0)


@each_backend
def test_many_keys_are_taken_in_blocks(backend):
    q, k, v = heads(5, 8, batch=1, seed=1), heads(9001, 8, batch=1, seed=2), heads(9001, 8, batch=1, seed=3)
    bias = torch.randn(1, 9001).masked_fill(torch.rand(1, 9001) < 0.4, -math.inf)
    readout = torch.randn(9001, 3)
    found = cross_attention(q, k, v, key_bias=bias, readout=readout, need=ALL, backend=backend)
    out, lse, extra, weights = dense(q, k, v, None, bias, readout)
    close(found.out, out, 2e-6)
    close(found.lse, lse, 2e-6)
    close(found.extra, extra, 2e-6)
    close(found.mean_map, weights.mean(1), 2e-6)
