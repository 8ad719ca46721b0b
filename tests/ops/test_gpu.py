"""The compiled operators on a GPU inside PyTorch: checks, graphs, streams, autocast, compile, what ``auto`` takes."""

import pytest
import torch
from reference import heads, moved

from tests.ops.test_integration import EACH, own_checks
from vision_suite.ops.attention import attention_rollout, choose, cross_attention, pair_attention, status

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not status()["cuda"]["loaded"], reason="the compiled CUDA operators are not loaded"),
]
NEED = ("out", "lse")


def on_gpu(rows=(33, 70, 70), dtype=torch.bfloat16, batch=4):
    """Queries, keys and values."""
    return [heads(n, 64, batch=batch, count=3, dtype=dtype, seed=n + i).cuda() for i, n in enumerate(rows)]


@pytest.mark.parametrize("more", EACH.values(), ids=EACH)
def test_pytorchs_own_checks(more):
    own_checks({name: moved(value, "cuda") for name, value in more.items()}, "cuda")


@pytest.mark.parametrize("partner", [None, [1, 0], [1, 1], [0, -1]])
def test_gradients_by_finite_differences(partner):
    torch.manual_seed(0)
    leaves = [torch.randn(2, 2, n, 2, dtype=torch.float64, device="cuda", requires_grad=True) for n in (3, 5, 5)]
    leaves.append(torch.randn(5, 2, dtype=torch.float64, device="cuda", requires_grad=True))
    more = {"partner": None if partner is None else torch.tensor(partner, device="cuda")}

    def call(q, k, v, r):
        return cross_attention(q, k, v, readout=r, need=("out", "lse", "extra"), backend="cuda", **more)[:3]

    assert torch.autograd.gradcheck(call, leaves)


def test_what_auto_takes_and_that_it_agrees():
    q, k, v = on_gpu(rows=(70, 70, 70))
    assert choose(q, frozenset({"out"}), False) == "sdpa"
    assert choose(q, frozenset(NEED), False) == "cuda"
    assert choose(q, frozenset({"out"}), True) == "cuda"
    plain, ours = cross_attention(q, k, v).out, cross_attention(q, k, v, need=NEED).out
    torch.testing.assert_close(plain, ours, atol=1e-2, rtol=0)
    swap = torch.arange(4, device="cuda") ^ 1
    torch.testing.assert_close(pair_attention(q, k, v), cross_attention(q, k, v, partner=swap).out, atol=1e-2, rtol=0)
    with pytest.raises(ValueError, match="backend='cuda' but q is on cpu"):
        cross_attention(q.cpu(), k.cpu(), v.cpu(), backend="cuda")


def test_a_mask_means_the_same_in_pytorchs_attention():
    q, k, v = (heads(n, 8, seed=n).cuda() for n in (5, 5, 5))
    bias = torch.randn(2, 5)
    bias[0] = -torch.inf
    bias[1, 2] = -torch.inf
    bias, readout = bias.cuda(), torch.randn(5, 3, device="cuda")
    k[1, :, 2] = v[1, :, 2] = torch.nan
    more = {"key_bias": bias, "readout": readout, "need": ("out", "extra")}
    found = cross_attention(q, k, v, backend="sdpa", **more)
    exact = cross_attention(q, k, v, backend="reference", **more)
    torch.testing.assert_close(found.out, exact.out, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.extra, exact.extra, atol=1e-5, rtol=0)


def test_a_captured_graph_reads_what_is_there_when_it_is_replayed():
    leaves = [x.requires_grad_() for x in on_gpu(rows=(70, 70, 70))]
    partner = torch.tensor([1, 0, -1, 2], device="cuda")

    def step():
        found = cross_attention(*leaves, partner=partner, need=NEED)
        rollout = attention_rollout([leaves[0]] * 2, [leaves[1]] * 2, [found.lse] * 2)
        return [*found[:2], rollout, *torch.autograd.grad(found.out.float().square().sum(), leaves)]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = step()
    with torch.no_grad():
        for x in leaves:
            x.mul_(-0.5)
        partner.copy_(torch.tensor([3, 3, 0, -1]))
    graph.replay()
    for captured, eager in zip(kept, step(), strict=True):
        assert torch.equal(captured, eager)


def test_work_goes_to_the_current_stream():
    q, k, v = on_gpu()
    expected = cross_attention(q, k, v, need=NEED)
    side = torch.cuda.Stream()
    late = torch.zeros_like(q)
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(20_000_000)  # ten milliseconds, after which the queries are there
        late.copy_(q)
        found = cross_attention(late, k, v, need=NEED)
    side.synchronize()
    assert torch.equal(found.out, expected.out)
    assert torch.equal(found.lse, expected.lse)


def test_autocast_narrows_query_key_and_value_alone():
    q, k, v = (x.requires_grad_() for x in on_gpu(dtype=torch.float32))
    readout = torch.randn(70, 2, device="cuda", requires_grad=True)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        found = cross_attention(q, k, v, readout=readout, need=("out", "lse", "extra"))
    half = cross_attention(*(x.bfloat16() for x in (q, k, v)), readout=readout, need=("out", "lse", "extra"))
    assert (found.out.dtype, found.extra.dtype) == (torch.bfloat16, torch.float32)
    for a, b in zip(found[:3], half[:3], strict=True):
        assert torch.equal(a, b)
    gradients = torch.autograd.grad(found.out.float().sum() + found.extra.sum(), (q, k, v, readout))
    assert {x.dtype for x in gradients} == {torch.float32}


@pytest.mark.parametrize("dynamic", [False, True])
def test_one_graph_with_gradients(dynamic):
    def layer(q, k, v, mask):
        found = cross_attention(q, k, v, key_padding_mask=mask, need=("out", "lse", "mean_map"))
        return found.out, found.lse, found.mean_map, attention_rollout([q], [k], [found.lse], key_padding_mask=mask)

    compiled = torch.compile(layer, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for rows in (70, 90) if dynamic else (70,):
        leaves = [x.requires_grad_() for x in on_gpu(rows=(rows,) * 3)]
        mask = (torch.arange(rows, device="cuda") > rows - 3).expand(4, -1)
        found, eager = compiled(*leaves, mask), layer(*leaves, mask)
        for a, b in zip(found, eager, strict=True):
            assert torch.equal(a, b)
        losses = [(x[0].float().cos().sum() + x[1].sum()) for x in (found, eager)]
        for a, b in zip(*(torch.autograd.grad(loss, leaves) for loss in losses), strict=True):
            torch.testing.assert_close(a, b, atol=2e-2, rtol=0)


def test_nothing_of_the_square_of_the_tokens_is_allocated():
    leaves = [x.requires_grad_() for x in on_gpu(rows=(3000,) * 3, batch=2)]
    partner = torch.tensor([1, 0], device="cuda")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    found = cross_attention(*leaves, partner=partner, need=NEED)
    torch.autograd.grad(found.out.sum() + found.lse.sum(), leaves)
    assert torch.cuda.max_memory_allocated() - before < 10 * leaves[0].numel() * leaves[0].element_size()


def test_large_offsets():
    # More than 2^31 elements of keys: an offset of 32 bits would wrap.
    if torch.cuda.mem_get_info()[0] < 24 * 2**30:
        pytest.skip("needs 24 GiB")
    batch, count, rows, width = 70, 16, 15000, 128
    k = torch.zeros(batch, count, rows, width, dtype=torch.bfloat16, device="cuda")
    assert k.numel() > 2**31
    k[-1] = torch.randn(count, rows, width, device="cuda").bfloat16()
    q = torch.randn(batch, count, 3, width, device="cuda").bfloat16()
    found = cross_attention(q, k, k, need=NEED)
    alone = cross_attention(q[-1:], k[-1:], k[-1:], need=NEED)
    assert torch.equal(found.out[-1:], alone.out)
    assert torch.equal(found.lse[-1:], alone.lse)
    assert not found.out[:-1].any()
