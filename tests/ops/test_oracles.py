"""Hand-calculated attention: numbers that no code produced."""

import math

import pytest
import torch
from reference import BACKENDS, attention_rollout, cross_attention

from vision_suite.ops.attention import rollout_from_maps

pytestmark = pytest.mark.parametrize("backend", BACKENDS)
LN2, LN3 = math.log(2), math.log(3)


def column(values):
    """(B, 1, 1, 1) of a list, or (1, 1, N, 1) of a list in a list; float64 with gradient."""
    tensor = torch.tensor(values, dtype=torch.float64)
    tensor = tensor.view(1, 1, -1, 1) if tensor.dim() == 2 else tensor.view(-1, 1, 1, 1)
    return tensor.requires_grad_()


def near(found, expected, atol=1e-10):
    torch.testing.assert_close(
        found.flatten(), torch.tensor(expected, dtype=torch.float64).flatten(), atol=atol, rtol=0
    )


def test_one_query_two_keys_with_readouts(backend):
    q, k, v = column([[LN2]]), column([[1, 0]]), column([[3, 0]])
    readout = torch.eye(2, dtype=torch.float64).requires_grad_()
    out, lse, extra, _ = cross_attention(
        q, k, v, readout=readout, scale=1.0, need=("out", "lse", "extra"), backend=backend
    )
    near(out, [2])
    near(lse, [1.0986122887])
    near(extra, [2 / 3, 1 / 3])
    dq, dk, dv = torch.autograd.grad(out.sum(), (q, k, v), retain_graph=True)
    near(dq, [0.6666666667])
    near(dk, [0.4620981204, -0.4620981204])
    near(dv, [2 / 3, 1 / 3])
    dq, dk = torch.autograd.grad(lse.sum(), (q, k), retain_graph=True)
    near(dq, [0.6666666667])
    near(dk, [0.4620981204, 0.2310490602])
    dq, dk, dr = torch.autograd.grad(extra[..., 0].sum(), (q, k, readout))
    near(dq, [0.2222222222])
    near(dk, [LN2 * 2 / 9, -LN2 * 2 / 9])
    near(dr, [[2 / 3, 0], [1 / 3, 0]])


@pytest.mark.parametrize(
    ("partner", "out", "lse", "dq", "dk", "dv"),
    [
        ([1, 0], [4, 2.0792533494], [0.6931471806, 5.0200122534], [-3.9013877113, -0.3030717982],
         [-0.0776830760, 0.0776830760], [1.4801866627, 0.5198133373]),
        ([0, 1], [2, 6], [0.6931471806, 1.7917594692], None, None, [1, 1]),
        ([1, -1], [4, 6], [0.6931471806, 1.0986122887], [-3.9013877113, 0], [0, 0], [0.5, 1.5]),
        ([1, 1], [4, 6], [0.6931471806, 1.7917594692], None, None, None),
    ],
)  # fmt: skip
def test_partners(backend, partner, out, lse, dq, dk, dv):
    q, k, v = column([0, 1]), column([5, LN3]), column([2, 6])
    result = cross_attention(q, k, v, partner=torch.tensor(partner), scale=1.0, need=("out", "lse"), backend=backend)
    near(result.out, out)
    near(result.lse, lse)
    for found, expected in zip(torch.autograd.grad(result.out.sum(), (q, k, v)), (dq, dk, dv), strict=True):
        if expected is not None:
            near(found, expected)


def test_rows_that_see_nothing(backend):
    q, k, v = (torch.randn(2, 2, n, 4, dtype=torch.float64, requires_grad=True) for n in (3, 5, 5))
    readout = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    mask = torch.ones(2, 5, dtype=torch.bool)
    out, lse, extra, maps = cross_attention(
        q, k, v, key_padding_mask=mask, readout=readout, need=("out", "lse", "extra", "mean_map"), backend=backend
    )
    assert not out.any()
    assert (lse == -math.inf).all()
    assert not extra.any()
    assert not maps.any()
    for gradient in torch.autograd.grad(out.sum() + extra.sum() + lse.sum(), (q, k, v, readout)):
        assert not gradient.any()


def test_rollout_of_given_maps(backend):
    s1 = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]], dtype=torch.float64)
    s2 = torch.tensor([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [0.3, 0.3, 0.4]], dtype=torch.float64)
    expected = [0.5125, 0.285, 0.2025]
    near(rollout_from_maps([s1[None], s2[None]]), expected)
    queries = [s.log()[None, None] for s in (s1, s2)]
    keys = [torch.eye(3, dtype=torch.float64)[None, None]] * 2
    lses = [torch.zeros(1, 1, 3, dtype=torch.float64)] * 2
    near(attention_rollout(queries, keys, lses, scale=1.0, backend=backend), expected)
    near(attention_rollout(queries, keys, None, scale=1.0, backend=backend), expected)


def test_causal_is_aligned_at_the_end(backend):
    k, v = torch.randn(1, 1, 3, 1, dtype=torch.float64), column([[1, 2, 6]])
    for queries, out, lse in (
        (1, [3], None), (2, [1.5, 3], None), (4, [0, 1, 1.5, 3], [-math.inf, 0, 0.6931471806, 1.0986122887])
    ):  # fmt: skip
        q = torch.zeros(1, 1, queries, 1, dtype=torch.float64)
        result = cross_attention(q, k, v, causal=True, need=("out", "lse"), backend=backend)
        near(result.out, out)
        if lse is not None:
            near(result.lse, lse)


def test_router_as_a_readout(backend):
    maps = torch.tensor(
        [[[1, 0, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5]], [[1, 0, 0], [0.1, 0.9, 0], [0.6, 0.2, 0.2]]],
        dtype=torch.float64,
    )
    weight = torch.tensor([[1, 0, -1], [0, 2, 0.5]], dtype=torch.float64)
    key = torch.eye(3, dtype=torch.float64).expand(1, 2, 3, 3)
    extra = cross_attention(
        maps.clamp(min=1e-300).log()[None], key, key, readout=weight.T.contiguous(), scale=1.0, need=("extra",),
        backend=backend,
    ).extra  # fmt: skip
    near(extra.sum(1) + torch.tensor([0.1, -0.1], dtype=torch.float64), [[2.1, -0.1], [0.7, 2.7], [0.2, 1.25]])


@pytest.mark.parametrize(
    ("partner", "total", "out", "dk", "checks"),
    [
        (None, 16.714452622068, [0.4529391704, -0.1669703467], [-1.3151007914, 1.0009003384],
         [-0.5113649631, -1.3695422362, 0.3980256065, 0.7641019429]),
        ([1, 0], 23.170639874048, [0.2937457185, -0.1937656002], [-0.9824852400, 1.1286870170],
         [0.0551224997, -1.3697367462, 0.1310220979, 0.4133021070]),
    ],
)  # fmt: skip
def test_formula_case(backend, partner, total, out, dk, checks):
    def grid(rows, last):
        return torch.meshgrid(*(torch.arange(1, n + 1, dtype=torch.float64) for n in (2, 2, rows, last)), indexing="ij")

    b, h, i, d = grid(3, 2)
    q = torch.sin(b + 2 * h + 3 * i + 4 * d).requires_grad_()
    bk, hk, j, dk_index = grid(4, 2)
    k = torch.cos(1.5 * bk + 0.5 * hk + 2.5 * j + 3.5 * dk_index).requires_grad_()
    v = torch.sin(2 * (0.7 * bk + 1.3 * hk + 0.9 * j + 1.1 * dk_index)).requires_grad_()
    readout = torch.cos(0.3 * bk + 0.6 * j + 1.7 * dk_index)[:, 0].requires_grad_()
    mask = torch.zeros(2, 4, dtype=torch.bool)
    mask[1, 3] = True
    result = cross_attention(
        q, k, v, key_padding_mask=mask, partner=None if partner is None else torch.tensor(partner),
        readout=readout, need=("out", "lse", "extra"), backend=backend,
    )  # fmt: skip
    loss = (result.out * torch.cos(0.2 * b + 0.4 * h + 0.6 * i + 0.8 * d)).sum()
    loss = loss + (result.lse * torch.sin(0.1 * b + 0.2 * h + 0.3 * i)[..., 0]).sum()
    loss = loss + (result.extra * torch.cos(0.5 * b + 0.25 * h + 0.125 * i + d)).sum()
    near(loss, [total])
    near(result.out[0, 0, 0], out)
    if partner is None:
        near(result.lse[0, 0], [1.8162293540, 1.3796119610, 1.6954804841])
    gradients = torch.autograd.grad(loss, (q, k, v, readout))
    near(gradients[1][1, 0, 0], dk)
    weights = [torch.cos(b + 2 * h + 3 * i + 4 * d), *[torch.cos(bk + 2 * hk + 3 * j + 4 * dk_index)] * 2,
               torch.cos(bk + 2 * j + 3 * dk_index)[:, 0]]  # fmt: skip
    near(torch.stack([(g * w).sum() for g, w in zip(gradients, weights, strict=True)]), checks)


def test_rollout_of_sines(backend):
    i, j = (x.double() for x in torch.meshgrid(torch.arange(5), torch.arange(5), indexing="ij"))
    queries = [torch.stack([torch.sin(i + 2 * j + 3 * layer + 0.7 * h) for h in range(2)])[None] for layer in (1, 2, 3)]
    keys = [torch.eye(5, dtype=torch.float64).expand(1, 2, 5, 5)] * 3
    lses = [q.logsumexp(-1) for q in queries]
    expected = [0.2804639259, 0.1653821044, 0.2242381572, 0.1650402417, 0.1648755708]
    near(attention_rollout(queries, keys, lses, scale=1.0, backend=backend), expected)
    near(attention_rollout(queries, keys, None, scale=1.0, backend=backend), expected)
