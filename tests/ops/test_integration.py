"""The compiled operators inside PyTorch: its own checks, compile, export, autocast, checkpointing, fork, memory."""

import multiprocessing

import pytest
import torch
from reference import heads
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from vision_suite.ops._register import inverse_lists
from vision_suite.ops.attention import attention_rollout, cross_attention, status

pytestmark = pytest.mark.skipif(not status()["cpu"]["loaded"], reason="the compiled operators are not built")
EACH = {
    "plain": {},
    "masked": {"key_bias": torch.zeros(2, 11).masked_fill(torch.arange(11) % 3 == 0, -torch.inf)},
    "partner": {"partner": torch.tensor([1, 1])},
    "readout": {"readout": torch.randn(2, 11, 3)},
    "shared readout, partner": {"readout": torch.randn(11, 3), "partner": torch.tensor([1, -1])},
    "causal": {"causal": True},
}


def operands(requires_grad=True):
    return [heads(n, 16, seed=n).requires_grad_(requires_grad) for n in (7, 11, 11)]


def positional(more):
    return (more.get("partner"), more.get("key_bias"), more.get("readout"), 0.25, more.get("causal", False))


def own_checks(more, device):
    """PyTorch's checks of each operator's schema, gradient and shapes."""
    ops = torch.ops.vision_suite
    arguments = positional(more)
    leaves = [x.detach().to(device).requires_grad_() for x in operands()]
    torch.library.opcheck(ops.attention_fwd, (*leaves, *arguments, "partner" not in more))
    q, k, v = (x.detach() for x in leaves)
    out, lse, extra, _ = ops.attention_fwd(q, k, v, *arguments, False)
    partner = more.get("partner")
    lists = (None, None) if partner is None else inverse_lists(partner)
    torch.library.opcheck(
        ops.attention_bwd,
        (torch.randn_like(out), torch.randn_like(lse), torch.randn_like(extra) if extra.numel() else None, q, k, v,
         out, lse, extra, partner, *lists, *arguments[1:]),
    )  # fmt: skip
    torch.library.opcheck(ops.mean_map, (q, k, lse, more.get("key_bias"), 0.25, False))
    square = [heads(9, 16, seed=s).to(device) for s in range(2)]
    lse = ops.attention_fwd(square[0], square[1], square[1], None, None, None, 0.25, False, False)[1]
    torch.library.opcheck(ops.rollout, ([square[0]] * 2, [square[1]] * 2, [lse] * 2, None, 0.25, 0.5, 0))


@pytest.mark.parametrize("more", EACH.values(), ids=EACH)
def test_pytorchs_own_checks(more):
    own_checks(more, "cpu")


@pytest.mark.parametrize("more", EACH.values(), ids=EACH)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shapes_without_data_have_the_real_strides(more, dtype):
    arguments = positional(more)
    q, k, v = (x.detach().to(dtype) for x in operands())
    real = torch.ops.vision_suite.attention_fwd(q, k, v, *arguments, "partner" not in more)
    meta = [None if x is None else x.to("meta") if isinstance(x, torch.Tensor) else x for x in arguments]
    fake = torch.ops.vision_suite.attention_fwd(*(x.to("meta") for x in (q, k, v)), *meta, "partner" not in more)
    for a, b in zip(real, fake, strict=True):
        assert (a.shape, a.dtype, a.stride()) == (b.shape, b.dtype, b.stride())


@pytest.mark.parametrize("partner", [None, [1, 0], [1, 1], [0, -1]])
@pytest.mark.parametrize("readout", [None, (5, 2), (2, 5, 2)])
@pytest.mark.parametrize("form", ["plain", "masked", "causal", "grouped"])
def test_gradients_by_finite_differences(partner, readout, form):
    if partner and form == "causal":
        pytest.skip("excluded by definition")
    torch.manual_seed(0)
    count = 2 if form == "grouped" else 1
    leaves = [torch.randn(2, count, 3, 2, dtype=torch.float64, requires_grad=True)]
    leaves += [torch.randn(2, 1, 5, 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    if readout:
        leaves.append(torch.randn(readout, dtype=torch.float64, requires_grad=True))
    more = {"causal": form == "causal", "partner": None if partner is None else torch.tensor(partner)}
    if form == "masked":
        more["key_padding_mask"] = torch.tensor([[False, True, False, False, True]] * 2)

    def call(q, k, v, r=None):
        need = ("out", "lse") if r is None else ("out", "lse", "extra")
        found = cross_attention(q, k, v, readout=r, need=need, backend="cpu", **more)
        return found[: len(need)]

    assert torch.autograd.gradcheck(call, leaves)


def test_a_second_derivative_is_refused():
    q, k, v = operands()
    out = cross_attention(q, k, v, need=("out", "lse")).out
    (first,) = torch.autograd.grad(out.square().sum(), q, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        first.sum().backward()


class Layer(torch.nn.Module):
    """Attention with everything that comes with it."""

    def forward(self, q, k, v, mask):
        found = cross_attention(q, k, v, key_padding_mask=mask, need=("out", "lse", "mean_map"), backend="cpu")
        rollout = attention_rollout([q], [k], [found.lse], key_padding_mask=mask)
        return found.out, found.lse, found.mean_map, rollout


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True])
def test_one_graph_with_gradients(dynamic):
    compiled = torch.compile(Layer(), fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for rows in (7, 9) if dynamic else (7,):
        leaves = [heads(rows, 16, seed=s).requires_grad_() for s in range(3)]
        mask = torch.arange(rows).expand(2, -1) > rows - 3
        found, eager = compiled(*leaves, mask), Layer()(*leaves, mask)
        for a, b in zip(found, eager, strict=True):
            assert torch.equal(a, b)
        losses = [(x[0].cos().sum() + x[1].sum()) for x in (found, eager)]
        for a, b in zip(*(torch.autograd.grad(loss, leaves) for loss in losses), strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_an_exported_program_takes_any_number_of_tokens(tmp_path):
    q, k, v = (heads(7, 16, seed=s) for s in range(3))
    mask = torch.zeros(2, 7, dtype=torch.bool)
    tokens = torch.export.Dim("tokens", min=2, max=100)
    program = torch.export.export(
        Layer(), (q, k, v, mask), dynamic_shapes=({2: tokens}, {2: tokens}, {2: tokens}, {1: tokens})
    )
    torch.export.save(program, tmp_path / "layer.pt2")
    loaded = torch.export.load(tmp_path / "layer.pt2").module()
    inputs = [heads(19, 16, seed=s) for s in range(3)] + [torch.arange(19).expand(2, -1) > 16]
    for a, b in zip(loaded(*inputs), Layer()(*inputs), strict=True):
        assert torch.equal(a, b)


def test_autocast_leaves_readouts_alone():
    q, k, v = operands()
    readout = torch.randn(11, 2, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = cross_attention(q, k, v, readout=readout, need=("out", "extra"))
    assert (found.out.dtype, found.extra.dtype) == (torch.bfloat16, torch.float32)
    gradients = torch.autograd.grad(found.out.float().sum() + found.extra.sum(), (q, k, v, readout))
    assert {x.dtype for x in gradients} == {torch.float32}


def test_activation_checkpointing_gives_the_same_gradients():
    leaves = operands()

    def block(q, k, v):
        return cross_attention(q, k, v, partner=torch.tensor([1, 0])).out.cos()

    plain = torch.autograd.grad(block(*leaves).sum(), leaves)
    again = torch.autograd.grad(checkpoint(block, *leaves, use_reentrant=False).sum(), leaves)
    for a, b in zip(plain, again, strict=True):
        assert torch.equal(a, b)


def test_an_expanded_gradient_is_taken():
    q, k, v = operands()
    (gradient,) = torch.autograd.grad(cross_attention(q, k, v).out.sum(), v)
    (expected,) = torch.autograd.grad(cross_attention(q, k, v, backend="reference").out.sum(), v)
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=0)


def _in_a_worker(queue, x):
    torch.set_num_threads(1)
    queue.put(cross_attention(x, x, x).out.sum().item())


def test_a_forked_worker_can_use_it():
    x = heads(33, 16)
    here = cross_attention(x, x, x).out.sum().item()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    worker = context.Process(target=_in_a_worker, args=(queue, x))
    worker.start()
    assert queue.get(timeout=60) == here
    worker.join()


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operator gave back."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        self.numel = max([self.numel, *sizes])
        return out


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_nothing_of_the_square_of_the_tokens_is_made(backend):
    q, k, v = (heads(700, 8, batch=2, count=2, seed=s).requires_grad_() for s in range(3))
    with Largest() as largest:
        found = cross_attention(q, k, v, partner=torch.tensor([1, 0]), need=("out", "lse"), backend=backend)
        torch.autograd.grad(found.out.sum() + found.lse.sum(), (q, k, v))
    # The compiled path makes nothing larger than its inputs, the plain one blocks of 64 rows.
    bound = q.numel() if backend == "cpu" else 2 * 2 * 64 * 1400
    assert largest.numel <= bound < 2 * 2 * 700 * 700
