"""Log-probabilities by positions and chunks equal the plain way, in value, gradient and memory."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from vision_suite.errors import ConfigError, DataError
from vision_suite.ops.logprobs import sequence_logps, supervised_nll, token_logps
from vision_suite.types.instruct import IGNORED

VOCABULARY, WIDTH = 37, 6


def inputs(seed=0, batch=3, length=9, dtype=torch.float64, share=0.5):
    draw = torch.Generator().manual_seed(seed)
    hidden = torch.randn(batch, length, WIDTH, generator=draw, dtype=dtype).requires_grad_()
    weight = torch.randn(VOCABULARY, WIDTH, generator=draw, dtype=dtype).requires_grad_()
    bias = torch.randn(VOCABULARY, generator=draw, dtype=dtype).requires_grad_()
    labels = torch.randint(VOCABULARY, (batch, length), generator=draw)
    labels[torch.rand(batch, length, generator=draw) > share] = IGNORED
    return hidden, weight, bias, labels


def plain(hidden, weight, bias, labels, scale=1.0, softcap=None):
    """All logits, log-softmax, next-token labels: what transformers' models and losses do."""
    logits = F.linear(hidden, weight, bias) * scale
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    logps = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    safe = labels[:, 1:].clamp_min(0)
    return torch.where(labels[:, 1:] == IGNORED, 0.0, logps[:, :-1].gather(2, safe[..., None])[..., 0])


def gradients(loss, tensors):
    return torch.autograd.grad(loss, [tensor for tensor in tensors if tensor is not None])


@pytest.mark.parametrize("budget", [10**9, 1000, 1], ids=["whole", "chunks", "single ids"])
@pytest.mark.parametrize(("scale", "softcap"), [(1.0, None), (0.25, None), (1.5, 3.0)])
def test_equal_to_the_plain_way(budget, scale, softcap):
    hidden, weight, bias, labels = inputs()
    kind = {"bias": bias, "scale": scale, "softcap": softcap, "budget": budget}
    expected = plain(hidden, weight, bias, labels, scale, softcap)
    sums = sequence_logps(hidden, weight, labels, **kind)
    torch.testing.assert_close(sums, expected.sum(1), rtol=0, atol=1e-12)
    logps, rows = token_logps(hidden, weight, labels, **kind)
    kept = labels[:, 1:] != IGNORED
    torch.testing.assert_close(logps, expected[kept], rtol=0, atol=1e-12)
    assert rows.tolist() == kept.nonzero()[:, 0].tolist()
    factor = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    ours = gradients((sums * factor).sum(), (hidden, weight, bias))
    theirs = gradients((expected.sum(1) * factor).sum(), (hidden, weight, bias))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("with_bias", [True, False])
def test_gradcheck_of_the_chunks(softcap, with_bias):
    hidden, weight, bias, labels = inputs(batch=2, length=4)
    call = {"labels": labels, "softcap": softcap, "budget": 300}
    if with_bias:
        assert torch.autograd.gradcheck(lambda h, w, b: token_logps(h, w, bias=b, **call)[0], (hidden, weight, bias))
    else:
        assert torch.autograd.gradcheck(lambda h, w: token_logps(h, w, **call)[0], (hidden, weight))


def test_cross_entropy_is_the_mean():
    hidden, weight, _, labels = inputs()
    total, count = supervised_nll(hidden, weight, labels, budget=500)
    expected = F.cross_entropy(
        F.linear(hidden, weight)[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED
    )
    torch.testing.assert_close(total / count, expected, rtol=0, atol=1e-12)
    assert count == int((labels[:, 1:] != IGNORED).sum())


def test_a_transformers_model_gives_the_same_loss():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, **sizes)).double()
    labels = inputs()[3]
    out = model(labels.clamp_min(0), labels=labels, output_hidden_states=True)
    total, count = supervised_nll(out.hidden_states[-1], model.lm_head.weight, labels, budget=2000)
    torch.testing.assert_close(total / count, out.loss.double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("budget", [10**9, 1000])
def test_under_autocast(budget):
    """Products in bfloat16, sums in float32, gradients in the parameters' own dtype."""
    hidden, weight, bias, labels = inputs(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        expected = plain(hidden, weight, bias, labels).sum(1)
        sums = sequence_logps(hidden, weight, labels, bias=bias, budget=budget)
    assert sums.dtype == torch.float32
    torch.testing.assert_close(sums, expected, rtol=0, atol=1e-4)
    ours, theirs = gradients(sums.sum(), (hidden, weight, bias)), gradients(expected.sum(), (hidden, weight, bias))
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, other, rtol=0.02, atol=0.05)


def test_half_precision_inputs_give_full_sums():
    hidden, weight, _, labels = inputs(dtype=torch.float32)
    exact = sequence_logps(hidden, weight, labels)
    for budget in (10**9, 500):
        sums = sequence_logps(hidden.bfloat16(), weight.bfloat16(), labels, budget=budget)
        assert sums.dtype == torch.float32
        torch.testing.assert_close(sums, exact, rtol=0.05, atol=0.2)


@pytest.mark.parametrize("budget", [10**9, 1])
def test_nothing_supervised_has_a_gradient_of_zero(budget):
    hidden, weight, _, labels = inputs(share=0.0)
    total, count = supervised_nll(hidden, weight, labels, budget=budget)
    assert (total.item(), count.item()) == (0.0, 0)
    assert all(not gradient.any() for gradient in gradients(total, (hidden, weight)))
    assert sequence_logps(hidden, weight, labels, budget=budget).tolist() == [0.0, 0.0, 0.0]


def test_shifted_labels():
    hidden, weight, _, labels = inputs()
    moved = torch.cat([labels[:, 1:], torch.full((len(labels), 1), IGNORED)], 1)
    assert torch.equal(sequence_logps(hidden, weight, moved, shift=False), sequence_logps(hidden, weight, labels))


def test_frozen_parts_get_no_gradient():
    hidden, weight, _, labels = inputs()
    sequence_logps(hidden, weight.detach(), labels, budget=500).sum().backward()
    assert hidden.grad is not None
    assert weight.grad is None


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), budget=st.integers(1, 20000), large=st.floats(1.0, 300.0))
def test_any_chunk_gives_the_same(seed, budget, large):
    """Large logits included: no overflow, and every probability at most 1."""
    hidden, weight, bias, labels = inputs(seed)
    hidden = hidden * large
    expected = token_logps(hidden, weight, labels, bias=bias)[0]
    logps = token_logps(hidden, weight, labels, bias=bias, budget=budget)[0]
    torch.testing.assert_close(logps, expected, rtol=1e-12, atol=1e-9)
    assert (logps <= 1e-9).all()


class Largest(TorchDispatchMode):
    """Watches the largest tensor that any operation makes."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


def test_no_tensor_of_sequence_times_vocabulary():
    """Forward and backward stay within the budget; the hidden states are the largest tensor else."""
    torch.manual_seed(0)
    hidden = torch.randn(2, 64, 4, requires_grad=True)
    weight = torch.randn(5000, 4)
    labels = torch.full((2, 64), IGNORED)
    labels[:, 40:50] = 7
    with Largest() as positions:
        sequence_logps(hidden, weight, labels).sum().backward()
    assert positions.numel == 20 * 5000
    with Largest() as chunks:
        sequence_logps(hidden, weight, labels, budget=20 * 100 * 4).sum().backward()
    assert chunks.numel <= weight.numel() < positions.numel


def test_wrong_arguments_are_one_line():
    hidden, weight, _, labels = inputs()
    labels[0, 3] = VOCABULARY
    with pytest.raises(DataError, match="vocabulary of 37"):
        token_logps(hidden, weight, labels)
    labels[0, 3] = -5
    with pytest.raises(DataError, match="labels from -5"):
        token_logps(hidden, weight, labels)
    with pytest.raises(ConfigError, match="do not fit"):
        token_logps(hidden, weight, labels[:, 1:])
    for wrong in ({"softcap": 0.0}, {"scale": math.nan}, {"budget": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            token_logps(hidden, weight, labels.clamp_min(0), **wrong)
