"""Poisoned keys, huge scores, and results that do not depend on threads, neighbours or runs."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from reference import BACKENDS, COMPILED, attention_rollout, cross_attention, heads

from vision_suite.ops.attention import status

each_backend = pytest.mark.parametrize("backend", BACKENDS)
each_compiled = pytest.mark.parametrize("backend", COMPILED)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
compiled = pytest.mark.skipif(not status()["cpu"]["loaded"], reason="the compiled operators are not built")
ALL = ("out", "lse", "extra", "mean_map")


def everything(q, k, v, backend, **more):
    """Outputs and gradients of one call."""
    leaves = [x.detach().requires_grad_() for x in (q, k, v)]
    need = ("out", "lse") if "partner" in more else ("out", "lse", "mean_map")
    found = cross_attention(*leaves, need=need, backend=backend, **more)
    weights = torch.linspace(-1, 1, found.out.numel(), dtype=found.out.dtype).view(found.out.shape)
    lse = torch.where(torch.isfinite(found.lse), found.lse, 0.0)
    gradients = torch.autograd.grad((found.out * weights).sum() + lse.sum(), leaves)
    return [x for x in found if x is not None] + list(gradients)


@each_backend
@each_dtype
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("partner", [None, [1, 0], [1, 1]])
def test_masked_keys_are_never_read(backend, dtype, poison, partner):
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    q, k, v = (heads(n, 24, dtype=dtype, seed=n) for n in (9, 21, 21))
    mask = torch.zeros(2, 21, dtype=torch.bool)
    mask[0, [0, 3, 20]] = mask[1, 7:12] = True
    readout = torch.randn(2, 21, 3, dtype=wide)
    more = {"key_padding_mask": mask}
    if partner is not None:
        more["partner"] = torch.tensor(partner)
    clean = everything(q, k, v, backend, **more)
    extra = cross_attention(q, k, v, readout=readout, need=("extra",), backend=backend, **more).extra
    for x in (k, v):
        x[mask[:, None].expand(2, 2, 21)] = poison
    readout[mask] = poison
    for before, after in zip(clean, everything(q, k, v, backend, **more), strict=True):
        assert torch.equal(before, after)
    again = cross_attention(q, k, v, readout=readout, need=("extra",), backend=backend, **more).extra
    assert torch.equal(extra, again)


@each_backend
def test_nan_in_a_visible_row_reaches_what_it_touches_and_nothing_else(backend):
    q, k, v = (heads(n, 16, seed=n) for n in (9, 21, 21))
    clean = cross_attention(q, k, v, need=("out", "lse"), backend=backend)
    q[0, 1, 4, 2] = math.nan
    found = cross_attention(q, k, v, need=("out", "lse"), backend=backend)
    assert found.out[0, 1, 4].isnan().all()
    assert found.lse[0, 1, 4].isnan()
    found.out[0, 1, 4], found.lse[0, 1, 4] = clean.out[0, 1, 4], clean.lse[0, 1, 4]
    assert torch.equal(found.out, clean.out)
    assert torch.equal(found.lse, clean.lse)


@each_compiled
@each_dtype
def test_nan_beyond_a_causal_limit_stays_there(backend, dtype):
    x = heads(20, 16, dtype=dtype, seed=1)
    spoilt = x.clone()
    spoilt[:, :, 12] = math.nan
    clean = cross_attention(x, x, x, causal=True, backend=backend).out
    leaves = [spoilt.detach().requires_grad_() for _ in range(3)]
    found = cross_attention(*leaves, causal=True, backend=backend).out
    torch.testing.assert_close(found[:, :, :12], clean[:, :, :12], atol=8e-3, rtol=0)
    assert not found[:, :, :12].isnan().any()
    assert found[:, :, 12:].isnan().all()
    dq, _, _ = torch.autograd.grad(found[:, :, :12].sum(), leaves)
    assert not dq[:, :, :12].isnan().any()


@each_backend
@each_dtype
def test_huge_scores_give_one_hot_rows_and_finite_sums(backend, dtype):
    if dtype == torch.float16:
        pytest.skip("no such scores in half precision")
    for size in (1e3, 1e10, 1.8e19):
        q = torch.tensor([1.0, -1.0, 0.5]).view(1, 1, 3, 1).to(dtype) * size
        k = torch.tensor([1.0, -1.0, 0.25]).view(1, 1, 3, 1).to(dtype) * size
        v = torch.tensor([1.0, 2.0, 4.0]).view(1, 1, 3, 1).to(dtype)
        found = cross_attention(q, k, v, scale=1.0, need=("out", "lse"), backend=backend)
        assert found.out.flatten().tolist() == [1, 2, 1]
        assert torch.isfinite(found.lse).all()


@each_backend
@each_dtype
@pytest.mark.parametrize("sizes", [(0, 3, 4, 5), (2, 0, 4, 5), (2, 3, 0, 5), (2, 3, 4, 0)])
def test_empty_sizes(backend, dtype, sizes):
    batch, count, queries, keys = sizes
    q = torch.ones(batch, count, queries, 8, dtype=dtype, requires_grad=True)
    k = torch.ones(batch, count, keys, 8, dtype=dtype, requires_grad=True)
    found = cross_attention(q, k, k, need=("out", "lse", "mean_map"), backend=backend)
    assert found.out.shape == (batch, count, queries, 8)
    assert found.mean_map.shape == (batch, queries, keys)
    if keys == 0:
        assert not found.out.any()
        assert (found.lse == -math.inf).all()
    for gradient in torch.autograd.grad(found.out.sum(), (q, k)):
        assert torch.isfinite(gradient).all()


@each_compiled
@each_dtype
def test_bits_do_not_depend_on_threads_neighbours_or_runs(backend, dtype):
    q, k, v = (heads(n, 32, batch=5, count=3, dtype=dtype, seed=n) for n in (33, 70, 70))
    more = {"partner": torch.tensor([1, 0, 0, -1, 4])}
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = everything(q, k, v, backend, **more), everything(q, k, v, backend)
        torch.set_num_threads(3)
        for _ in range(2):
            three = everything(q, k, v, backend, **more), everything(q, k, v, backend)
            for a, b in zip([*one[0], *one[1]], [*three[0], *three[1]], strict=True):
                assert torch.equal(a, b)
    finally:
        torch.set_num_threads(threads)
    alone = cross_attention(q[3:4], k[3:4], v[3:4], need=("out", "lse", "mean_map"), backend=backend)
    for a, b in zip(alone[:2] + alone[3:], [x[3:4] for x in one[1][:3]], strict=True):
        assert torch.equal(a, b)
    lse = one[1][1]
    square = [heads(40, 16, dtype=dtype, seed=s) for s in range(2)]
    lse = cross_attention(square[0], square[1], square[1], need=("lse",), backend=backend).lse
    whole = attention_rollout([square[0]], [square[1]], [lse], backend=backend)
    assert torch.equal(whole[1:], attention_rollout([square[0][1:]], [square[1][1:]], [lse[1:]], backend=backend))


@compiled
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512", "avx512_bf16"])
def test_every_instruction_set(isa):
    if isa not in str(status()["cpu"]["stamp"]["isa"]):
        pytest.skip(f"{isa} is not in this build")
    files = [str(Path(__file__).with_name(name)) for name in ("test_oracles.py", "test_cross_attention.py")]
    environment = {**os.environ, "VISION_SUITE_CPU_ISA": isa}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-k", "cpu", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    code = "from vision_suite.ops.attention import status; print(status()['cpu']['isa'])"
    used = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    order = ["scalar", "avx2", "avx512", "avx512_bf16", "amx"]
    assert order.index(used.stdout.strip()) <= order.index(isa)
